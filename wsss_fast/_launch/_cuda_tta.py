"""Averaging of test-time predictions on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._inputs import inputs_of
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype
from wsss_fast._launch._tta import TTA_ACTIVATION


def cuda_tta_merge(logits: list[Tensor], flipped: Sequence[bool], activation: str, *, out: Tensor) -> None:
    """As on the CPU, also of half precision."""
    images, classes = logits[0].shape[:2]
    if images == 0:
        return
    height, width = out.shape[-2:]
    how = TTA_ACTIVATION[activation]
    run, workspace_bytes = {
        torch.float32: (_C.cuda_tta_merge_float32, _C.cuda_tta_workspace_bytes_float32),
        torch.float64: (_C.cuda_tta_merge_float64, _C.cuda_tta_workspace_bytes_float64),
    }[working_dtype(logits[0])]
    kept = [z.contiguous() for z in logits]
    inputs = inputs_of(kept, flipped)
    size = workspace_bytes(
        inputs=inputs, images=images, classes=classes, height=height, width=width, activation=how
    )
    workspace = new_workspace(size, out.device)
    run(
        inputs=inputs,
        images=images,
        classes=classes,
        height=height,
        width=width,
        activation=how,
        element=element_of(logits[0]),
        out=address(out),
        label_bytes=0 if out.dtype.is_floating_point else out.element_size(),
        workspace=address(workspace),
        place=cuda_place(logits[0]),
    )
