"""Averaging of test-time predictions in plain torch: resample all, activate, stack, average, choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def tta_merge(
    logits: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool],
    activation: Literal["softmax", "sigmoid", "none"] = "softmax",
    output: Literal["mean", "labels"] = "mean",
) -> Tensor:
    """See :func:`wsss_fast.tta_merge`; batched or single.

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.tta import tta_merge
    >>> logits = [torch.randn(1, 3, 6, 8), torch.randn(1, 3, 6, 8)]
    >>> slow = tta_merge(logits, (24, 32), flipped=[False, True])
    >>> torch.allclose(slow, wsss_fast.tta_merge(logits, (24, 32), flipped=[False, True]), atol=1e-5)
    True
    """
    if logits[0].dim() == 3:
        single = [z.unsqueeze(0) for z in logits]
        return tta_merge(single, size, flipped=flipped, activation=activation, output=output)[0]
    predictions = []
    for z, flip in zip(logits, flipped, strict=True):
        z = z.flip(-1) if flip else z
        z = F.interpolate(z, size, mode="bilinear", align_corners=False)
        predictions.append(_activate(z, activation))
    mean = torch.stack(predictions).mean(0)
    if output == "mean":
        return mean
    classes = mean.shape[1]
    return mean.argmax(1).to(
        torch.uint8 if classes <= 256 else torch.int16 if classes <= 32768 else torch.int32
    )


def _activate(logits: Tensor, activation: str) -> Tensor:
    if activation == "softmax":
        return logits.softmax(1)
    return logits.sigmoid() if activation == "sigmoid" else logits
