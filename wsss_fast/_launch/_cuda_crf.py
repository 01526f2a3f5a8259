"""Dense CRF on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._cuda_lattice import CudaLatticeBuild, finished
from wsss_fast._launch._flat_kernel import FlatKernel
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype

# Where kernels run on the host, so that more than a few images go through in groups there too.
_BYTES_ON_HOST = 1 << 26

_MOST_CORNERS = 2**31 - 2  # of one lattice: they have 32-bit numbers


def cuda_crf(
    image: Tensor, unary: Tensor, kernels: Sequence[FlatKernel], iterations: int, output: str, *, out: Tensor
) -> list[tuple[Tensor, ...]]:
    """Mean field into ``out``, in groups of as many images as half of the device's memory is sure to hold.

    Arguments as for the CPU; ``unary`` and with it ``out`` may be of half precision. Kernels without a
    capacity cost each group one wait for the device. The result holds for each kernel how many vertices each
    image of each group has, or, for a kernel of positions, all images of a group together.
    """
    dtype = working_dtype(unary)
    image = (image if image.dtype == torch.uint8 else image.to(dtype)).contiguous()
    unary = unary.contiguous()
    kernels = [kernel.to(dtype) for kernel in kernels]
    step = _images_at_once(unary, kernels, dtype)
    vertices = []
    for begin in range(0, unary.shape[0], step):
        group = slice(begin, begin + step)
        of_group = [kernel.of_images(group) for kernel in kernels]
        vertices.append(_group(image[group], unary[group], of_group, iterations, output, out[group], dtype))
    return list(zip(*vertices, strict=True))


def _group(
    image: Tensor,
    unary: Tensor,
    kernels: Sequence[FlatKernel],
    iterations: int,
    output: str,
    out: Tensor,
    dtype: torch.dtype,
) -> list[Tensor]:
    """Contiguous tensors of a group of images; ``dtype`` is what is computed with."""
    images, sets, classes, height, width = unary.shape
    points = height * width
    builds = [
        CudaLatticeBuild(
            kernel.kind,
            1 if kernel.kind == "gaussian" else images,
            (height, width),
            kernel.dims,
            kernel.scales,
            torch.empty(0, dtype=dtype, device=unary.device),
            image=image if kernel.kind == "bilateral" else None,
            features=kernel.features,
        )
        for kernel in kernels
    ]
    lattices = finished(builds, [kernel.capacity for kernel in kernels])
    vertices = [build.vertices for build in builds]
    del builds  # what sorting needed is free for the rest
    terms = [
        (
            kernel.kind,
            address(lattice),
            lattice.numel() * lattice.element_size(),
            kernel.dims,
            kernel.compat_kind,
            address(kernel.compat),
            kernel.normalization,
        )
        for kernel, lattice in zip(kernels, lattices, strict=True)
    ]
    run, workspace_bytes = {
        torch.float32: (_C.cuda_crf_float32, _C.cuda_crf_workspace_bytes_float32),
        torch.float64: (_C.cuda_crf_float64, _C.cuda_crf_workspace_bytes_float64),
    }[dtype]
    size = workspace_bytes(images=images, sets=sets, classes=classes, points=points, terms=terms)
    workspace = new_workspace(size, unary.device)
    run(
        images=images,
        sets=sets,
        classes=classes,
        points=points,
        terms=terms,
        unary=address(unary),
        element=element_of(unary),
        output=_output(output),
        out=address(out),
        label_bytes=out.element_size(),
        iterations=iterations,
        workspace=address(workspace),
        place=cuda_place(unary),
    )
    return vertices


def _output(name: str) -> _C.CrfOutput:
    return {
        "probs": _C.CrfOutput.probs,
        "log_probs": _C.CrfOutput.log_probs,
        "labels": _C.CrfOutput.labels,
    }[name]


def _images_at_once(unary: Tensor, kernels: Sequence[FlatKernel], dtype: torch.dtype) -> int:
    """How many images take no more memory than they may, and have few enough corners."""
    _, sets, classes, height, width = unary.shape
    points = height * width
    row = sets * (classes + 3) * dtype.itemsize
    corners = [points * (kernel.dims + 1) for kernel in kernels]
    # Beside three rows a point, each kernel has for each corner what sorting takes (about 60 bytes) and,
    # at the worst, a vertex with its neighbours and a row; one more row is common to all kernels.
    needed = 3 * points * row + max(corners, default=0) * row
    needed += sum(c * (60 + 8 * (k.dims + 1) + row) for c, k in zip(corners, kernels, strict=True))
    if unary.is_cuda:
        allowed = torch.cuda.get_device_properties(unary.device).total_memory // 2
    else:
        allowed = _BYTES_ON_HOST
    return max(1, min(allowed // needed, _MOST_CORNERS // max(corners, default=1)))
