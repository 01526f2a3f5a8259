"""Dense CRF."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._flat_kernel import FlatKernel
from wsss_fast._launch._memory import address, thread_count


def crf(image: Tensor, unary: Tensor, kernels: Sequence[FlatKernel], iterations: int, *, out: Tensor) -> None:
    """Mean field into ``out``: probabilities like ``unary`` where its dtype is float, labels elsewhere."""
    images, sets, classes, height, width = unary.shape
    unary = unary.contiguous()
    is_bytes = image.dtype == torch.uint8
    image = (image if is_bytes else image.to(unary.dtype)).contiguous()
    kernels = [kernel.to(unary.dtype) for kernel in kernels]
    probs = out.dtype.is_floating_point
    run = _C.crf_float32 if unary.dtype == torch.float32 else _C.crf_float64
    run(
        images=images,
        sets=sets,
        classes=classes,
        height=height,
        width=width,
        image_bytes=address(image) if is_bytes else 0,
        image=0 if is_bytes else address(image),
        unary=address(unary),
        probs=address(out) if probs else 0,
        labels=0 if probs else address(out),
        label_bytes=out.element_size(),
        kernels=[
            (
                kernel.kind,
                list(kernel.scales),
                0 if kernel.features is None else address(kernel.features),
                0 if kernel.features is None else kernel.dims,
                kernel.compat_kind,
                address(kernel.compat),
                kernel.normalization,
            )
            for kernel in kernels
        ],
        iterations=iterations,
        threads=thread_count(),
    )
