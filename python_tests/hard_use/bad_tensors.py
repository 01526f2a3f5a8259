"""The kinds of arguments that are tensors: everything odd that a tensor can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from hard_use.bad_input import Gives, Odd, Outcome, Raises
from torch import Tensor

# All that this torch has and that a tensor can be converted to.
DTYPES = sorted(
    {
        value
        for value in vars(torch).values()
        if isinstance(value, torch.dtype) and not str(value).startswith(("torch.q", "torch.bits"))
    },
    key=str,
)


class Subclass(Tensor):
    """A tensor that is nothing but a subclass."""


@dataclass(frozen=True)
class Of:
    """A tensor.

    ``axes``: a letter for each axis of the good value. ``tied``: those whose size is that of another
    argument, so that a different one is an error; of the others any size from ``least`` on is right (0 if
    not said).
    """

    axes: str
    tied: str = ""
    least: dict[str, int] = field(default_factory=dict)
    ranks: tuple[int, ...] = ()  # others are errors; the good value's is none
    same: tuple[torch.dtype, ...] = ()  # dtypes beside the good one that give the same bits
    near: tuple[torch.dtype, ...] = ()  # that give a result of more or less digits
    finite: tuple[torch.dtype, ...] = ()  # that give another result, which is finite
    bad: dict[str, float] = field(default_factory=dict)  # numbers that are errors anywhere
    fine: dict[str, float] = field(default_factory=dict)  # odd numbers for which the truth comes out
    extreme: dict[str, tuple[float, Outcome]] = field(default_factory=dict)  # what becomes of others
    grad: str = "taken"  # or "refused", or "none" for dtypes that have no gradient
    halves: bool = True  # under autocast half precision is taken as float32
    optional: bool = False

    def odd(self, name: str, good: Tensor) -> Iterator[Odd]:
        yield from self._types(good)
        yield from self._dtypes(good)
        yield from self._kinds_of_tensors(good)
        yield from self._shapes(good)
        yield from self._numbers(good)
        yield from self._layouts(good)
        yield from self._modes(good)

    def _types(self, good: Tensor) -> Iterator[Odd]:
        values: dict[str, Any] = {
            "a number": 3.5,
            "a str": "image",
            "an array": good.numpy(),
            "a dict": {},
            "a set of tensors": {good},
            "an object": object(),
            "the type": Tensor,
            "a size": good.shape if len(good.shape) == 0 else None,
            "a storage": good.untyped_storage(),
            "a generator": (t for t in [good]),
        }
        for what, value in values.items():
            if value is not None:
                yield Odd(what, value, Raises(TypeError))
        if not self.optional:
            yield Odd("None", None, Raises(TypeError))

    def _dtypes(self, good: Tensor) -> Iterator[Odd]:
        for dtype in DTYPES:
            if dtype == good.dtype:
                continue
            try:
                value = good.to(dtype)
            except (RuntimeError, NotImplementedError, TypeError):  # nothing can be converted to it
                continue
            if dtype in self.same:
                outcome: Outcome = Gives("same")
            elif dtype in self.near:
                outcome = Gives("near")
            elif dtype in self.finite:
                outcome = Gives("finite")
            else:
                outcome = Raises(TypeError)
            yield Odd(f"dtype {dtype}", value, outcome)

    def _kinds_of_tensors(self, good: Tensor) -> Iterator[Odd]:
        yield Odd("on meta", good.to("meta"), Raises(ValueError))
        yield Odd("sparse COO", good.to_sparse(), Raises(TypeError))
        if good.dim() >= 2 and good.dtype.is_floating_point:
            yield Odd("sparse CSR", good.flatten(0, -2).to_sparse_csr(), Raises((TypeError, ValueError)))
            yield Odd("sparse CSC", good.flatten(0, -2).to_sparse_csc(), Raises((TypeError, ValueError)))
        if good.dtype == torch.float32:
            yield Odd("in the layout of MKL-DNN", good.to_mkldnn(), Raises(TypeError))
            quantized = torch.quantize_per_tensor(good, 0.5, 0, torch.quint8)
            yield Odd("quantized", quantized, Raises(TypeError))
        if good.dim() >= 2:
            nested = torch.nested.nested_tensor(list(good))
            yield Odd("nested", nested, Raises(TypeError))
            jagged = torch.nested.nested_tensor(list(good), layout=torch.jagged)
            yield Odd("nested, jagged", jagged, Raises(TypeError))

    def _shapes(self, good: Tensor) -> Iterator[Odd]:
        for rank in range(8):
            if rank == good.dim() or rank in self.ranks:
                continue
            value = good
            while value.dim() > rank:
                value = value[0]
            while value.dim() < rank:
                value = value.unsqueeze(0)
            yield Odd(f"rank {rank}", value.clone(), Raises(ValueError))
        for at, axis in enumerate(self.axes):
            length = good.shape[at]
            for other in {0, 1, length - 1, length + 1, 2 * length} - {length, -1}:
                if axis in self.tied or other < self.least.get(axis, 0):
                    outcome: Outcome = Raises(ValueError)
                else:
                    outcome = Gives("truth")
                index = torch.arange(other) % max(length, 1)
                yield Odd(f"{axis} = {other}", good.index_select(at, index), outcome)
        if 0 in [self.least.get(a, 0) if a not in self.tied else 1 for a in self.axes]:
            return
        yield Odd("nothing at all", good.new_empty((0,) * good.dim()), Raises(ValueError))

    def _numbers(self, good: Tensor) -> Iterator[Odd]:
        if good.numel() == 0:
            return
        for places in ("the first", "the last", "all"):
            for what, number in self.bad.items():
                yield Odd(f"{what} in {places}", _with(good, number, places), Raises(ValueError))
            for what, number in self.fine.items():
                yield Odd(f"{what} in {places}", _with(good, number, places), Gives("truth"))
            for what, (number, outcome) in self.extreme.items():
                yield Odd(f"{what} in {places}", _with(good, number, places), outcome)

    def _layouts(self, good: Tensor) -> Iterator[Odd]:
        for what, value in layouts(good):
            yield Odd(what, value, Gives("same"))

    def _modes(self, good: Tensor) -> Iterator[Odd]:
        yield Odd("a subclass", good.as_subclass(Subclass), Gives("same"))
        yield Odd("a parameter", torch.nn.Parameter(good.clone(), requires_grad=False), Gives("same"))
        with torch.inference_mode():
            made = good.clone()
        yield Odd("made and used in inference mode", made, Gives("same"), torch.inference_mode)
        yield Odd("in shared memory", good.clone().share_memory_(), Gives("same"))
        if self.halves and good.dtype.is_floating_point:
            half, brain = good.half(), good.bfloat16()
            yield Odd("float16 under autocast", half, Gives("shape"), autocast)
            yield Odd("bfloat16 under autocast", brain, Gives("shape"), autocast)
            yield Odd("as it is under autocast", good, Gives("same"), autocast)
        if self.grad == "none" or not good.dtype.is_floating_point:
            return
        asking = good.clone().requires_grad_()
        yield Odd("needs a gradient", asking, Raises(ValueError) if self.grad == "refused" else Gives("same"))
        yield Odd("would need a gradient", asking, Gives("same"), torch.no_grad)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def layouts(good: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same numbers otherwise in memory."""
    if good.dim() >= 2:
        yield "transposed", good.transpose(-1, -2).contiguous().transpose(-1, -2)
        turned = tuple(reversed(range(good.dim())))
        yield "in Fortran order", good.permute(turned).contiguous().permute(turned)
    if good.dim() == 4:
        yield "channels last", good.contiguous(memory_format=torch.channels_last)
    if good.dim() >= 1 and good.numel() > 0:
        wide = torch.full((*good.shape[:-1], 2 * good.shape[-1]), 99, dtype=good.dtype)
        wide[..., ::2] = good
        yield "every second of a row", wide[..., ::2]
        padded = torch.full([n + 2 for n in good.shape], 99, dtype=good.dtype)
        inside = padded[tuple(slice(1, -1) for _ in good.shape)]
        inside.copy_(good)
        yield "inside a larger one", inside
        shifted = torch.empty(good.numel() + 1, dtype=good.dtype)[1:].view(good.shape)
        yield "shifted by an element", shifted.copy_(good)
    if good.dtype.is_floating_point:
        yield "of negated memory", torch._neg_view(-good)
        pairs = torch.complex(torch.zeros_like(good), -good)
        yield "imaginary part of a conjugate", pairs.conj().imag


def _with(good: Tensor, number: float, places: str) -> Tensor:
    value = good.clone()
    if places == "all":
        return value.fill_(number)
    value.view(-1)[0 if places == "the first" else -1] = number
    return value


@dataclass(frozen=True)
class ListOf:
    """A list of at least one tensor."""

    item: Of
    empty: Outcome = field(default_factory=lambda: Raises(ValueError))
    inside: Outcome = field(default_factory=lambda: Raises(TypeError))  # of a list in a list

    def odd(self, name: str, good: list[Tensor]) -> Iterator[Odd]:
        for value in (None, 3, "cams", {}, {0: good[0]}, good[0], torch.stack([good[0]]), good[0].numpy()):
            yield Odd(f"a {type(value).__name__}", value, Raises(TypeError))
        yield Odd("a generator", (t for t in good), Raises(TypeError))
        yield Odd("an empty list", [], self.empty)
        yield Odd("a tuple", tuple(good), Gives("same"))
        yield Odd("a list in a list", [good], self.inside)
        for at in range(len(good)):
            for odd in self.item.odd(f"{name}[{at}]", good[at]):
                value = [*good[:at], odd.value, *good[at + 1 :]]
                yield Odd(f"[{at}]: {odd.what}", value, odd.outcome, odd.around)


def not_finite() -> dict[str, float]:
    return {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf}
