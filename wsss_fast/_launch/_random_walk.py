"""Random walk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, new_workspace, thread_count
from wsss_fast._launch._values import check_values
from wsss_fast._launch._walk_batches import gradient_batches, walk_batches

WALKERS = "finite values of at most {:.2g}"


def largest_walker(dtype: torch.dtype) -> float:
    """The largest value of a map from which no sum on the way can overflow.

    T is a symmetric matrix with spectrum in [-1, 1] between two diagonal ones, whose entries lie within a
    factor of 27 of each other (the root of 709 neighbours, at radius 15). So what any of the polynomials
    makes of a map of P pixels is at most 27 sqrt(P) times its largest value, and 2^40 is more than that.
    """
    return torch.finfo(dtype).max / 2**40


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
        largest = largest_walker(cam.dtype)
        check_values(cam_name, cam, -largest, largest, WALKERS.format(largest))
        check_values(boundary_name, boundary, 0.0, 1.0, "values in [0,1]")
    outs = [cam.new_empty(cam.shape) for cam in cams]
    if not cams:
        return outs
    batches = walk_batches(cams, boundaries, outs)
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_float32, _C.random_walk_workspace_bytes_float32),
        torch.float64: (_C.random_walk_float64, _C.random_walk_workspace_bytes_float64),
    }[cams[0].dtype]
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
    batches, grads = gradient_batches(grad, cam, boundary)
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_backward_float32, _C.random_walk_backward_workspace_bytes_float32),
        torch.float64: (_C.random_walk_backward_float64, _C.random_walk_backward_workspace_bytes_float64),
    }[grad.dtype]
    threads = thread_count()
    workspace = new_workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, address(workspace), threads)
    return grads
