"""Mean field one filter at a time: what the last step of crf's log-probabilities and its gradient stand on.

The core's crf runs all iterations in one go and keeps no Q; here each message is a tensor. Shapes are those
of S unaries of each image of a group: ``[G,S,C,P]`` with P = H W. On the CPU a group is one image, whose
tensors the caches hold best; on CUDA it is as many as fit into memory, so that each launch has enough to do.

Nothing here is a matrix product or torch.softmax: the bits of both depend on the number of threads. Nothing
looks at a value either: CUDA would have to wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from wsss_fast import _launch
from wsss_fast._device import on_cuda
from wsss_fast._launch import FlatKernel
from wsss_fast.ops.features import colour_features, position_features

# Pixels that small loops over the classes work on together on the CPU, so that they stay in the cache.
PIXELS_AT_ONCE = 4096


class NormalizedFilter:
    """``q -> after * F(before * q)``: the filter of one kernel on a group, with its normalisation."""

    def __init__(self, features: Tensor, normalization: str, capacity: int | None) -> None:
        """``features``: ``[G,d,P]``, or ``[1,d,P]`` for what is the same in all images of a group."""
        self._count, self._dims, points = features.shape
        self._lattices, _ = _launch.lattice_build(features, capacity)
        self._before: Tensor | None = None
        self._after: Tensor | None = None
        if normalization == "none":
            return
        ones = features.new_ones(self._count, 1, 1, points)
        mass = self._filter(ones, transposed=False) + 1e-20
        factor = 1 / (mass.sqrt() if normalization == "symmetric" else mass)
        self._before = None if normalization == "after" else factor
        self._after = None if normalization == "before" else factor

    def __call__(self, q: Tensor) -> Tensor:
        return self._between(self._before, q, self._after, transposed=False)

    def transposed(self, grad: Tensor) -> Tensor:
        """The gradient for q, from that for the result."""
        return self._between(self._after, grad, self._before, transposed=True)

    def _between(self, first: Tensor | None, values: Tensor, last: Tensor | None, transposed: bool) -> Tensor:
        out = self._filter(values if first is None else values * first, transposed)
        return out if last is None else out.mul_(last)

    def _filter(self, values: Tensor, transposed: bool) -> Tensor:
        # Not checked for finite values: gradients may be infinite, and energies are looked at by the caller.
        flat = values.reshape(self._count, -1, values.shape[-1])
        return _launch.lattice_filter(self._lattices, flat, self._dims, transposed, False).view(values.shape)


@dataclass(frozen=True)
class Term:
    """One kernel on a group of images."""

    filter: NormalizedFilter
    compat: Tensor  # a scalar is a weight, a vector and a matrix are costs

    def logits(self, q: Tensor) -> Tensor:
        """What the term adds to -unary."""
        message = self.filter(q)
        if self.compat.dim() == 2:
            return mix_classes(-self.compat, message)
        return message.mul_(self._factor())

    def transposed_compat_(self, grad: Tensor) -> Tensor:
        """What stands before the filter's transpose in the gradient of :meth:`logits`; may overwrite."""
        if self.compat.dim() == 2:
            return mix_classes(-self.compat.T, grad)
        return grad.mul_(self._factor())

    def _factor(self) -> Tensor:
        return self.compat if self.compat.dim() == 0 else -self.compat.unsqueeze(1)


def terms_of_each_group(
    image: Tensor, unary: Tensor, kernels: Sequence[FlatKernel], *, size: int
) -> Iterator[list[Term]]:
    """The terms of one group of ``size`` images after the other (the last may be smaller)."""
    same_in_all: dict[int, NormalizedFilter] = {}  # by kernel: positions do not depend on the image
    for first in range(0, unary.shape[0], size):
        group = slice(first, first + size)
        terms = []
        for k, kernel in enumerate(kernels):
            filter_ = same_in_all.get(k) or _filter_of(kernel.of_images(group), image[group], unary)
            if kernel.kind == "gaussian":
                same_in_all[k] = filter_
            terms.append(Term(filter_, kernel.compat))
        yield terms


def _filter_of(kernel: FlatKernel, image: Tensor, like: Tensor) -> NormalizedFilter:
    """For a group of images, in the dtype of ``like`` ``[...,H,W]``."""
    sxy, srgb = kernel.scales[:2], kernel.scales[2:]
    if kernel.features is not None:
        points = kernel.features.to(like.dtype)
    elif kernel.kind == "bilateral":
        points = colour_features(image, sxy, srgb, like)
    else:
        points = position_features(like.shape[-2], like.shape[-1], sxy, like).unsqueeze(0)
    return NormalizedFilter(points.flatten(2), kernel.normalization, kernel.capacity)


def next_logits(energy: Tensor, terms: list[Term], q: Tensor) -> Tensor:
    """What the next Q is the softmax of, for unaries ``energy``."""
    total = -energy
    for term in terms:
        total += term.logits(q)
    return total


def blocks_of_pixels(*values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same pixels of each of the values: PIXELS_AT_ONCE on the CPU, all of them on CUDA."""
    size = values[0].shape[-1] if on_cuda(values[0]) else PIXELS_AT_ONCE
    return zip(*(each.split(size, -1) for each in values), strict=True)


def mix_classes(matrix: Tensor, values: Tensor) -> Tensor:
    """``matrix @ values``, for ``[C,C]`` and ``[G,S,C,P]``."""
    out = values.new_empty(values.shape)
    for to, of in blocks_of_pixels(out, values):
        to.zero_()
        for column, one in zip(matrix.split(1, 1), of.split(1, -2), strict=True):
            to += column * one
    return out


def softmax_(logits: Tensor) -> Tensor:
    """Over the classes of ``[G,S,C,P]``, in place."""
    powers = logits.sub_(logits.amax(-2, keepdim=True)).exp_()
    return powers.div_(powers.sum(-2, keepdim=True))


def log_softmax_(logits: Tensor) -> Tensor:
    """Over the classes of ``[G,S,C,P]``, in place."""
    lowered = logits.sub_(logits.amax(-2, keepdim=True))
    return lowered.sub_(lowered.exp().sum(-2, keepdim=True).log_())
