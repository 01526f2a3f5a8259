"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates outputs and
workspace through torch, and keeps all of them alive until the core returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C, _checks


def _threads() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _workspace(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _check_values(name: str, tensor: Tensor, low: float, high: float, expected: str) -> None:
    """Raise ValueError at the first value of a contiguous tensor outside [low, high], NaN included."""
    first_outside = {
        torch.float32: _C.first_outside_float32,
        torch.float64: _C.first_outside_float64,
    }[tensor.dtype]
    flat = first_outside(_address(tensor), tensor.numel(), low, high)
    if flat < 0:
        return
    position: list[str] = []
    for n in reversed(tensor.shape):
        position.insert(0, str(flat % n))
        flat //= n
    value = tensor[tuple(int(i) for i in position)].item()
    raise ValueError(_checks.wrong(name, expected, f"{value} at [{','.join(position)}]"))


def check_finite(name: str, tensor: Tensor) -> None:
    largest = torch.finfo(tensor.dtype).max
    _check_values(name, tensor, -largest, largest, "finite values")


def check_labels(name: str, tensor: Tensor) -> None:
    """Raise ValueError if an integer tensor holds a negative value."""
    if tensor.dtype != torch.uint8 and tensor.numel() > 0 and (lowest := int(tensor.min())) < 0:
        raise ValueError(_checks.wrong(name, "labels >= 0", lowest))


def _check_boundary(name: str, tensor: Tensor) -> None:
    _check_values(name, tensor, 0.0, 1.0, "values in [0,1]")


# --- path_affinity ---


def path_offsets(radius: int) -> Tensor:
    return torch.tensor(_C.path_offsets(radius), dtype=torch.int64).reshape(-1, 2)


def path_affinity(boundary: Tensor, radius: int, paths: int, name: str) -> Tensor:
    """``boundary`` [N,1,h,w] -> affinity [N,paths,h-(radius-1),w-2(radius-1)]."""
    boundary = boundary.contiguous()
    _check_boundary(name, boundary)
    n, _, h, w = boundary.shape
    affinity = boundary.new_empty((n, paths, h - (radius - 1), w - 2 * (radius - 1)))
    run = {
        torch.float32: _C.path_affinity_float32,
        torch.float64: _C.path_affinity_float64,
    }[boundary.dtype]
    run(_address(boundary), _address(affinity), n, h, w, radius, _threads())
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
    workspace = _workspace(workspace_bytes(n, h, w, radius))
    run(
        _address(grad_affinity),
        _address(boundary),
        _address(grad_boundary),
        _address(workspace),
        n,
        h,
        w,
        radius,
        _threads(),
    )
    return grad_boundary


# --- random_walk ---


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
        _check_boundary(boundary_name, boundary)
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
        batches.append(((_address(cam), _address(boundary), _address(out)), (n, k, h, w)))
    threads = _threads()
    workspace = _workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, _address(workspace), threads)
    return outs
