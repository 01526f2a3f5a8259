"""CAM fusion on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._cam_fusion import CAM_NORMALIZE, CAM_RELU, new_results, present_maps
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
    """As on the CPU, also of half precision. For ``classes`` on the device the call waits."""
    maps, begin = present_maps(classes, *cams[0].shape[:2])
    results, targets = new_results(cams, classes, begin, sizes, crops)
    if not maps:
        return results

    run, workspace_bytes = {
        torch.float32: (_C.cuda_cam_fusion_float32, _C.cuda_cam_fusion_workspace_bytes_float32),
        torch.float64: (_C.cuda_cam_fusion_float64, _C.cuda_cam_fusion_workspace_bytes_float64),
    }[working_dtype(cams[0])]
    how = CAM_NORMALIZE[normalize]
    kept = [c.contiguous() for c in cams]
    inputs = inputs_of(kept, flipped)
    images = len(begin) - 1
    size = workspace_bytes(inputs=inputs, targets=len(targets), maps=len(maps), images=images, normalize=how)
    workspace = new_workspace(size, cams[0].device)
    run(
        inputs=inputs,
        targets=targets,
        maps=maps,
        image_begin=begin,
        element=element_of(cams[0]),
        relu=CAM_RELU[relu],
        normalize=how,
        workspace=address(workspace),
        place=cuda_place(cams[0]),
    )
    return results
