"""CAM fusion on CUDA."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._cam_fusion import CAM_NORMALIZE, CAM_RELU, present_maps
from wsss_fast._launch._inputs import inputs_of
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype


def cuda_cam_fusion(
    cams: list[Tensor],
    classes: Tensor | None,
    sizes: list[tuple[int, int]],
    crops: list[tuple[int, int]],
    flipped: Sequence[bool],
    relu: str,
    normalize: str,
) -> list[Tensor]:
    """As on the CPU, also of half precision. What ``classes`` gives for a size are parts of one tensor.

    ``classes`` on the device is read back, for which the call waits.
    """
    images, count = cams[0].shape[:2]
    maps, begin = present_maps(classes, images, count)
    outputs = [cams[0].new_empty((len(maps), *crop)) for crop in crops]
    if maps:
        _fuse(cams, maps, begin, sizes, flipped, relu, normalize, outputs)
    if classes is None:
        return [out.view(images, count, *out.shape[1:]) for out in outputs]
    return [out[first:last] for out in outputs for first, last in itertools.pairwise(begin)]


def _fuse(
    cams: list[Tensor],
    maps: list[int],
    begin: list[int],
    sizes: list[tuple[int, int]],
    flipped: Sequence[bool],
    relu: str,
    normalize: str,
    outputs: list[Tensor],
) -> None:
    run, workspace_bytes = {
        torch.float32: (_C.cuda_cam_fusion_float32, _C.cuda_cam_fusion_workspace_bytes_float32),
        torch.float64: (_C.cuda_cam_fusion_float64, _C.cuda_cam_fusion_workspace_bytes_float64),
    }[working_dtype(cams[0])]
    how = CAM_NORMALIZE[normalize]
    size = workspace_bytes(targets=len(sizes), maps=len(maps), images=len(begin) - 1, normalize=how)
    workspace = new_workspace(size, cams[0].device)
    kept = [c.contiguous() for c in cams]
    run(
        inputs=inputs_of(kept, flipped),
        targets=[
            (*whole, out.shape[-2], out.shape[-1], address(out))
            for whole, out in zip(sizes, outputs, strict=True)
        ],
        maps=maps,
        image_begin=begin,
        element=element_of(cams[0]),
        relu=CAM_RELU[relu],
        normalize=how,
        workspace=address(workspace),
        place=cuda_place(cams[0]),
    )
