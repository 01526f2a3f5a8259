"""What a test of bad input is made of: entries that describe a function's arguments, and cases from them.

An :class:`Entry` says of a function how it is called rightly and of what kind each argument is. A kind (see
``bad_tensors``, ``bad_arrays`` and below) derives from a good value all the odd ones: each with what has to
become of it, an error that names the argument or a right result. Nothing is left open: a case that ends in
another way fails.
"""

from __future__ import annotations

import contextlib
import decimal
import fractions
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Raises:
    """An error of one of these types whose message has the argument's name as a word."""

    error: type[Exception] | tuple[type[Exception], ...]
    name: str | None = None  # another name than the argument's


@dataclass(frozen=True)
class Gives:
    """A right result.

    ``"same"``: the bits of the good call; ``"near"``: that but for rounding; ``"rough"``: but for that of
    half precision; ``"truth"``: what the reference makes of the same arguments; ``"finite"``: one with
    nothing in it that is not finite; ``"shape"``: a finite one of the shapes of the good call's.
    """

    what: str = "same"


Outcome = Raises | Gives


@dataclass(frozen=True)
class Odd:
    """An odd value of an argument."""

    what: str
    value: Any
    outcome: Outcome
    around: Callable[[], Any] = contextlib.nullcontext  # the call runs in this context


class Kind(Protocol):
    """Of an argument."""

    def odd(self, name: str, good: Any) -> Iterator[Odd]: ...


@dataclass(frozen=True)
class Entry:
    """How a public function is called, and of what kind its arguments are."""

    name: str  # as in "wsss_fast.crf"
    call: Callable[..., Any]  # with all of `good`, by name
    good: Callable[[], dict[str, Any]]
    kinds: dict[str, Kind]
    truth: Callable[..., Any] | None = None
    more: Callable[[], Sequence[tuple[str, Odd]]] = field(default=lambda: ())  # (argument, odd value)
    near: float = 1e-4  # relative and absolute, of results that differ by rounding

    def odds(self, argument: str) -> Iterator[Odd]:
        yield from self.kinds[argument].odd(argument, self.good().get(argument))
        for name, odd in self.more():
            if name == argument:
                yield odd


# --- trying a case ---------------------------------------------------------------------------------------


def failure(entry: Entry, argument: str, odd: Odd) -> str | None:
    """What went wrong with a case, None if nothing did."""
    arguments = {**entry.good(), argument: odd.value}
    try:
        with odd.around():
            result = entry.call(**arguments)
    except Exception as error:
        return _wrong_error(argument, odd.outcome, error)
    if isinstance(odd.outcome, Raises):
        return f"expected {odd.outcome.error}, got the result {_short(result)}"
    return _wrong_result(entry, arguments, odd.outcome.what, result)


def _wrong_error(argument: str, outcome: Outcome, error: Exception) -> str | None:
    got = f"{type(error).__name__}: {_short(str(error))}"
    if isinstance(outcome, Gives):
        return f"expected a right result, got {got}"
    allowed = outcome.error if isinstance(outcome.error, tuple) else (outcome.error,)
    if type(error) not in allowed:
        return f"expected {outcome.error}, got {got}"
    name = outcome.name or argument
    if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(error)):
        return f"expected an error that names {name!r}, got {got}"
    return None


def _wrong_result(entry: Entry, arguments: dict[str, Any], what: str, result: Any) -> str | None:
    got = numbers_in(result)
    if what == "finite":
        good = all(bool(torch.isfinite(value).all()) for value in got)
        return None if good else f"expected finite numbers, got {_short(result)}"
    if what == "truth":
        assert entry.truth is not None, entry.name
        expected = numbers_in(entry.truth(**arguments))
    else:
        expected = numbers_in(entry.call(**entry.good()))
    if [value.shape for value in got] != [value.shape for value in expected]:
        return f"expected the shapes {[v.shape for v in expected]}, got {[v.shape for v in got]}"
    if what == "shape":
        good = all(bool(torch.isfinite(value).all()) for value in got)
        return None if good else f"expected finite numbers, got {_short(result)}"
    if what == "same":
        same = all(
            a.dtype == b.dtype and torch.equal(_bits(a), _bits(b)) for a, b in zip(got, expected, strict=True)
        )
        return None if same else f"expected the same bits as from {_short(expected)}, got {_short(got)}"
    near = 2e-2 if what == "rough" else entry.near
    close = all(
        torch.allclose(a.double(), b.double(), rtol=near, atol=near)
        for a, b in zip(got, expected, strict=True)
    )
    return None if close else f"expected about {_short(expected)}, got {_short(got)}"


def numbers_in(result: Any) -> list[Tensor]:
    """The tensors in a result, of lists, tuples, dicts, arrays and modules too."""
    if result is None or isinstance(result, (str, bool)):
        return []
    if isinstance(result, Tensor):
        return [result.detach()]
    if isinstance(result, np.ndarray):
        return [torch.from_numpy(np.ascontiguousarray(result))]
    if isinstance(result, (int, float, np.number)):
        return [torch.tensor(float(result), dtype=torch.float64)]
    if isinstance(result, torch.nn.Module):
        return [value for tensor in result.state_dict().values() for value in numbers_in(tensor)]
    if isinstance(result, dict):
        return [value for item in result.values() for value in numbers_in(item)]
    return [value for item in result for value in numbers_in(item)]


def _bits(value: Tensor) -> Tensor:
    value = value.contiguous()
    return value.view(torch.uint8) if value.dim() > 0 else value.reshape(1).view(torch.uint8)


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:300]


# --- kinds of plain values -------------------------------------------------------------------------------


class _Index:
    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


def no_numbers() -> Iterator[tuple[str, Any]]:
    """Values that nothing of ours takes for a number."""
    yield from {
        "None": None,
        "a str": "3",
        "bytes": b"3",
        "True": True,
        "False": False,
        "complex": 3 + 0j,
        "a list": [3],
        "an empty list": [],
        "a tuple": (3, 3, 3, 3),
        "a dict": {3: 3},
        "an array": np.array([3.0, 3.0, 3.0, 3.0]),
        "a tensor [4]": torch.full((4,), 3.0),
        "an object": object(),
        "a type": int,
        "numpy's bool": np.True_,
        "numpy's complex": np.complex64(3),
        "numpy's str": np.str_("3"),
        "Decimal": decimal.Decimal(3),
        "Fraction": fractions.Fraction(3),
    }.items()


@dataclass(frozen=True)
class Int:
    """An integer in [low, high]."""

    low: int
    high: int | None = None
    optional: bool = False  # None is another right value
    runs_high: bool = False  # the highest is a value to be called with, and in no time

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for what, value in no_numbers():
            if not (value is None and self.optional):
                yield Odd(what, value, Raises(TypeError))
        for what, value in {
            "a float": float(good if good is not None else self.low),
            "NaN": math.nan,
            "inf": math.inf,
            "numpy's float64": np.float64(self.low),
            "a float tensor": torch.tensor(float(self.low)),
            "a bool tensor": torch.tensor(True),
            "a tensor of two": torch.tensor([3, 3]),
        }.items():
            yield Odd(what, value, Raises(TypeError))
        for value in (self.low - 1, -1, -(2**31), -(2**63), -(2**64), -(10**400)):
            if value < self.low:
                yield Odd(f"{value:.3g}" if abs(value) < 2**70 else "-1e400", value, Raises(ValueError))
        if self.high is not None:
            for value in (self.high + 1, 2**32, 2**63, 2**64 + 1, 10**12, 10**400):
                if value > self.high:
                    yield Odd(f"{value:.3g}" if value < 2**70 else "1e400", value, Raises(ValueError))
            if self.runs_high:
                yield Odd("the highest", self.high, Gives("finite"))
        if good is not None:
            for what, value in {
                "numpy's int64": np.int64(good),
                "numpy's uint8": np.uint8(good) if 0 <= good < 256 else np.int32(good),
                "an array of one": np.array(good),
                "an int tensor": torch.tensor(good),
                "an object with __index__": _Index(good),
            }.items():
                yield Odd(what, value, Gives("same"))


@dataclass(frozen=True)
class Number:
    """A finite number at least ``low`` (or above it), less than ``below`` or at most ``most``."""

    low: float
    exclusive: bool = False
    below: float = math.inf
    most: float = math.inf
    optional: bool = False
    numpy_too: bool = False  # any number of numpy's is taken

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for what, value in no_numbers():
            if not (value is None and self.optional):
                yield Odd(what, value, Raises(TypeError))
        yield Odd("a tensor", torch.tensor(float(good)), Raises(TypeError))
        for what, value in {"numpy's float32": np.float32(good), "numpy's float16": np.float16(good)}.items():
            near = Gives("rough") if self.numpy_too else Raises(TypeError)
            yield Odd(what, value, near)
        yield Odd("numpy's float64", np.float64(good), Gives("same"))
        if float(good).is_integer():
            yield Odd("an int", int(good), Gives("same"))
        bad = {math.nan, math.inf, -math.inf, self.low - 1e-3, -1e300, -(10**400), 10**400}
        if self.exclusive:
            bad |= {self.low, -0.0}
        if math.isfinite(self.below):
            bad |= {self.below, self.below + 1e-3, 1e300}
        if math.isfinite(self.most):
            bad |= {self.most + 1e-3, 1e300}
        for value in bad:
            yield Odd(
                f"{value:g}" if abs(value) <= 1e300 or value != value else "huge", value, Raises(ValueError)
            )


@dataclass(frozen=True)
class Choice:
    """One of a few names."""

    names: tuple[str, ...]
    listed: bool = False  # a list of names is taken, too

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for value in (None, 3, 1.5, True, b"none", object(), np.array(["none"]), torch.tensor(1), {"none"}):
            yield Odd(f"a {type(value).__name__}", value, Raises(TypeError))
        if not self.listed:
            yield Odd("a list", [good], Raises(TypeError))
        for value in ("", "nothing", good.upper(), f" {good}", f"{good}\0", good * 10_000, "\ud800"):
            yield Odd(repr(value)[:20], value, Raises(ValueError))
        yield Odd("numpy's str", np.str_(good), Gives("same"))
        for value in self.names:
            yield Odd(value, value, Gives("same" if value == good else "finite"))


class Bool:
    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for value in (None, 0, 1, 0.0, "True", "", [], [True], np.True_, torch.tensor(True), object()):
            yield Odd(f"{type(value).__name__} {value}"[:30], value, Raises(TypeError))
        for value in (True, False):
            yield Odd(repr(value), value, Gives("same" if value is good else "finite"))


@dataclass(frozen=True)
class Pair:
    """Height and width."""

    optional: bool = False
    listed: bool = False  # a list of pairs is taken, too: each wrong one is then tried inside a list

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        height, width = good if good is not None else (3, 4)
        for value in (3, 3.5, "34", b"34", True, np.array([3, 4]), torch.tensor([3, 4]), {3, 4}, object()):
            yield Odd(f"a {type(value).__name__}", value, Raises(TypeError))
        if not self.optional:
            yield Odd("None", None, Raises(TypeError))
        for value in ((), (3,), (3, 4, 5)):
            yield Odd(f"{len(value)} numbers", value, Raises(ValueError))
        items: list[tuple[Any, type[Exception]]] = [
            *((n, ValueError) for n in (0, -1, 2**31, 2**32, 2**63, -(2**63), 10**400)),
            *((n, TypeError) for n in (1.5, math.nan, math.inf, None, True, "3", [3], 3j, np.float64(3))),
        ]
        for item, error in items:
            text = repr(item)[:12]
            yield Odd(f"({text}, 4)", (item, 4), Raises(error))
            yield Odd(f"(3, {text})", (3, item), Raises(error))
        if good is not None:
            yield Odd("a list of two", [height, width], Gives())
            yield Odd("torch.Size", torch.Size((height, width)), Gives())
            yield Odd("numpy's integers", (np.int64(height), np.uint16(width)), Gives())
            yield Odd("integer tensors", (torch.tensor(height), torch.tensor(width)), Gives())


@dataclass(frozen=True)
class Flags:
    """A list of as many booleans as ``good`` has."""

    optional: bool = False

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for value in (
            True,
            1,
            "TF",
            {True},
            np.array([True, False]),
            torch.tensor([True, False]),
            iter([True]),
        ):
            yield Odd(f"a {type(value).__name__}", value, Raises(TypeError))
        if not self.optional:
            yield Odd("None", None, Raises(TypeError))
        for value in ([], [True] * (len(good) - 1), [True] * (len(good) + 1), [False] * 100_000):
            yield Odd(f"{len(value)} of them", value, Raises(ValueError))
        for item in (0, 1, None, "True", np.True_, torch.tensor(True), 0.5, []):
            for at in range(len(good)):
                value = [*good[:at], item, *good[at + 1 :]]
                yield Odd(f"{type(item).__name__} {item} at {at}"[:30], value, Raises(TypeError))
        yield Odd("a tuple", tuple(good), Gives())


@dataclass(frozen=True)
class Values:
    """Named one by one: (what, value, outcome)."""

    listed: tuple[tuple[str, Any, Outcome], ...]

    def odd(self, name: str, good: Any) -> Iterator[Odd]:
        for what, value, outcome in self.listed:
            yield Odd(what, value, outcome)


def wrong_types(*besides: Any) -> Iterator[tuple[str, Any]]:
    """Values that are no object of ours."""
    for value in (3, 2.5, "x", b"x", True, object(), [3], {}, np.zeros(3), torch.zeros(3), *besides):
        yield (f"a {type(value).__name__}", value)
