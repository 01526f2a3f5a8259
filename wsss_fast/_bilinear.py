"""Bilinear resampling with the same bits at any number of threads."""

from __future__ import annotations

import torch
from torch import Tensor


def bilinear(values: Tensor, size: tuple[int, int]) -> Tensor:
    """``[...,h,w]`` -> ``[...,H,W]`` as F.interpolate does (align_corners=False, no antialiasing), whose last
    bits depend on the number of threads. Differentiable."""
    return _along(_along(values, values.dim() - 2, size[0]), values.dim() - 1, size[1])


def _along(values: Tensor, axis: int, length: int) -> Tensor:
    given = values.shape[axis]
    centres = torch.arange(length, dtype=torch.float64, device=values.device) + 0.5
    at = (centres * (given / length) - 0.5).clamp(min=0)
    low = at.long()
    high = (low + 1).clamp(max=given - 1)
    share = (at - low).to(values.dtype).view([-1 if i == axis else 1 for i in range(values.dim())])
    return values.index_select(axis, low) * (1 - share) + values.index_select(axis, high) * share
