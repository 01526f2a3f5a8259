"""The feature spaces of the Gaussian and the bilateral kernel, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def position_features(height: int, width: int, sxy: Sequence[float], like: Tensor) -> Tensor:
    """``(x / sx, y / sy)`` of each pixel: ``[2,H,W]``, of the dtype and on the device of ``like``."""
    rows, columns = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y]) / torch.tensor(sxy, dtype=like.dtype, device=like.device).view(2, 1, 1)


def colour_features(image: Tensor, sxy: Sequence[float], srgb: Sequence[float], like: Tensor) -> Tensor:
    """Position and ``(r / sr, g / sg, b / sb)`` of each pixel of ``image`` ``[3,H,W]``: ``[5,H,W]``."""
    position = position_features(image.shape[1], image.shape[2], sxy, like)
    scale = torch.tensor(srgb, dtype=like.dtype, device=like.device).view(3, 1, 1)
    return torch.cat([position, image.to(like.dtype) / scale])
