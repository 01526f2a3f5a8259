"""Dense CRF on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._cuda_lattice import CudaLatticeBuild, finished
from wsss_fast._launch._memory import address, cuda_place, new_workspace

# Where kernels run on the host, so that more than a few images go through in groups there too.
_BYTES_ON_HOST = 1 << 26

_MOST_CORNERS = 2**31 - 2  # of one lattice: they have 32-bit numbers

_DIMS = {"gaussian": 2, "bilateral": 5}


def cuda_crf(
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    kinds: list[str],
    scales: list[float],
    normalizations: list[str],
    iterations: int,
    capacities: list[int],
    output: str,
    *,
    out: Tensor,
) -> list[Tensor]:
    """Mean field into ``out``, in groups of as many images as half of the device's memory is sure to hold.

    Arguments as for the CPU; ``unary`` and with it ``out`` may be of half precision. Without ``capacities``,
    one for each kernel, each group costs one wait for the device. The result holds how many vertices each
    image has in the lattice of each kernel, or the one for all images of a kernel of positions.
    """
    dtype = torch.float64 if unary.dtype == torch.float64 else torch.float32
    image = (image if image.dtype == torch.uint8 else image.to(dtype)).contiguous()
    unary = unary.contiguous()
    features = [f.to(dtype).contiguous() for f in features]
    compats = [c.to(dtype).contiguous() for c in compats]
    guides = iter(features)
    dims = [next(guides).shape[1] if kind == "features" else _DIMS[kind] for kind in kinds]
    step = _images_at_once(unary, dims, dtype)
    vertices = []
    for begin in range(0, unary.shape[0], step):
        group = slice(begin, begin + step)
        vertices.append(
            _group(
                image[group],
                unary[group],
                [f[group] for f in features],
                compats,
                kinds,
                dims,
                scales,
                normalizations,
                iterations,
                capacities,
                output,
                out[group],
            )
        )
    return [torch.cat(of_kernel) for of_kernel in zip(*vertices, strict=True)]


def _group(
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    kinds: list[str],
    dims: list[int],
    scales: list[float],
    normalizations: list[str],
    iterations: int,
    capacities: Sequence[int],
    output: str,
    out: Tensor,
) -> list[Tensor]:
    """Contiguous tensors of a group of images."""
    images, sets, classes, height, width = unary.shape
    dtype = torch.float64 if unary.dtype == torch.float64 else torch.float32
    like = torch.empty(0, dtype=dtype, device=unary.device)
    guides = iter(features)
    builds = [
        CudaLatticeBuild(
            kind,
            kind,
            1 if kind == "gaussian" else images,
            (height, width),
            dims[k],
            scales[5 * k : 5 * k + 5],
            like,
            image=image if kind == "bilateral" else None,
            features=next(guides) if kind == "features" else None,
        )
        for k, kind in enumerate(kinds)
    ]
    lattices = finished(builds, capacities)
    vertices = [build.vertices for build in builds]
    # What sorting needed is free for the rest.
    del builds
    terms = [
        (
            kind,
            address(lattice),
            lattice.numel() * lattice.element_size(),
            d,
            ("scalar", "diagonal", "matrix")[compat.dim()],
            address(compat),
            normalization,
        )
        for kind, lattice, d, compat, normalization in zip(
            kinds, lattices, dims, compats, normalizations, strict=True
        )
    ]
    run, workspace_bytes = {
        torch.float32: (_C.cuda_crf_float32, _C.cuda_crf_workspace_bytes_float32),
        torch.float64: (_C.cuda_crf_float64, _C.cuda_crf_workspace_bytes_float64),
    }[dtype]
    points = height * width
    workspace = new_workspace(
        workspace_bytes(images=images, sets=sets, classes=classes, points=points, terms=terms), unary.device
    )
    run(
        images=images,
        sets=sets,
        classes=classes,
        points=points,
        terms=terms,
        unary=address(unary),
        element=_element(unary.dtype),
        output={
            "probs": _C.CrfOutput.probs,
            "log_probs": _C.CrfOutput.log_probs,
            "labels": _C.CrfOutput.labels,
        }[output],
        out=address(out),
        label_bytes=out.element_size(),
        iterations=iterations,
        workspace=address(workspace),
        place=cuda_place(unary),
    )
    return vertices


def _element(dtype: torch.dtype) -> _C.Element:
    return {
        torch.float32: _C.Element.float32,
        torch.float64: _C.Element.float64,
        torch.float16: _C.Element.float16,
        torch.bfloat16: _C.Element.bfloat16,
    }[dtype]


def _images_at_once(unary: Tensor, dims: list[int], dtype: torch.dtype) -> int:
    """How many images take no more memory than they may, and have few enough corners."""
    _, sets, classes, height, width = unary.shape
    points = height * width
    number = 8 if dtype == torch.float64 else 4
    row = sets * (classes + 3) * number
    corners = [points * (d + 1) for d in dims]
    # Beside three rows a point, each kernel has for each corner what sorting takes (about 60 bytes) and,
    # at the worst, a vertex with a row; one more row is common to all kernels.
    needed = 3 * points * row + sum(c * (60 + 8 * (d + 1) + row) for c, d in zip(corners, dims, strict=True))
    needed += max(corners, default=0) * row
    if unary.is_cuda:
        allowed = torch.cuda.get_device_properties(unary.device).total_memory // 2
    else:
        allowed = _BYTES_ON_HOST
    return max(1, min(allowed // needed, _MOST_CORNERS // max(corners, default=1)))
