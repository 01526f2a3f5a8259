"""The kinds of arguments that are numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hard_use.bad_input import Gives, Odd, Outcome, Raises

# Of numbers that something may be looked for in, and of what are none.
NUMBERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "g", ">f4", ">f8", ">i4", ">u2")
OTHERS = ("?", "F", "D", "S4", "U4", "O", "M8[s]", "m8[s]")


@dataclass(frozen=True)
class Array:
    """An array; the fields are those of :class:`bad_tensors.Of`, with numpy's names of dtypes."""

    axes: str
    tied: str = ""
    least: dict[str, int] = field(default_factory=dict)
    right: dict[str, Outcome] = field(default_factory=dict)  # what becomes of these dtypes; others are errors
    ranks: tuple[int, ...] = ()
    bad: dict[str, float] = field(default_factory=dict)
    fine: dict[str, float] = field(default_factory=dict)
    lists: bool = True  # whether what numpy makes an array of is as good as one
    write: bool = False  # whether the array is written to
    sizes: bool = True  # whether sizes are tried at all
    tied_names: dict[str, str] = field(default_factory=dict)  # what is named in place of the argument then
    optional: bool = False

    def odd(self, name: str, good: np.ndarray) -> Iterator[Odd]:
        for value in (None, "x", b"x", object(), {1: 2}, {1}, [[1.0], [1.0, 2.0]], ["a"], [None], int, 3j):
            if not (value is None and self.optional):
                yield Odd(f"a {type(value).__name__} {value}"[:30], value, Raises(TypeError))
        for value in (True, [True, False], iter([1.0])):
            yield Odd(f"a {type(value).__name__}", value, Raises(TypeError))
        yield Odd("a tensor that needs a gradient", _tensor(good, True), Raises(TypeError))
        yield Odd("a tensor on meta", torch.empty(good.shape, device="meta"), Raises(TypeError))
        yield from self._dtypes(good)
        yield from self._shapes(good)
        for places in ("the first", "the last", "all"):
            for what, number in self.bad.items():
                yield Odd(f"{what} in {places}", _with(good, number, places), Raises(ValueError))
            for what, number in self.fine.items():
                yield Odd(f"{what} in {places}", _with(good, number, places), Gives("finite"))
        yield from self._layouts(good)

    def _dtypes(self, good: np.ndarray) -> Iterator[Odd]:
        for dtype in (*NUMBERS, *OTHERS):
            if np.dtype(dtype) == good.dtype:
                continue
            with np.errstate(all="ignore"):
                source = np.trunc(good) if dtype in ("M8[s]", "m8[s]") else good
                value = source.astype("i8").astype(dtype) if source is not good else good.astype(dtype)
            yield Odd(f"dtype {dtype}", value, self.right.get(dtype, Raises(TypeError)))
        record = np.zeros(good.shape, dtype=[("a", "f4"), ("b", "f4")])
        yield Odd("of records", record, Raises(TypeError))

    def _shapes(self, good: np.ndarray) -> Iterator[Odd]:
        if not self.sizes:
            return
        for rank in range(6):
            if rank == good.ndim or rank in self.ranks:
                continue
            value = good
            while value.ndim > rank:
                value = value[0]
            while np.ndim(value) < rank:
                value = value[np.newaxis]
            yield Odd(f"rank {rank}", np.array(value), Raises(ValueError))
        for at, axis in enumerate(self.axes):
            length = good.shape[at]
            for other in {0, 1, length - 1, length + 1, 2 * length} - {length, -1}:
                value = np.take(good, np.arange(other) % max(length, 1), axis=at)
                wrong = axis in self.tied or other < self.least.get(axis, 0)
                outcome = (
                    Raises(ValueError, self.tied_names.get(axis) if other else None)
                    if wrong
                    else Gives("finite")
                )
                yield Odd(f"{axis} = {other}", value, outcome)

    def _layouts(self, good: np.ndarray) -> Iterator[Odd]:
        same = Gives("same")
        yield Odd("in Fortran order", np.array(good, order="F"), same)
        yield Odd("with negative strides", _flipped(good), same)
        wide = np.full((*good.shape[:-1], 2 * good.shape[-1]), 99, dtype=good.dtype)
        wide[..., ::2] = good
        yield Odd("every second of a row", wide[..., ::2], same)
        shifted = np.frombuffer(b"\0" + good.tobytes(), dtype="u1")[1:].view(good.dtype).reshape(good.shape)
        if not self.write:
            yield Odd("not aligned", shifted, same)
        read_only = good.copy()
        read_only.flags.writeable = False
        yield Odd("read-only", read_only, Raises(ValueError) if self.write else same)
        yield Odd("a subclass", good.copy().view(_Subclass), same)
        yield Odd("a masked array", np.ma.masked_array(good.copy()), same)
        if self.lists:
            yield Odd("a tensor", _tensor(good, False), same)
            yield Odd("memory", memoryview(good), same)
        else:
            yield Odd("a tensor", _tensor(good, False), Raises(TypeError))
            yield Odd("memory", memoryview(good), Raises(TypeError))


class _Subclass(np.ndarray):
    pass


def _flipped(good: np.ndarray) -> np.ndarray:
    every = (slice(None, None, -1),) * good.ndim
    flipped: np.ndarray = np.ascontiguousarray(good[every])[every]
    return flipped


def _tensor(good: np.ndarray, grad: bool) -> torch.Tensor:
    value = torch.from_numpy(good.copy())
    return value.float().requires_grad_() if grad else value


def _with(good: np.ndarray, number: float, places: str) -> np.ndarray:
    value = good.copy()
    if places == "all":
        value[...] = number
    else:
        value.flat[0 if places == "the first" else -1] = number
    return value


def numbers_that_are_none() -> dict[str, float]:
    return {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf}


def any_of(*dtypes: str, what: str = "same") -> dict[str, Any]:
    return {dtype: Gives(what) for dtype in dtypes}
