"""The affinity and displacement loss on CUDA."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, cuda_place, element_of, new_workspace, working_dtype

# Addresses of logits and displacement, and their element; that of labels, their bytes and whether they are
# signed; images, height, width, radius.
_Pairs: TypeAlias = "tuple[int, int, _C.Element, int, int, bool, int, int, int, int]"


def cuda_affinity_displacement(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """Logits [N,1,h,w], displacement [N,2,h,w], labels [N,h,w] -> sums [5] over pairs, and counts [3].

    Inputs of half precision have sums in float32.
    """
    given = _contiguous(boundary_logits, displacement, labels)
    dtype, device = working_dtype(boundary_logits), boundary_logits.device
    sums = torch.empty(5, dtype=dtype, device=device)
    counts = torch.empty(3, dtype=torch.int64, device=device)
    run, workspace_bytes = {
        torch.float32: (
            _C.cuda_affinity_displacement_float32,
            _C.cuda_affinity_displacement_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.cuda_affinity_displacement_float64,
            _C.cuda_affinity_displacement_workspace_bytes_float64,
        ),
    }[dtype]
    inputs = _pairs(*given, radius)
    workspace = new_workspace(workspace_bytes(inputs=inputs), device)
    run(
        inputs=inputs,
        sums=address(sums),
        counts=address(counts),
        workspace=address(workspace),
        place=cuda_place(boundary_logits),
    )
    return sums, counts


def cuda_affinity_displacement_backward(
    grad_sums: Tensor, boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """The gradients of the logits and of the displacement, of their dtype."""
    grad_sums = grad_sums.contiguous()
    given = _contiguous(boundary_logits, displacement, labels)
    grad_boundary_logits = boundary_logits.new_empty(boundary_logits.shape)
    grad_displacement = displacement.new_empty(displacement.shape)
    run, workspace_bytes = {
        torch.float32: (
            _C.cuda_affinity_displacement_backward_float32,
            _C.cuda_affinity_displacement_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.cuda_affinity_displacement_backward_float64,
            _C.cuda_affinity_displacement_backward_workspace_bytes_float64,
        ),
    }[working_dtype(boundary_logits)]
    inputs = _pairs(*given, radius)
    workspace = new_workspace(workspace_bytes(inputs=inputs), boundary_logits.device)
    run(
        inputs=inputs,
        grad_sums=address(grad_sums),
        grad_boundary_logits=address(grad_boundary_logits),
        grad_displacement=address(grad_displacement),
        workspace=address(workspace),
        place=cuda_place(boundary_logits),
    )
    return grad_boundary_logits, grad_displacement


def _contiguous(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logits, displacement, labels = (tensor.contiguous() for tensor in tensors)
    return logits, displacement, labels


def _pairs(logits: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> _Pairs:
    n, _, h, w = logits.shape
    return (
        address(logits),
        address(displacement),
        element_of(logits),
        address(labels),
        labels.element_size(),
        labels.dtype.is_signed,
        n,
        h,
        w,
        radius,
    )
