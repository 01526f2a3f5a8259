"""Dense CRF."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, thread_count


def crf(
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    kinds: list[str],
    scales: list[float],
    normalizations: list[str],
    iterations: int,
    *,
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
    for k, (kind, compat, normalization) in enumerate(zip(kinds, compats, normalizations, strict=True)):
        compat = compat.to(unary.dtype).contiguous()
        guide = next(given).to(unary.dtype).contiguous() if kind == "features" else None
        keep += [compat] if guide is None else [compat, guide]
        kernels.append(
            (
                kind,
                scales[5 * k : 5 * k + 5],
                0 if guide is None else address(guide),
                0 if guide is None else guide.shape[1],
                ("scalar", "diagonal", "matrix")[compat.dim()],
                address(compat),
                normalization,
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
        image_bytes=address(image) if is_bytes else 0,
        image=0 if is_bytes else address(image),
        unary=address(unary),
        probs=address(out) if probs else 0,
        labels=0 if probs else address(out),
        label_bytes=out.element_size(),
        kernels=kernels,
        iterations=iterations,
        threads=thread_count(),
    )
    del keep
