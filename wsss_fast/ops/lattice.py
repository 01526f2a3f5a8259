"""Gaussian filtering in feature spaces of up to 16 dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import on_cuda
from wsss_fast._values import check_capacity, check_features, check_filter_values, checking

MAX_DIMS = 16

# The lattice of features [B,d,P] as one tensor, and how many vertices each of the B has: a tensor too, int32
# [B], so that tracing meets no number that depends on the data but the lattice's size. B is 1 on the CPU.
torch.library.define(
    "wsss_fast::lattice_build",
    "(Tensor features, int? capacity) -> (Tensor lattice, Tensor vertices)",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.dynamic_output_shape),
)
# The lattices of values [N,C,P], in order.
torch.library.define(
    "wsss_fast::lattice_filter",
    "(Tensor[] lattices, Tensor values, int dims, bool transposed, bool check) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


@torch.library.impl("wsss_fast::lattice_build", ("CPU", "CUDA"))
def _build(features: Tensor, capacity: int | None) -> tuple[Tensor, Tensor]:
    looking = checking(features)
    if looking:
        check_features("features", features)
    (lattice,), vertices = _launch.lattice_build(features, capacity)
    if looking and capacity is not None:
        check_capacity(capacity, vertices)
    return lattice, vertices


@torch.library.register_fake("wsss_fast::lattice_build")
def _build_fake(features: Tensor, capacity: int | None) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    vertices = features.new_empty(features.shape[0], dtype=torch.int32)
    return features.new_empty(size, dtype=torch.int64), vertices


@torch.library.impl("wsss_fast::lattice_filter", ("CPU", "CUDA"))
def _filter(lattices: list[Tensor], values: Tensor, dims: int, transposed: bool, check: bool) -> Tensor:
    if check and checking(values):
        check_filter_values(values, dims)
    return _launch.lattice_filter(lattices, values, dims, transposed, check)


@torch.library.register_fake("wsss_fast::lattice_filter")
def _filter_fake(lattices: list[Tensor], values: Tensor, dims: int, transposed: bool, check: bool) -> Tensor:
    return values.new_empty(values.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    lattices, _, ctx.dims, ctx.transposed, _ = inputs
    ctx.save_for_backward(*lattices)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    lattices = list(ctx.saved_tensors)
    # Gradients are not checked: loss scaling relies on infinities passing through.
    grad_values = torch.ops.wsss_fast.lattice_filter(lattices, grad, ctx.dims, not ctx.transposed, False)
    return [None] * len(lattices), grad_values, None, None, None


torch.library.register_autograd("wsss_fast::lattice_filter", _backward, setup_context=_setup_context)


def checked_capacity(name: str, value: Any) -> int:
    """An integer of at least 1, and what the ops can count of it: no lattice needs more."""
    return min(_checks.integer(name, value, 1), 2**63 - 1)


class PermutohedralLattice:
    """A Gaussian filter over points of a feature space, in time linear in the number of points.

    The result at a point is about the sum over all points of ``exp(-|f_i - f_j|^2 / 2) * value_j``, up to a
    constant factor and to the lattice's approximation (Adams, Baek and Davis, "Fast High-Dimensional
    Filtering Using the Permutohedral Lattice", Eurographics 2010). Divide by the filter of ones for a mean.

    Args:
        features: where the points lie, in units of the standard deviation; float32 or float64, finite.
            ``[d,P]`` for P points, ``[d,H,W]`` for an image, ``[N,d,H,W]`` for a batch of images,
            ``[N,d,D,H,W]`` for a batch of volumes; d = 1..16.
        capacity: for CUDA, the most vertices that one item of the batch may have. Without it the lattice is
            as large as its vertices need, for which building waits once for the device; with it nothing
            waits, so that a CUDA graph can be captured. An item with more vertices filters everything to NaN
            (:func:`wsss_fast.check_values` makes that an error). P (d+1) is always enough. The CPU needs
            none.

    Raises:
        ValueError: wrong shape, d, or device; NaN or infinite features; features thousands of standard
            deviations away from the origin, where the dtype can no longer place them; features that
            require a gradient while gradients are recorded (the filter is differentiable in the values
            only: detach them).
        TypeError: wrong type or dtype.

    The lattice is built here, once. On the CPU it takes about ``P (d+1) 8`` bytes and 4 more for each vertex
    and axis, and building and filtering give the same bits at any thread count. On CUDA it takes twice as
    much (and about ``60 P (d+1)`` bytes while it is built), an item gives the same bits in any batch and
    run, and one with NaN, infinite or unreachable features filters everything to NaN, as values are not
    looked at. Both may stand inside ``torch.compile(fullgraph=True)``; for building in it, torch before 2.10
    needs ``torch._dynamo.config.capture_dynamic_output_shape_ops = True``.

    >>> import torch, wsss_fast
    >>> y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    >>> lattice = wsss_fast.PermutohedralLattice(torch.stack([x, y]) / 3)  # a blur of 3 pixels
    >>> lattice.dims, lattice.vertices[0] < 24 * 32
    (2, True)
    >>> lattice.filter(torch.ones(1, 24, 32)).shape
    torch.Size([1, 24, 32])
    """

    def __init__(self, features: Tensor, capacity: int | None = None) -> None:
        shape = "[N,d,D,H,W], [N,d,H,W], [d,H,W] or [d,P]"
        features = _checks.autocast(features)
        _checks.tensor("features", features, shape, (2, 3, 4, 5))
        if capacity is not None:
            capacity = checked_capacity("capacity", capacity)
        only = "the filter is differentiable in the values only"
        _checks.needs_no_gradient("features", features, only)
        self._single = features.dim() <= 3
        batch = features.unsqueeze(0) if self._single else features
        self._count, self._dims = batch.shape[:2]
        if not 1 <= self._dims <= MAX_DIMS:
            raise ValueError(_checks.wrong("features", f"{shape} with d in [1, {MAX_DIMS}]", features))
        self._space = tuple(batch.shape[2:])
        self._dtype = features.dtype
        self._lattices: list[Tensor] = []
        self._vertices: list[Tensor] = []
        # One lattice for the whole batch on CUDA, one for each item on the CPU.
        points = batch.flatten(2).contiguous()  # at once: items of a batch that is not would each be copied
        parts = [points] if on_cuda(points) else [points[n : n + 1] for n in range(self._count)]
        for part in parts:
            lattice, vertices = torch.ops.wsss_fast.lattice_build(part, capacity)
            self._lattices.append(lattice)
            self._vertices.append(vertices)

    @property
    def dims(self) -> int:
        """d"""
        return self._dims

    @property
    def vertices(self) -> list[int]:
        """How many vertices each item of the batch has (a list of one for a single item)."""
        return [count for vertices in self._vertices for count in vertices.tolist()]

    def filter(self, values: Tensor) -> Tensor:
        """The values, filtered.

        Args:
            values: any number of channels at the points, of the dtype of the features: ``[N,C,...]`` for
                features ``[N,d,...]`` and ``[C,...]`` for features without N. Finite, and at most the
                largest number of the dtype by ``2^(d+1)`` times the number of points, so that no sum
                overflows (for the pixels of a photograph and d = 5 that is 1e31 in float32).

        Returns:
            The same shape, contiguous.

        Raises:
            ValueError: a shape that does not fit the features, a wrong device, NaN, infinities or larger
                values.
            TypeError: wrong type or dtype.

        Differentiable in the values, any number of times (the gradient is the transposed filter). Cost:
            about ``2 (d+1)`` multiply-adds a point and channel, and ``d+1`` passes over the vertices.

        >>> import torch, wsss_fast
        >>> lattice = wsss_fast.PermutohedralLattice(torch.linspace(0, 9, 10).reshape(1, 10))
        >>> values = torch.rand(3, 10, requires_grad=True)
        >>> lattice.filter(values).sum().backward()
        >>> values.grad.shape
        torch.Size([3, 10])
        """
        values = _checks.autocast(values)
        lead = "C" if self._single else f"{self._count},C"
        shape = f"[{','.join([lead, *(f'{n}' for n in self._space)])}]"
        rank = len(self._space) + (1 if self._single else 2)
        _checks.tensor("values", values, shape, (rank,), (self._dtype,))
        if self._lattices:
            _checks.same_device("values", values, "features", self._lattices[0])
        batch = values.unsqueeze(0) if self._single else values
        if batch.shape[0] != self._count or tuple(batch.shape[2:]) != self._space:
            raise ValueError(_checks.wrong("values", f"{shape} (the shape of features)", values))
        out = torch.ops.wsss_fast.lattice_filter(self._lattices, batch.flatten(2), self._dims, False, True)
        return out.reshape(values.shape)
