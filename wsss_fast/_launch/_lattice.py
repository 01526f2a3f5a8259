"""Permutohedral lattice."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._device import on_cuda
from wsss_fast._launch._cuda_lattice import cuda_lattice_build, cuda_lattice_filter
from wsss_fast._launch._memory import address, thread_count


def check_lattice_reach(name: str, low: list[float], high: list[float], dtype: torch.dtype) -> None:
    """Raise unless a lattice of the dtype can be made of features that lie between these."""
    check = {torch.float32: _C.check_lattice_reach_float32, torch.float64: _C.check_lattice_reach_float64}
    check[dtype](name, low, high)


def lattice_build(features: Tensor, capacity: int | None = None) -> tuple[list[Tensor], Tensor]:
    """Lattices of features [G,d,P], and how many vertices each of the G has.

    On the CPU there are G lattices, on CUDA there is one for all G. Each is a tensor. ``capacity``, which
    only CUDA needs, is the most vertices that one of the G may have; without it this waits for the device.
    """
    if on_cuda(features):
        lattice, vertices = cuda_lattice_build(features, capacity)
        return [lattice], vertices
    lattices, counts = [], []
    for points in features:
        lattice, count = _build(points)
        lattices.append(lattice)
        counts.append(count)
    return lattices, torch.tensor(counts, dtype=torch.int32)


def _build(features: Tensor) -> tuple[Tensor, int]:
    features = features.contiguous()
    build = _C.lattice_build_float32 if features.dtype == torch.float32 else _C.lattice_build_float64
    lattice = build(
        features=address(features),
        dims=features.shape[0],
        points=features.shape[1],
        threads=thread_count(),
    )
    # int64 elements, so that the memory is aligned for every array inside.
    packed = torch.empty(lattice.packed_bytes // 8, dtype=torch.int64)
    lattice.pack(address(packed))
    return packed, lattice.vertices


def lattice_filter(
    lattices: list[Tensor], values: Tensor, dims: int, transposed: bool, check: bool
) -> Tensor:
    """Values [G,C,P] filtered on the lattices that :func:`lattice_build` made of features [G,dims,P]."""
    if on_cuda(values):
        (lattice,) = lattices
        return cuda_lattice_filter(lattice, values, dims, transposed)
    values = values.contiguous()
    out = torch.empty_like(values)
    if values.numel() == 0:
        return out
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
