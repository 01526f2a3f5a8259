"""The pairwise terms of a dense CRF as its ops take them: tensors and plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_DIMS = {"gaussian": 2, "bilateral": 5}


@dataclass(frozen=True)
class FlatKernel:
    kind: str  # "gaussian", "bilateral" or "features"
    compat: Tensor  # a weight, a vector or a matrix of costs
    scales: Sequence[float]  # (sx, sy, sr, sg, sb)
    normalization: str
    features: Tensor | None  # [N,d,H,W], of the kind "features"
    capacity: int | None  # the most vertices of an image's lattice, if it is given

    @property
    def dims(self) -> int:
        """d"""
        return _DIMS[self.kind] if self.features is None else self.features.shape[1]

    @property
    def compat_kind(self) -> str:
        return ("scalar", "diagonal", "matrix")[self.compat.dim()]

    def to(self, dtype: torch.dtype) -> FlatKernel:
        """With contiguous tensors of the dtype."""
        features = None if self.features is None else self.features.to(dtype).contiguous()
        return replace(self, compat=self.compat.to(dtype).contiguous(), features=features)

    def of_images(self, which: slice) -> FlatKernel:
        return self if self.features is None else replace(self, features=self.features[which])


def flat_kernels(
    features: Sequence[Tensor],
    compats: Sequence[Tensor],
    kinds: Sequence[str],
    scales: Sequence[float],
    normalizations: Sequence[str],
    capacities: Sequence[int],
) -> list[FlatKernel]:
    """From the lists in the schema of crf: features for those that have them, five scales for each, and a
    capacity for each or for none."""
    given = iter(features)
    return [
        FlatKernel(
            kind,
            compat,
            scales[5 * k : 5 * k + 5],
            normalization,
            next(given) if kind == "features" else None,
            capacities[k] if capacities else None,
        )
        for k, (kind, compat, normalization) in enumerate(zip(kinds, compats, normalizations, strict=True))
    ]
