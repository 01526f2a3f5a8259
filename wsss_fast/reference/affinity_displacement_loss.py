"""The IRNet training loss the way it was published: index tables, gathers, and tensors of all pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wsss_fast.reference.path_affinity import path_affinity, path_offsets

# Flat indices of the sources [h' * w'] and of their neighbours [P, h' * w'], and (dy, dx) of those [P,2].
Pairs = tuple[Tensor, Tensor, Tensor]


def pair_indices(radius: int, height: int, width: int) -> Pairs:
    """The pairs of a map of that size."""
    reach = radius - 1
    size = (height - reach, width - 2 * reach)
    offsets = path_offsets(radius)
    flat = torch.arange(height * width).view(height, width)
    sources = flat[: size[0], reach : reach + size[1]].reshape(-1)
    targets = torch.stack(
        [flat[dy : dy + size[0], reach + dx : reach + dx + size[1]].reshape(-1) for dy, dx in offsets]
    )
    return sources, targets, torch.tensor(offsets)


def affinity_displacement_loss(
    boundary_logits: Tensor,
    displacement: Tensor,
    labels: Tensor,
    radius: int,
    affinity_of: Callable[[Tensor], Tensor] | None = None,
    pairs: Pairs | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See :class:`wsss_fast.nn.AffinityDisplacementLoss`: total, positive, negative, displacement of
    foreground and of background. One process. ``affinity_of`` makes the affinity of the boundary in another
    way than the published one, or with tables made before; ``pairs`` are such tables too.

    >>> import torch, wsss_fast.nn
    >>> from wsss_fast.reference.affinity_displacement_loss import affinity_displacement_loss
    >>> inputs = torch.randn(2, 1, 12, 16), torch.randn(2, 2, 12, 16), torch.randint(0, 3, (2, 12, 16))
    >>> slow = affinity_displacement_loss(*inputs, radius=4)
    >>> fast = wsss_fast.nn.AffinityDisplacementLoss(radius=4)(*inputs)
    >>> all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(slow, fast))
    True
    """
    n, _, h, w = boundary_logits.shape
    sources, targets, offsets = pair_indices(radius, h, w) if pairs is None else pairs

    boundary = boundary_logits.sigmoid()
    affinity = (affinity_of(boundary) if affinity_of else path_affinity(boundary, radius)).flatten(2)

    flat_labels = labels.flatten(1).to(torch.int64)
    source = flat_labels[:, sources].unsqueeze(1)
    target = flat_labels[:, targets.view(-1)].view(n, *targets.shape)
    valid = (source != 255) & (target != 255)
    equal = valid & (source == target)
    background = (equal & (source == 0)).to(affinity.dtype)
    foreground = (equal & (source > 0)).to(affinity.dtype)
    different = (valid & (source != target)).to(affinity.dtype)

    flat_displacement = displacement.flatten(2)
    moved = flat_displacement[:, :, sources].unsqueeze(2) - flat_displacement[:, :, targets.view(-1)].view(
        n, 2, *targets.shape
    )
    goal = offsets.to(moved.dtype).t().view(1, 2, -1, 1)

    def mean(values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).sum() / (mask.sum() + 1e-5)

    def mean_displacement(values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask.unsqueeze(1)).sum() / (2 * mask.sum() + 1e-5)

    log_equal = -torch.log(affinity + 1e-5)
    positive = mean(log_equal, background) / 2 + mean(log_equal, foreground) / 2
    negative = mean(-torch.log(1 + 1e-5 - affinity), different)
    displacement_foreground = mean_displacement((moved - goal).abs(), foreground)
    displacement_background = mean_displacement(moved.abs(), background)
    total = (positive + negative) / 2 + (displacement_foreground + displacement_background) / 2
    return total, positive, negative, displacement_foreground, displacement_background
