"""Path affinity."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, new_workspace, thread_count
from wsss_fast._launch._values import check_values


def path_offsets(radius: int) -> Tensor:
    return torch.tensor(_C.path_offsets(radius), dtype=torch.int64).reshape(-1, 2)


def path_affinity(boundary: Tensor, radius: int, paths: int) -> Tensor:
    """``boundary`` [N,1,h,w] -> affinity [N,paths,h-(radius-1),w-2(radius-1)]."""
    boundary = boundary.contiguous()
    check_values("boundary", boundary, 0.0, 1.0, "values in [0,1]")
    n, _, h, w = boundary.shape
    affinity = boundary.new_empty((n, paths, h - (radius - 1), w - 2 * (radius - 1)))
    run = {
        torch.float32: _C.path_affinity_float32,
        torch.float64: _C.path_affinity_float64,
    }[boundary.dtype]
    run(address(boundary), address(affinity), n, h, w, radius, thread_count())
    return affinity


def path_affinity_backward(grad_affinity: Tensor, boundary: Tensor, radius: int) -> Tensor:
    grad_affinity = grad_affinity.contiguous()
    boundary = boundary.contiguous()
    grad_boundary = boundary.new_empty(boundary.shape)
    n, _, h, w = boundary.shape
    run, workspace_bytes = {
        torch.float32: (
            _C.path_affinity_backward_float32,
            _C.path_affinity_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.path_affinity_backward_float64,
            _C.path_affinity_backward_workspace_bytes_float64,
        ),
    }[boundary.dtype]
    workspace = new_workspace(workspace_bytes(n, h, w, radius))
    run(
        address(grad_affinity),
        address(boundary),
        address(grad_boundary),
        address(workspace),
        n,
        h,
        w,
        radius,
        thread_count(),
    )
    return grad_boundary
