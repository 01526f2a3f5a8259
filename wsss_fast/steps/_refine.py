"""A prediction, refined by the dense CRF."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import wsss_fast
from wsss_fast.config import CrfConfig
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._maps import dense_crf

_SEEN = 0.01
"""A class that nowhere has this probability, and is nowhere the most probable, takes no part in the CRF."""


def worth_refining(probs: Tensor, labels: Tensor) -> Tensor:
    """Which classes the CRF is to consider in each image: bool ``[N,C]``, where the inputs are.

    ``probs`` ``[N,C,H,W]``, ``labels`` ``[N,H,W]`` their argmax. Of some 200 classes few are in an image, and
    the time and memory of the CRF go with their number.
    """
    best = torch.zeros(probs.shape[:2], dtype=torch.bool, device=probs.device)
    best.scatter_(1, labels.flatten(1).long(), True)
    return best | (probs.amax((2, 3)) >= _SEEN)


def refined_labels(image: Tensor, probs: Tensor, classes: np.ndarray, config: CrfConfig) -> Tensor:
    """Labels ``[H,W]`` int64 by the dense CRF, where ``probs`` is.

    ``image`` uint8 ``[H,W,3]``; ``probs`` ``[C,H,W]`` float32; ``classes``: int64 ``[M]`` on the host, which
    of the C take part, ascending. The unaries are ``-log(max(p, 1e-5))``.
    """
    chosen = to_device(torch.from_numpy(classes), probs.device)
    unary = wsss_fast.unary_from_probs(probs.index_select(0, chosen))
    return chosen[dense_crf(image, unary[None], config)[0]]
