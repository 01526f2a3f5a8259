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

RADIUS, SIZE, BATCH = 10, 128, 4
LOSS_BATCH = 8
_EPSILON = 1e-5

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
    """A boundary, and the gradient of its affinity."""
    random = generator(seed)
    boundary = torch.rand(batch, 1, size, size, generator=random).requires_grad_()
    neighbours = len(wsss_fast.path_offsets(RADIUS))
    return boundary, torch.randn(batch, neighbours, *_out(size), generator=random)


def forward_backward(affinity: Affinity, boundary: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    found = affinity(boundary)
    (grad_boundary,) = torch.autograd.grad(found, boundary, grad)
    return found.detach(), grad_boundary


class PublishedLoss:
    """The loss as :mod:`wsss_fast.reference.affinity_displacement_loss` has it, for one size of maps, with
    its tables made once."""

    def __init__(self, size: int) -> None:
        reach = RADIUS - 1
        offsets = reference.path_offsets(RADIUS)
        flat = torch.arange(size * size).view(size, size)
        h, w = _out(size)
        self._affinity = published(size)
        self._sources = flat[:h, reach : reach + w].reshape(-1)
        self._targets = torch.cat(
            [flat[dy : dy + h, reach + dx : reach + dx + w].reshape(-1) for dy, dx in offsets]
        )
        self._pairs = (len(offsets), h * w)
        self._goal = torch.tensor(offsets, dtype=torch.float32).t().view(1, 2, -1, 1)

    def __call__(self, logits: Tensor, displacement: Tensor, labels: Tensor) -> Tensor:
        affinity = self._affinity(logits.sigmoid()).flatten(2)
        source, target = self._both_ends(labels.flatten(1).to(torch.int64))
        valid = (source != 255) & (target != 255)
        equal = valid & (source == target)
        background = (equal & (source == 0)).to(affinity.dtype)
        foreground = (equal & (source > 0)).to(affinity.dtype)
        different = (valid & (source != target)).to(affinity.dtype)

        log_equal = -torch.log(affinity + _EPSILON)
        positive = (_mean(log_equal, background) + _mean(log_equal, foreground)) / 2
        negative = _mean(-torch.log(1 + _EPSILON - affinity), different)
        start, end = self._both_ends(displacement.flatten(2))
        moved = start - end
        off_target = _mean_of_both((moved - self._goal).abs(), foreground)
        at_rest = _mean_of_both(moved.abs(), background)
        return (positive + negative) / 2 + (off_target + at_rest) / 2

    def _both_ends(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Of all pairs, ``[...,h*w]`` -> ``[...,1,h'*w']`` and ``[...,P,h'*w']``."""
        ends = values[..., self._targets].view(*values.shape[:-1], *self._pairs)
        return values[..., self._sources].unsqueeze(-2), ends


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / (where.sum() + _EPSILON)


def _mean_of_both(values: Tensor, where: Tensor) -> Tensor:
    return (values * where.unsqueeze(1)).sum() / (2 * where.sum() + _EPSILON)


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
    make: Callable[[int], Loss] = PublishedLoss if way == "published" else lambda size: our_loss()
    return Call(
        partial(loss_and_gradients, make(_TINY), *loss_inputs(0, _TINY, 1)),
        partial(loss_and_gradients, make(SIZE), *loss_inputs(1)),
    )
