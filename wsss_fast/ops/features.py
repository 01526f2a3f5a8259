"""The feature spaces of the Gaussian and the bilateral kernel, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def width_in(dtype: torch.dtype, width: float) -> float:
    """A standard deviation, or the nearest that the dtype has: beyond it there would be 0 or infinity, by
    which nothing can be divided. No pixel can tell them apart."""
    limits = torch.finfo(dtype)
    return min(max(width, limits.tiny), limits.max)


def position_features(height: int, width: int, sxy: Sequence[float], like: Tensor) -> Tensor:
    """``(x / sx, y / sy)`` of each pixel: ``[2,H,W]``, of the dtype and on the device of ``like``."""
    rows, columns = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y]) / _of_each_channel(sxy, like)


def colour_features(image: Tensor, sxy: Sequence[float], srgb: Sequence[float], like: Tensor) -> Tensor:
    """Position and ``(r / sr, g / sg, b / sb)`` of each pixel.

    ``image``: ``[3,H,W]``, or ``[G,3,H,W]`` for a group of images; the result: ``[5,H,W]`` or ``[G,5,H,W]``.
    """
    position = position_features(image.shape[-2], image.shape[-1], sxy, like)
    colour = image.to(like.dtype) / _of_each_channel(srgb, like)
    return torch.cat([position.expand(*image.shape[:-3], -1, -1, -1), colour], -3)


def _of_each_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """``[len(values),1,1]``.

    Filled on the device, as a copy from the host would make it wait; and a tensor, as a division by a number
    is a product with its reciprocal on CUDA, which rounds differently.
    """
    filled = [
        torch.full((), width_in(like.dtype, value), dtype=like.dtype, device=like.device) for value in values
    ]
    return torch.stack(filled).view(-1, 1, 1)
