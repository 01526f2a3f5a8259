"""Random walk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, new_workspace, thread_count
from wsss_fast._launch._values import check_finite, check_values


def random_walk(
    cams: Sequence[Tensor],
    boundaries: Sequence[Tensor],
    names: Sequence[tuple[str, str]],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
) -> list[Tensor]:
    """Walk batches of any sizes, all of one dtype: ``cams[i]`` [N,K,h,w] over ``boundaries[i]`` [N,1,h,w].

    ``names[i]`` is how an error calls the two.
    """
    cams = [cam.contiguous() for cam in cams]
    boundaries = [boundary.contiguous() for boundary in boundaries]
    for (cam_name, boundary_name), cam, boundary in zip(names, cams, boundaries, strict=True):
        check_finite(cam_name, cam)
        check_values(boundary_name, boundary, 0.0, 1.0, "values in [0,1]")
    outs = [cam.new_empty(cam.shape) for cam in cams]
    if not cams:
        return outs
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_float32, _C.random_walk_workspace_bytes_float32),
        torch.float64: (_C.random_walk_float64, _C.random_walk_workspace_bytes_float64),
    }[cams[0].dtype]
    batches = []
    for cam, boundary, out in zip(cams, boundaries, outs, strict=True):
        n, k, h, w = cam.shape
        batches.append(((address(cam), address(boundary), address(out)), (n, k, h, w)))
    threads = thread_count()
    workspace = new_workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, address(workspace), threads)
    return outs


def random_walk_backward(
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
    grad_cam = grad.new_empty(grad.shape)
    n, k, h, w = grad.shape
    # Without maps the core has no image to write it for.
    new = boundary.new_empty if k > 0 else boundary.new_zeros
    grad_boundary = new((0,) if cam is None else boundary.shape)
    arrays = (
        address(grad),
        0 if cam is None else address(cam),
        address(boundary),
        address(grad_cam),
        0 if cam is None else address(grad_boundary),
    )
    batches = [(arrays, (n, k, h, w))]
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_backward_float32, _C.random_walk_backward_workspace_bytes_float32),
        torch.float64: (_C.random_walk_backward_float64, _C.random_walk_backward_workspace_bytes_float64),
    }[grad.dtype]
    threads = thread_count()
    workspace = new_workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, address(workspace), threads)
    return grad_cam, grad_boundary
