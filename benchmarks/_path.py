"""Path affinity and the loss on it: inputs, ours, and the ways they are compared with.

The published code builds its index tables once a training run, so they are made outside the measured time
and count as input where memory is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from _memory import Call
from _setting import generator
from torch import Tensor

import wsss_fast
from wsss_fast.nn import AffinityDisplacementLoss
from wsss_fast.reference import path_affinity as reference
from wsss_fast.reference.affinity_displacement_loss import affinity_displacement_loss, pair_indices

RADIUS, SIZE, BATCH = 10, 128, 4
LOSS_BATCH = 8

Affinity = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # boundary logits, displacement, labels -> total


def _out(size: int) -> tuple[int, int]:
    return size - (RADIUS - 1), size - 2 * (RADIUS - 1)


def ours(boundary: Tensor) -> Tensor:
    return wsss_fast.path_affinity(boundary, RADIUS)


def published(size: int) -> Affinity:
    tables = reference.path_indices(RADIUS, size, size)
    return lambda boundary: reference.affinity_of_indices(boundary, tables, _out(size))


def slices(boundary: Tensor) -> Tensor:
    return reference.path_affinity_by_slices(boundary, RADIUS)


def inputs(seed: int, size: int = SIZE, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """A boundary, and the gradient of its affinity. No two pixels of an image are equal: forms of the op
    differ in which of equal ones they give a gradient."""
    random = generator(seed)
    pixels = size * size
    order = torch.stack([torch.randperm(pixels, generator=random) for _ in range(batch)])
    boundary = ((order + 0.5) / pixels).view(batch, 1, size, size).requires_grad_()
    neighbours = len(wsss_fast.path_offsets(RADIUS))
    return boundary, torch.randn(batch, neighbours, *_out(size), generator=random)


def forward_backward(affinity: Affinity, boundary: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    found = affinity(boundary)
    (grad_boundary,) = torch.autograd.grad(found, boundary, grad)
    return found.detach(), grad_boundary


def reference_loss(affinity: Affinity, size: int) -> Loss:
    """The published form on one of the two ways to the affinity."""
    pairs = pair_indices(RADIUS, size, size)
    return lambda logits, displacement, labels: affinity_displacement_loss(
        logits, displacement, labels, RADIUS, affinity_of=affinity, pairs=pairs
    )[0]


def our_loss() -> Loss:
    loss = AffinityDisplacementLoss(RADIUS)
    return lambda logits, displacement, labels: loss(logits, displacement, labels).total


def loss_inputs(seed: int, size: int = SIZE, batch: int = LOSS_BATCH) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, displacement, and labels in blocks of 16 x 16, a quarter of them unconfident."""
    random = generator(seed)
    logits = torch.randn(batch, 1, size, size, generator=random).requires_grad_()
    displacement = torch.randn(batch, 2, size, size, generator=random).requires_grad_()
    blocks = torch.randint(4, (batch, size // 16, size // 16), generator=random)
    labels = torch.tensor([0, 1, 2, 255], dtype=torch.uint8)[blocks]
    return logits, displacement, labels.repeat_interleave(16, 1).repeat_interleave(16, 2)


def loss_and_gradients(
    loss: Loss, logits: Tensor, displacement: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    total = loss(logits, displacement, labels)
    grad_logits, grad_displacement = torch.autograd.grad(total, (logits, displacement))
    return total.detach(), grad_logits, grad_displacement


# For the fresh process that measures memory.
_TINY = 32


def affinity_call(way: str) -> Call:
    functions = {"ours": lambda size: ours, "published": published, "slices": lambda size: slices}
    make = functions[way]
    return Call(
        partial(forward_backward, make(_TINY), *inputs(0, _TINY, 1)),
        partial(forward_backward, make(SIZE), *inputs(1)),
    )


def loss_call(way: str) -> Call:
    def make(size: int) -> Loss:
        return our_loss() if way == "ours" else reference_loss(published(size), size)

    return Call(
        partial(loss_and_gradients, make(_TINY), *loss_inputs(0, _TINY, 1)),
        partial(loss_and_gradients, make(SIZE), *loss_inputs(1)),
    )
