"""CAM fusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._inputs import inputs_of, refuse
from wsss_fast._launch._memory import address, new_workspace, thread_count

CAM_RELU = {"none": _C.CamRelu.none, "each": _C.CamRelu.each, "sum": _C.CamRelu.sum}
CAM_NORMALIZE = {
    "none": _C.CamNormalize.none,
    "class": _C.CamNormalize.class_,
    "image": _C.CamNormalize.image,
}


def present_maps(classes: Tensor | None, images: int, count: int) -> tuple[list[int], list[int]]:
    """The maps ``n * count + k`` that are present, image after image, and where those of each image begin and
    the last ones end."""
    if classes is None:
        present = [list(range(count))] * images
    else:
        present = [[k for k, here in enumerate(row) if here] for row in classes.tolist()]
    maps = [n * count + k for n, row in enumerate(present) for k in row]
    return maps, [0, *itertools.accumulate(len(row) for row in present)]


# Height, width, crop height, crop width, addresses of the images' outputs.
CamTarget = tuple[int, int, int, int, list[int]]


def new_results(
    cams: list[Tensor],
    classes: Tensor | None,
    begin: list[int],
    sizes: list[tuple[int, int]],
    crops: list[tuple[int, int]],
) -> tuple[list[Tensor], list[CamTarget]]:
    """What :func:`cam_fusion` returns, not yet filled, and where the core is to write it."""
    images, count = cams[0].shape[:2]
    results: list[Tensor] = []
    targets: list[CamTarget] = []
    for size, crop in zip(sizes, crops, strict=True):
        if classes is None:
            whole = cams[0].new_empty((images, count, *crop))
            results.append(whole)
            outputs = [address(whole) + n * whole.stride(0) * whole.element_size() for n in range(images)]
        else:
            each = [cams[0].new_empty((last - first, *crop)) for first, last in itertools.pairwise(begin)]
            results.extend(each)
            outputs = [address(t) for t in each]
        targets.append((*size, *crop, outputs))
    return results, targets


def cam_fusion(
    cams: list[Tensor],
    classes: Tensor | None,
    sizes: list[tuple[int, int]],
    crops: list[tuple[int, int]],
    flipped: Sequence[bool],
    relu: str,
    normalize: str,
) -> list[Tensor]:
    """For each size one ``[N,K,H,W]``, or with ``classes`` N tensors ``[K_n,H,W]``."""
    maps, begin = present_maps(classes, *cams[0].shape[:2])
    results, targets = new_results(cams, classes, begin, sizes, crops)
    if not maps:
        return results

    kept = [c.contiguous() for c in cams]
    inputs = inputs_of(kept, flipped)
    double = cams[0].dtype == torch.float64
    workspace_bytes = (
        _C.cam_fusion_workspace_bytes_float64 if double else _C.cam_fusion_workspace_bytes_float32
    )
    workspace = new_workspace(workspace_bytes(inputs, len(maps)))
    bad = (_C.cam_fusion_float64 if double else _C.cam_fusion_float32)(
        inputs=inputs,
        targets=targets,
        maps=maps,
        image_begin=begin,
        relu=CAM_RELU[relu],
        normalize=CAM_NORMALIZE[normalize],
        workspace=address(workspace),
        threads=thread_count(),
    )
    refuse("cams", bad, kept, "[n,k,y,x]")
    return results
