"""Random walk on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype
from wsss_fast._launch._walk_batches import gradient_batches, walk_batches


def cuda_random_walk(
    cams: Sequence[Tensor],
    boundaries: Sequence[Tensor],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
) -> list[Tensor]:
    """Walk batches of any sizes, all of one dtype: ``cams[i]`` [N,K,h,w] over ``boundaries[i]`` [N,1,h,w]."""
    cams = [cam.contiguous() for cam in cams]
    boundaries = [boundary.contiguous() for boundary in boundaries]
    outs = [cam.new_empty(cam.shape) for cam in cams]
    if not cams:
        return outs
    batches = walk_batches(cams, boundaries, outs)
    run, workspace_bytes = {
        torch.float32: (_C.cuda_random_walk_float32, _C.cuda_random_walk_workspace_bytes_float32),
        torch.float64: (_C.cuda_random_walk_float64, _C.cuda_random_walk_workspace_bytes_float64),
    }[working_dtype(cams[0])]
    walk = batches, radius, beta, steps, method, tol, element_of(cams[0])
    workspace = new_workspace(workspace_bytes(*walk), cams[0].device)
    run(*walk, address(workspace), cuda_place(cams[0]))
    return outs


def cuda_random_walk_backward(
    grad: Tensor,
    cam: Tensor | None,
    boundary: Tensor,
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
) -> tuple[Tensor, Tensor]:
    """The gradients with respect to cam [N,K,h,w] and to boundary [N,1,h,w]; without ``cam`` the latter is
    empty."""
    grad, boundary = grad.contiguous(), boundary.contiguous()
    cam = None if cam is None else cam.contiguous()
    batches, grads = gradient_batches(grad, cam, boundary)
    run, workspace_bytes = {
        torch.float32: (
            _C.cuda_random_walk_backward_float32,
            _C.cuda_random_walk_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.cuda_random_walk_backward_float64,
            _C.cuda_random_walk_backward_workspace_bytes_float64,
        ),
    }[working_dtype(grad)]
    walk = batches, radius, beta, steps, method, tol, element_of(grad)
    workspace = new_workspace(workspace_bytes(*walk), grad.device)
    run(*walk, address(workspace), cuda_place(grad))
    return grads
