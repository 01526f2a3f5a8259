"""The affinity and displacement loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, new_workspace, thread_count
from wsss_fast._launch._values import check_finite, check_values, labels_of


def affinity_displacement(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """Logits [N,1,h,w], displacement [N,2,h,w], labels [N,h,w] -> sums [5] over pairs, and counts [3]."""
    boundary_logits = boundary_logits.contiguous()
    displacement = displacement.contiguous()
    check_values("boundary_logits", boundary_logits, -math.inf, math.inf, "values that are not NaN")
    check_finite("displacement", displacement)
    labels = labels_of("labels", labels)
    sums = boundary_logits.new_empty(5)
    counts = labels.new_empty(3, dtype=torch.int64)
    n, _, h, w = boundary_logits.shape
    run = {
        torch.float32: _C.affinity_displacement_float32,
        torch.float64: _C.affinity_displacement_float64,
    }[boundary_logits.dtype]
    run(
        boundary_logits=address(boundary_logits),
        displacement=address(displacement),
        labels=address(labels),
        sums=address(sums),
        counts=address(counts),
        images=n,
        height=h,
        width=w,
        radius=radius,
        threads=thread_count(),
    )
    return sums, counts


def affinity_displacement_backward(
    grad_sums: Tensor, boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """The gradients of the logits and of the displacement."""
    grad_sums = grad_sums.contiguous()
    boundary_logits = boundary_logits.contiguous()
    displacement = displacement.contiguous()
    labels = labels_of("labels", labels)
    grad_boundary_logits = boundary_logits.new_empty(boundary_logits.shape)
    grad_displacement = displacement.new_empty(displacement.shape)
    n, _, h, w = boundary_logits.shape
    run, workspace_bytes = {
        torch.float32: (
            _C.affinity_displacement_backward_float32,
            _C.affinity_displacement_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.affinity_displacement_backward_float64,
            _C.affinity_displacement_backward_workspace_bytes_float64,
        ),
    }[boundary_logits.dtype]
    workspace = new_workspace(workspace_bytes(images=n, height=h, width=w, radius=radius))
    run(
        grad_sums=address(grad_sums),
        boundary_logits=address(boundary_logits),
        displacement=address(displacement),
        labels=address(labels),
        grad_boundary_logits=address(grad_boundary_logits),
        grad_displacement=address(grad_displacement),
        workspace=address(workspace),
        images=n,
        height=h,
        width=w,
        radius=radius,
        threads=thread_count(),
    )
    return grad_boundary_logits, grad_displacement
