"""The training loss of IRNet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wsss_fast import _checks, _launch
from wsss_fast.ops.path_affinity import path_offsets

_BACKGROUND = 0
_UNCONFIDENT = 255
_EPSILON = 1e-5
_LABEL_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

# The sums over pairs of pixels, and their gradient, as one op each: a neighbour at a time, so that nothing
# of the size of the affinity is made but its gradient, and opaque to torch.compile, which would unroll the
# loop. sums: -log(a + eps) of background and of foreground pairs of equal label, -log(1 + eps - a) of pairs
# of different label, displacement error of foreground and of background pairs. counts: background,
# foreground, different.
torch.library.define(
    "wsss_fast::affinity_displacement_sums",
    "(Tensor affinity, Tensor displacement, Tensor labels, int radius) -> (Tensor sums, Tensor counts)",
)
torch.library.define(
    "wsss_fast::affinity_displacement_sums_backward",
    "(Tensor grad_sums, Tensor affinity, Tensor displacement, Tensor labels, int radius)"
    " -> (Tensor grad_affinity, Tensor grad_displacement)",
)


class _Pair(NamedTuple):
    """All pixels that have a neighbour p, with that neighbour. ``source`` and ``target`` are indices."""

    p: int
    offset: Tensor  # [2,1,1], (dy, dx)
    source: tuple[Any, ...]
    target: tuple[Any, ...]
    background: Tensor  # [N,h',w'] bool: both background
    foreground: Tensor  # both of one class
    different: Tensor  # of different labels, both confident


def _pairs(affinity: Tensor, labels: Tensor, radius: int) -> Iterator[_Pair]:
    h, w = affinity.shape[-2:]
    reach = radius - 1
    source = (..., slice(0, h), slice(reach, reach + w))
    source_labels = labels[source]
    confident = source_labels != _UNCONFIDENT
    is_background = source_labels == _BACKGROUND
    is_foreground = confident & ~is_background
    for p, (dy, dx) in enumerate(path_offsets(radius).tolist()):
        target = (..., slice(dy, dy + h), slice(reach + dx, reach + dx + w))
        target_labels = labels[target]
        equal = source_labels == target_labels
        yield _Pair(
            p,
            affinity.new_tensor([dy, dx]).view(2, 1, 1),
            source,
            target,
            equal & is_background,
            equal & is_foreground,
            ~equal & confident & (target_labels != _UNCONFIDENT),
        )


def _sum(values: Tensor, where: Tensor) -> Tensor:
    """Sum in float64, a row at a time first: torch splits a full reduction by its number of threads."""
    return torch.where(where, values, 0).sum(-1, dtype=torch.float64).sum(-1).sum()


@torch.library.impl("wsss_fast::affinity_displacement_sums", "CompositeExplicitAutograd")
def _sums(affinity: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    if affinity.device.type == "cpu":
        _launch.check_finite("displacement", displacement.contiguous())
        _launch.check_labels("labels", labels)
    sums = affinity.new_zeros(5, dtype=torch.float64)
    counts = labels.new_zeros(3, dtype=torch.int64)
    for pair in _pairs(affinity, labels, radius):
        a = affinity[:, pair.p]
        log_equal = -(a + _EPSILON).log()
        log_different = -(1 + _EPSILON - a).log()
        moved = displacement[pair.source] - displacement[pair.target]
        off_target = (moved - pair.offset).abs().sum(1)
        at_rest = moved.abs().sum(1)
        sums += torch.stack(
            [
                _sum(log_equal, pair.background),
                _sum(log_equal, pair.foreground),
                _sum(log_different, pair.different),
                _sum(off_target, pair.foreground),
                _sum(at_rest, pair.background),
            ]
        )
        counts += torch.stack([pair.background.sum(), pair.foreground.sum(), pair.different.sum()])
    return sums.to(affinity.dtype), counts


@torch.library.register_fake("wsss_fast::affinity_displacement_sums")
def _sums_fake(affinity: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return affinity.new_empty(5), labels.new_empty(3, dtype=torch.int64)


@torch.library.impl("wsss_fast::affinity_displacement_sums_backward", "CompositeExplicitAutograd")
def _sums_backward(
    grad_sums: Tensor, affinity: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    background, foreground, different, off_target, at_rest = grad_sums.unbind()
    nothing = grad_sums.new_zeros(())
    grad_affinity = affinity.new_empty(affinity.shape)
    grad_displacement = displacement.new_zeros(displacement.shape)
    for pair in _pairs(affinity, labels, radius):
        a = affinity[:, pair.p]
        equal = torch.where(pair.background, background, torch.where(pair.foreground, foreground, nothing))
        grad_affinity[:, pair.p] = torch.where(
            pair.different, different / (1 + _EPSILON - a), -equal / (a + _EPSILON)
        )
        moved = displacement[pair.source] - displacement[pair.target]
        grad_moved = torch.where(
            pair.foreground.unsqueeze(1),
            (moved - pair.offset).sign() * off_target,
            torch.where(pair.background.unsqueeze(1), moved.sign() * at_rest, nothing),
        )
        grad_displacement[pair.source] += grad_moved
        grad_displacement[pair.target] -= grad_moved
    return grad_affinity, grad_displacement


@torch.library.register_fake("wsss_fast::affinity_displacement_sums_backward")
def _sums_backward_fake(
    grad_sums: Tensor, affinity: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    return affinity.new_empty(affinity.shape), displacement.new_empty(displacement.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Any) -> None:
    *tensors, ctx.radius = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_sums: Tensor, _: Any) -> tuple[Tensor, Tensor, None, None]:
    grad_affinity, grad_displacement = torch.ops.wsss_fast.affinity_displacement_sums_backward(
        grad_sums, *ctx.saved_tensors, ctx.radius
    )
    return grad_affinity, grad_displacement, None, None


def _no_second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("AffinityDisplacementLoss: the gradient of its gradient is not implemented")


torch.library.register_autograd(
    "wsss_fast::affinity_displacement_sums", _backward, setup_context=_setup_context
)
torch.library.register_autograd("wsss_fast::affinity_displacement_sums_backward", _no_second_backward)


class AffinityDisplacementLosses(NamedTuple):
    """The loss and its parts, scalars: ``total = (positive + negative) / 2
    + (displacement_foreground + displacement_background) / 2``."""

    total: Tensor
    positive: Tensor
    negative: Tensor
    displacement_foreground: Tensor
    displacement_background: Tensor


class AffinityDisplacementLoss(nn.Module):
    """The training loss of IRNet, on pairs of pixels less than ``radius`` apart.

    From Ahn, Cho, Kwak: Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations
    (CVPR 2019). With ``a = path_affinity(sigmoid(boundary_logits), radius)`` and D the displacement at
    the source of a pair minus that at its neighbour (dy, dx):

    - positive: ``-log(a + 1e-5)`` of pairs of equal label; background and foreground pairs are each
      averaged over their own number, and the two averages are averaged;
    - negative: ``-log(1 + 1e-5 - a)``, averaged over pairs of different label;
    - displacement, foreground: ``|D - (dy, dx)|``, summed over both components and foreground pairs of
      equal label, divided by twice their number;
    - displacement, background: ``|D|``, likewise over background pairs.

    A pair with an unconfident pixel takes no part. Numbers of pairs are over the whole batch; 1e-5 is added
    to each divisor.

    In distributed training (``torch.distributed`` initialised) the numbers of pairs are summed over all
    processes, so that the **sum** of the losses of all processes is the loss of the joint batch. Every
    process has to call. DistributedDataParallel averages gradients over the processes: multiply the loss
    by their number to have the gradient of the joint batch.

    Args:
        radius: in pixels, an integer in [2, 64]; IRNet has 10.

    ``forward(boundary_logits, displacement, labels)`` returns :class:`AffinityDisplacementLosses`:

        boundary_logits: ``[N,1,h,w]`` float32 or float64 on the CPU, h >= radius, w >= 2 radius - 1; half
            precision under autocast is taken as float32.
        displacement: ``[N,2,h,w]`` of the same dtype, (dy, dx) in pixels, finite.
        labels: ``[N,h,w]`` of an integer dtype: 0 background, 255 unconfident, other classes positive.

    Raises ValueError for a wrong shape, device or value (NaN, a negative label), TypeError for a wrong type
    or dtype. Differentiable once, in both inputs; bitwise deterministic at any number of threads.

    Cost: memory for the affinity ``[N,P,h-(radius-1),w-2(radius-1)]`` and its gradient, and no more of that
    size.

    >>> import torch
    >>> loss = AffinityDisplacementLoss(radius=3)
    >>> labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    >>> labels[:, :, 4:] = 1
    >>> losses = loss(torch.full((1, 1, 8, 8), -20.0), torch.zeros(1, 2, 8, 8), labels)
    >>> f"{losses.positive:.2f} {losses.negative:.2f} {losses.displacement_background:.2f}"
    '-0.00 11.51 0.00'
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = _checks.integer("radius", radius, 2, 64)

    def extra_repr(self) -> str:
        return f"radius={self.radius}"

    def forward(
        self, boundary_logits: Tensor, displacement: Tensor, labels: Tensor
    ) -> AffinityDisplacementLosses:
        boundary_logits, displacement = self._checked(boundary_logits, displacement, labels)
        affinity = torch.ops.wsss_fast.path_affinity(
            boundary_logits.sigmoid(), self.radius, "sigmoid(boundary_logits)"
        )
        sums, counts = torch.ops.wsss_fast.affinity_displacement_sums(
            affinity, displacement, labels, self.radius
        )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
        background, foreground, different = counts.to(sums.dtype).unbind()
        positive_background = sums[0] / (background + _EPSILON)
        positive_foreground = sums[1] / (foreground + _EPSILON)
        positive = (positive_background + positive_foreground) / 2
        negative = sums[2] / (different + _EPSILON)
        displacement_foreground = sums[3] / (2 * foreground + _EPSILON)
        displacement_background = sums[4] / (2 * background + _EPSILON)
        total = (positive + negative) / 2 + (displacement_foreground + displacement_background) / 2
        return AffinityDisplacementLosses(
            total, positive, negative, displacement_foreground, displacement_background
        )

    def _checked(
        self, boundary_logits: Tensor, displacement: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        boundary_logits = _checks.autocast(boundary_logits)
        displacement = _checks.autocast(displacement)
        _checks.tensor("boundary_logits", boundary_logits, "[N,1,h,w]", (4,))
        _checks.tensor("displacement", displacement, "[N,2,h,w]", (4,))
        _checks.tensor("labels", labels, "[N,h,w]", (3,), _LABEL_DTYPES)
        n, channels, h, w = boundary_logits.shape
        if channels != 1:
            raise ValueError(_checks.wrong("boundary_logits", "[N,1,h,w], one channel", boundary_logits))
        tall, wide = self.radius, 2 * self.radius - 1
        if h < tall or w < wide:
            expected = f"h >= {tall} and w >= {wide} for radius {self.radius}"
            raise ValueError(_checks.wrong("boundary_logits", expected, boundary_logits))
        why = "to match boundary_logits"
        _checks.size("displacement", displacement, (n, 2, h, w), why)
        _checks.size("labels", labels, (n, h, w), why)
        for name, value in (("displacement", displacement), ("labels", labels)):
            _checks.same_device(name, value, "boundary_logits", boundary_logits)
        _checks.same_dtype("displacement", displacement, "boundary_logits", boundary_logits)
        return boundary_logits, displacement
