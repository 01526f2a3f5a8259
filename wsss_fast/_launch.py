"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates outputs and
workspace through torch, and keeps all of them alive until the core returns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _threads() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()


# --- crf and its lattice ---------------------------------------------------------------------------------


def crf(
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    kinds: list[str],
    scales: list[float],
    iterations: int,
    normalization: str,
    out: Tensor,
) -> None:
    """Mean field into ``out``: probabilities like ``unary`` where its dtype is float, labels elsewhere.

    ``scales`` holds five numbers a kernel (sx, sy, sr, sg, sb), ``features`` one tensor a kernel of the kind
    ``features``, in order.
    """
    images, sets, classes, height, width = unary.shape
    unary = unary.contiguous()
    is_bytes = image.dtype == torch.uint8
    image = (image if is_bytes else image.to(unary.dtype)).contiguous()
    keep = [image, unary, out]
    kernels = []
    given = iter(features)
    for k, (kind, compat) in enumerate(zip(kinds, compats, strict=True)):
        compat = compat.to(unary.dtype).contiguous()
        guide = next(given).to(unary.dtype).contiguous() if kind == "features" else None
        keep += [compat] if guide is None else [compat, guide]
        kernels.append(
            (
                kind,
                scales[5 * k : 5 * k + 5],
                0 if guide is None else _address(guide),
                0 if guide is None else guide.shape[1],
                ("scalar", "diagonal", "matrix")[compat.dim()],
                _address(compat),
            )
        )
    probs = out.dtype.is_floating_point
    run = _C.crf_float32 if unary.dtype == torch.float32 else _C.crf_float64
    run(
        images=images,
        sets=sets,
        classes=classes,
        height=height,
        width=width,
        image_bytes=_address(image) if is_bytes else 0,
        image=0 if is_bytes else _address(image),
        unary=_address(unary),
        probs=_address(out) if probs else 0,
        labels=0 if probs else _address(out),
        label_bytes=out.element_size(),
        kernels=kernels,
        iterations=iterations,
        normalization=normalization,
        threads=_threads(),
    )
    del keep


def lattice_build(features: Tensor) -> tuple[Tensor, int]:
    """The lattice of features [d,P] as one tensor of bytes, and how many vertices it has."""
    features = features.contiguous()
    build = _C.lattice_build_float32 if features.dtype == torch.float32 else _C.lattice_build_float64
    lattice = build(
        features=_address(features), dims=features.shape[0], points=features.shape[1], threads=_threads()
    )
    # int64 elements, so that the memory is aligned for every array inside.
    packed = torch.empty(lattice.packed_bytes // 8, dtype=torch.int64)
    lattice.pack(_address(packed))
    return packed, lattice.vertices


def lattice_filter(lattices: list[Tensor], values: Tensor, transposed: bool, check: bool) -> Tensor:
    """Values [N,C,P] filtered on one lattice each."""
    values = values.contiguous()
    out = torch.empty_like(values)
    run = _C.lattice_filter_float32 if values.dtype == torch.float32 else _C.lattice_filter_float64
    for lattice, source, target in zip(lattices, values, out, strict=True):
        lattice = lattice.contiguous()
        run(
            lattice=_address(lattice),
            lattice_bytes=lattice.numel() * lattice.element_size(),
            values=_address(source),
            out=_address(target),
            channels=source.shape[0],
            transposed=transposed,
            check=check,
            threads=_threads(),
        )
    return out
