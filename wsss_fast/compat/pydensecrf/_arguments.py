"""Checks of numpy arguments, in the wording of :mod:`wsss_fast._checks`."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from wsss_fast import _checks

Member = TypeVar("Member", bound=IntEnum)


def array(name: str, value: Any, expected: str) -> np.ndarray:
    """``value`` as an array of numbers, not copied where it is one."""
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(_checks.wrong(name, expected, value if value is None else repr(value)))
    try:
        result = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors on a GPU or with a gradient
        raise TypeError(_checks.wrong(name, expected, f"a {type(value).__name__}")) from None
    if result.dtype.kind not in "iuf":  # spans of time are integers to numpy's issubdtype
        raise TypeError(_checks.wrong(name, expected, value))
    return result


def floats(name: str, value: Any, size: tuple[int | str, ...], why: str) -> np.ndarray:
    """A contiguous float32 copy of an array of the given size, in which letters stand for any number >= 1."""
    expected = f"[{','.join(str(n) for n in size)}] float32 ({why})"
    result = array(name, value, expected)
    if not np.issubdtype(result.dtype, np.floating):
        raise TypeError(_checks.wrong(name, expected, result))
    fits = result.ndim == len(size) and all(
        have >= 1 if isinstance(want, str) else have == want
        for have, want in zip(result.shape, size, strict=True)
    )
    if not fits:
        raise ValueError(_checks.wrong(name, expected, result))
    return np.array(result, dtype=np.float32, order="C")


def finite(name: str, values: np.ndarray, *, or_inf: bool = False) -> np.ndarray:
    """``values`` if none of them is NaN or -inf, nor +inf unless ``or_inf``."""
    low, high = float(values.min()), float(values.max())  # both hand NaN on
    if not low > -math.inf or (high == math.inf and not or_inf):
        bad = low if not low > -math.inf else high
        raise ValueError(_checks.wrong(name, "finite values or +inf" if or_inf else "finite values", bad))
    return values


def scales(name: str, value: Any, count: int) -> np.ndarray:
    """``count`` standard deviations as float32; one number stands for all of them."""
    expected = f"a number > 0 or {count} of them"
    result = array(name, value, expected)
    if result.shape not in ((), (count,)):
        raise ValueError(_checks.wrong(name, expected, result))
    result = np.broadcast_to(result.astype(np.float32), (count,))
    if not ((result > 0) & (result < np.inf)).all():
        raise ValueError(_checks.wrong(name, expected, repr(value)))
    return result


def compatibility(value: Any, labels: int) -> Tensor:
    """A Potts weight [], a diagonal [C] or the symmetric part of a matrix [C,C]."""
    expected = f"a number, [{labels}] or [{labels},{labels}]"
    result = array("compat", value, expected)
    if result.shape not in ((), (labels,), (labels, labels)):
        raise ValueError(_checks.wrong("compat", expected, result))
    result = finite("compat", result.astype(np.float32))
    return torch.from_numpy((result + result.T) / 2 if result.ndim == 2 else result)


def number(
    name: str, value: Any, low: float, *, exclusive: bool = False, below: float | None = None
) -> float:
    """:func:`wsss_fast._checks.number`, for numbers of numpy too."""
    value = value.item() if isinstance(value, np.number) else value
    return _checks.number(name, value, low, exclusive=exclusive, below=below)


def truth(name: str, value: Any) -> bool:
    """What Python takes ``value`` for in an ``if``."""
    try:
        return bool(value)
    except (TypeError, ValueError, RuntimeError):  # arrays of several values
        raise TypeError(_checks.wrong(name, "a bool", value)) from None


def member(name: str, value: Any, kind: type[Member]) -> Member:
    try:
        return kind(value)
    except ValueError:
        expected = f"one of {', '.join(kind.__members__)}"
        raise ValueError(_checks.wrong(name, expected, repr(value))) from None
