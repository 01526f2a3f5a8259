"""The sums over pairs of pixels that the training loss of IRNet is made of, and their gradient.

:class:`wsss_fast.nn.AffinityDisplacementLoss` is the public way to them: it checks its input and divides.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from wsss_fast import _launch
from wsss_fast._device import HALVES, on_cuda
from wsss_fast._values import check_finite, check_within, checking

# sums: -log(a + eps) of background and of foreground pairs of equal label, -log(1 + eps - a) of pairs of
# different label, displacement error of foreground and of background pairs. counts: background, foreground,
# different. Nothing of the size of the affinity is made, forward or backward: the backward pass goes over the
# paths once more.
torch.library.define(
    "wsss_fast::affinity_displacement_sums",
    "(Tensor boundary_logits, Tensor displacement, Tensor labels, int radius)"
    " -> (Tensor sums, Tensor counts)",
)
torch.library.define(
    "wsss_fast::affinity_displacement_sums_backward",
    "(Tensor grad_sums, Tensor boundary_logits, Tensor displacement, Tensor labels, int radius)"
    " -> (Tensor grad_boundary_logits, Tensor grad_displacement)",
)


@torch.library.impl("wsss_fast::affinity_displacement_sums", ("CPU", "CUDA"))
def _sums(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    if not on_cuda(boundary_logits):
        return _launch.affinity_displacement(boundary_logits, displacement, labels, radius)
    if checking(boundary_logits):
        check_within("boundary_logits", boundary_logits, -math.inf, math.inf, "values that are not NaN")
        check_finite("displacement", displacement)
        check_within("labels", labels, 0, 2**31 - 1, "labels >= 0 and < 2^31")
    return _launch.cuda_affinity_displacement(boundary_logits, displacement, labels, radius)


@torch.library.register_fake("wsss_fast::affinity_displacement_sums")
def _sums_fake(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    dtype = torch.float32 if boundary_logits.dtype in HALVES else boundary_logits.dtype
    return boundary_logits.new_empty(5, dtype=dtype), labels.new_empty(3, dtype=torch.int64)


@torch.library.impl("wsss_fast::affinity_displacement_sums_backward", ("CPU", "CUDA"))
def _sums_backward(
    grad_sums: Tensor, boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    cuda = on_cuda(boundary_logits)
    run = _launch.cuda_affinity_displacement_backward if cuda else _launch.affinity_displacement_backward
    return run(grad_sums, boundary_logits, displacement, labels, radius)


@torch.library.register_fake("wsss_fast::affinity_displacement_sums_backward")
def _sums_backward_fake(
    grad_sums: Tensor, boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    return boundary_logits.new_empty(boundary_logits.shape), displacement.new_empty(displacement.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Any) -> None:
    *tensors, ctx.radius = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_sums: Tensor, _: Any) -> tuple[Tensor, Tensor, None, None]:
    grad_boundary_logits, grad_displacement = torch.ops.wsss_fast.affinity_displacement_sums_backward(
        grad_sums, *ctx.saved_tensors, ctx.radius
    )
    return grad_boundary_logits, grad_displacement, None, None


def _no_second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("AffinityDisplacementLoss: the gradient of its gradient is not implemented")


torch.library.register_autograd(
    "wsss_fast::affinity_displacement_sums", _backward, setup_context=_setup_context
)
torch.library.register_autograd("wsss_fast::affinity_displacement_sums_backward", _no_second_backward)


def affinity_displacement_sums(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """Sums ``[5]`` and counts ``[3]`` over the pairs of a batch, as described above.

    Takes ``[N,1,h,w]``, ``[N,2,h,w]`` and ``[N,h,w]`` that the loss has checked, all but their values:
    raises ValueError for NaN in ``boundary_logits``, NaN or infinities in ``displacement`` and labels that
    are negative or above 2^31 - 1, on CUDA under ``check_values`` only. Sums of half precision are float32.
    Differentiable once, in logits and displacement.
    """
    sums, counts = torch.ops.wsss_fast.affinity_displacement_sums(
        boundary_logits, displacement, labels, radius
    )
    return sums, counts
