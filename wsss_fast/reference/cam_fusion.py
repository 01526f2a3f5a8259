"""Fusion of activation maps in plain torch: resample all, stack, sum, choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def fuse_cams(
    cams: Sequence[Tensor],
    size: Size | Sequence[Size],
    *,
    crop: Size | Sequence[Size | None] | None = None,
    flipped: Sequence[bool] | None = None,
    classes: Tensor | None = None,
    relu: Literal["sum", "each", "none"] = "sum",
    normalize: Literal["class", "image", "none"] = "class",
) -> Tensor | list[Tensor] | list[list[Tensor]]:
    """See :func:`wsss_fast.fuse_cams`; batched or single, one size or a list of them.

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.cam_fusion import fuse_cams
    >>> cams = [torch.rand(1, 3, 6, 8), torch.rand(1, 3, 12, 16)]
    >>> torch.allclose(fuse_cams(cams, (24, 32)), wsss_fast.fuse_cams(cams, (24, 32)), atol=1e-5)
    True
    """
    several = not isinstance(size[0], int)
    sizes: Sequence[Any] = size if several else [size]
    crops: Sequence[Any] = [None] * len(sizes) if crop is None else crop if several else [crop]
    single = cams[0].dim() == 3
    if single:
        cams = [c.unsqueeze(0) for c in cams]
        classes = None if classes is None else classes.unsqueeze(0)

    results: list[Any] = []
    for s, c in zip(sizes, crops, strict=True):
        total = _resampled_sum(cams, s, flipped or [False] * len(cams), relu)
        if c is not None:
            total = total[..., : c[0], : c[1]]
        if relu == "sum":
            total = F.relu(total)
        fused = _chosen(total, classes, normalize)
        results.append(fused[0] if single else fused)
    return results if several else results[0]


def _chosen(total: Tensor, classes: Tensor | None, normalize: str) -> Tensor | list[Tensor]:
    if classes is not None:
        return [_normalized(maps[present], normalize) for maps, present in zip(total, classes, strict=True)]
    return torch.stack([_normalized(maps, normalize) for maps in total]) if len(total) else total


def _resampled_sum(cams: Sequence[Tensor], size: Size, flipped: Sequence[bool], relu: str) -> Tensor:
    resampled = []
    for maps, flip in zip(cams, flipped, strict=True):
        maps = F.relu(maps) if relu == "each" else maps
        maps = maps.flip(-1) if flip else maps
        # torch refuses to resample a batch without maps
        empty = maps.new_empty((*maps.shape[:2], *size))
        resampled.append(
            F.interpolate(maps, size, mode="bilinear", align_corners=False) if maps.numel() else empty
        )
    return torch.stack(resampled).sum(0)


def _normalized(maps: Tensor, normalize: str) -> Tensor:
    """Of one image, ``[K,H,W]``; a negative maximum counts as zero."""
    if normalize == "none" or len(maps) == 0:
        return maps
    dims = (-2, -1) if normalize == "class" else (-3, -2, -1)
    return maps / (maps.amax(dims, keepdim=True).clamp(min=0) + 1e-5)
