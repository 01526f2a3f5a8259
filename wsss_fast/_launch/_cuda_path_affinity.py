"""Path affinity on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype


def cuda_path_affinity(boundary: Tensor, radius: int, paths: int) -> Tensor:
    """``boundary`` [N,1,h,w] -> affinity [N,paths,h-(radius-1),w-2(radius-1)], of the same dtype."""
    boundary = boundary.contiguous()
    n, _, h, w = boundary.shape
    affinity = boundary.new_empty((n, paths, h - (radius - 1), w - 2 * (radius - 1)))
    run = {
        torch.float32: _C.cuda_path_affinity_float32,
        torch.float64: _C.cuda_path_affinity_float64,
    }[working_dtype(boundary)]
    run(
        boundary=address(boundary),
        affinity=address(affinity),
        element=element_of(boundary),
        images=n,
        height=h,
        width=w,
        radius=radius,
        place=cuda_place(boundary),
    )
    return affinity


def cuda_path_affinity_backward(grad_affinity: Tensor, boundary: Tensor, radius: int) -> Tensor:
    """The gradient of the boundary, of the dtype of both."""
    grad_affinity = grad_affinity.contiguous()
    boundary = boundary.contiguous()
    dtype = working_dtype(boundary)
    # The core adds to it.
    grad_boundary = torch.zeros(boundary.shape, dtype=dtype, device=boundary.device)
    n, _, h, w = boundary.shape
    run, workspace_bytes = {
        torch.float32: (
            _C.cuda_path_affinity_backward_float32,
            _C.cuda_path_affinity_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.cuda_path_affinity_backward_float64,
            _C.cuda_path_affinity_backward_workspace_bytes_float64,
        ),
    }[dtype]
    workspace = new_workspace(workspace_bytes(images=n, height=h, width=w, radius=radius), boundary.device)
    run(
        grad_affinity=address(grad_affinity),
        boundary=address(boundary),
        element=element_of(boundary),
        grad_boundary=address(grad_boundary),
        workspace=address(workspace),
        images=n,
        height=h,
        width=w,
        radius=radius,
        place=cuda_place(boundary),
    )
    return grad_boundary.to(boundary.dtype)
