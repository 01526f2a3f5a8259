"""Averaging of test-time predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._inputs import inputs_of, refuse
from wsss_fast._launch._memory import address, thread_count

TTA_ACTIVATION = {
    "none": _C.TtaActivation.none,
    "softmax": _C.TtaActivation.softmax,
    "sigmoid": _C.TtaActivation.sigmoid,
}
_LABEL_TYPE = {
    torch.uint8: _C.LabelType.uint8,
    torch.int16: _C.LabelType.int16,
    torch.int32: _C.LabelType.int32,
}


def tta_merge(logits: list[Tensor], flipped: Sequence[bool], activation: str, *, out: Tensor) -> None:
    """Into ``out`` the mean ``[N,C,H,W]`` where its dtype is float, elsewhere its argmax ``[N,H,W]``."""
    images, classes = logits[0].shape[:2]
    if images == 0:
        return
    height, width = out.shape[-2:]
    mean = out.dtype.is_floating_point
    kept = [z.contiguous() for z in logits]
    bad = (_C.tta_merge_float64 if logits[0].dtype == torch.float64 else _C.tta_merge_float32)(
        inputs=inputs_of(kept, flipped),
        images=images,
        classes=classes,
        height=height,
        width=width,
        activation=TTA_ACTIVATION[activation],
        mean=address(out) if mean else 0,
        labels=0 if mean else address(out),
        label_type=_C.LabelType.uint8 if mean else _LABEL_TYPE[out.dtype],
        threads=thread_count(),
    )
    refuse("logits", bad, kept, "[n,c,y,x]")
