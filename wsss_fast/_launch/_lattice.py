"""Permutohedral lattice."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, thread_count


def lattice_build(features: Tensor) -> tuple[Tensor, int]:
    """The lattice of features [d,P] as one tensor of bytes, and how many vertices it has."""
    features = features.contiguous()
    build = _C.lattice_build_float32 if features.dtype == torch.float32 else _C.lattice_build_float64
    lattice = build(
        features=address(features), dims=features.shape[0], points=features.shape[1], threads=thread_count()
    )
    # int64 elements, so that the memory is aligned for every array inside.
    packed = torch.empty(lattice.packed_bytes // 8, dtype=torch.int64)
    lattice.pack(address(packed))
    return packed, lattice.vertices


def lattice_filter(lattices: list[Tensor], values: Tensor, transposed: bool, check: bool) -> Tensor:
    """Values [N,C,P] filtered on one lattice each."""
    values = values.contiguous()
    out = torch.empty_like(values)
    run = _C.lattice_filter_float32 if values.dtype == torch.float32 else _C.lattice_filter_float64
    for lattice, source, target in zip(lattices, values, out, strict=True):
        lattice = lattice.contiguous()
        run(
            lattice=address(lattice),
            lattice_bytes=lattice.numel() * lattice.element_size(),
            values=address(source),
            out=address(target),
            channels=source.shape[0],
            transposed=transposed,
            check=check,
            threads=thread_count(),
        )
    return out
