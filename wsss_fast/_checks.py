"""Checks of arguments, with one wording: ``argument: expected ..., got ...``.

``ValueError`` for a wrong shape, size, range, value or device; ``TypeError`` for a wrong type or dtype.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_fast._info import cuda_kernels


def describe(value: Any) -> str:
    """A short account of a value for an error message: ``[3,375,500] float64`` for a tensor, ``an array
    [3,375,500] float64`` for one of NumPy's."""
    if isinstance(value, Tensor):
        if value.is_nested:  # it has no shape
            return f"a nested tensor {dtype_name(value.dtype)}"
        shape = ",".join(str(n) for n in value.shape)
        device = "" if value.device.type == "cpu" else f" on {value.device}"
        layout = "" if value.layout == torch.strided else f" {str(value.layout).removeprefix('torch.')}"
        return f"[{shape}] {dtype_name(value.dtype)}{layout}{device}"
    if isinstance(value, np.ndarray):
        return f"an array [{','.join(str(n) for n in value.shape)}] {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 128:  # Python refuses to write out the longest
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = repr(value)
        return text if len(text) <= 100 else f"{text[:100]}..."
    return f"a {type(value).__name__}"


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first one with NaN or infinities in it."""
    return next((n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()), None)


def wrong(name: str, expected: str, got: Any) -> str:
    return f"{name}: expected {expected}, got {got if isinstance(got, str) else describe(got)}"


def tensor(
    name: str,
    value: Any,
    shape: str,
    ranks: Collection[int],
    dtypes: Collection[torch.dtype] = (torch.float32, torch.float64),
) -> Tensor:
    """``value`` if it is a tensor of one of the ranks and dtypes on a device that the op runs on.

    ``shape`` is how the error writes the expected shape, such as ``"[N,C,H,W] or [C,H,W]"``.
    """
    if (
        isinstance(value, Tensor)
        and is_dense(value)
        and value.dtype in dtypes
        and value.dim() in ranks
        and _is_served(value)
    ):
        return value  # without wording an error that nobody reads: that takes longer than the check
    expected = f"{shape} {' or '.join(dtype_name(d) for d in dtypes)}"
    if not isinstance(value, Tensor):
        got = describe(value) if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise TypeError(wrong(name, f"a tensor {expected}", got))
    if value.dtype not in dtypes or not is_dense(value):
        raise TypeError(wrong(name, expected, value))
    if value.dim() not in ranks:
        raise ValueError(wrong(name, expected, value))
    device(name, value)
    return value


def is_dense(value: Tensor) -> bool:
    """Whether it is neither sparse, nor nested, nor in the layout of another library: a block of memory."""
    return value.layout == torch.strided and not value.is_nested


def device(name: str, value: Tensor) -> None:
    """Raise if the tensor lies where the ops cannot work."""
    if _is_served(value):
        return
    expected, advice = "a CPU tensor", ""
    if cuda_kernels() == "device":
        expected = "a CPU or CUDA tensor"
    elif value.is_cuda:
        expected += ": this build of wsss_fast has no CUDA kernels"
        advice = (
            "; build it where nvcc is installed (pip install . "
            "--config-settings=cmake.define.WSSS_FAST_CUDA=ON), or move the tensor with .cpu()"
        )
    raise ValueError(wrong(name, expected, value) + advice)


def _is_served(value: Tensor) -> bool:
    return value.device.type == "cpu" or (value.is_cuda and cuda_kernels() == "device")


def same_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if value.device != other.device:
        raise ValueError(wrong(name, f"device {other.device} (that of {other_name})", str(value.device)))


def same_dtype(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if value.dtype != other.dtype:
        raise TypeError(
            wrong(name, f"{dtype_name(other.dtype)} (that of {other_name})", dtype_name(value.dtype))
        )


def size(name: str, value: Tensor, expected: tuple[int, ...], why: str) -> None:
    """Raise if the shape is not the expected one; ``why`` says where that comes from."""
    if tuple(value.shape) != expected:
        shape = ",".join(str(n) for n in expected)
        raise ValueError(wrong(name, f"[{shape}] ({why})", value))


def autocast(value: Any) -> Any:
    """``value`` in float32 if it is a half-precision tensor and autocast is on for its device."""
    if (
        isinstance(value, Tensor)
        and value.dtype in (torch.float16, torch.bfloat16)
        and value.device.type in ("cpu", "cuda")
        and torch.is_autocast_enabled(value.device.type)
    ):
        return value.float()
    return value


def autocast_list(values: Any) -> Any:
    """:func:`autocast` for each item of a list or tuple; anything else as it is, for the checks."""
    return [autocast(value) for value in values] if isinstance(values, (list, tuple)) else values


def choice(name: str, value: Any, allowed: Collection[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(wrong(name, f"one of {sorted(allowed)}", describe(value)))
    if value not in allowed:
        raise ValueError(wrong(name, f"one of {sorted(allowed)}", describe(value)))
    return value


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """``value`` as an int in [low, high]; booleans and floats are refused."""
    bounds = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool):
        raise TypeError(wrong(name, bounds, value))
    if isinstance(value, np.bool_):  # before NumPy 2.3 it has an __index__
        raise TypeError(wrong(name, bounds, value))
    try:
        # What torch.compile has in place of an int is one too, and has no __index__.
        number: int = value if isinstance(value, int) else operator.index(value)
    except TypeError:  # some have an __index__ that raises this
        raise TypeError(wrong(name, bounds, describe(value))) from None
    if number < low or (high is not None and number > high):
        raise ValueError(wrong(name, bounds, number))
    return number


def number(
    name: str, value: Any, low: float, *, exclusive: bool = False, below: float | None = None
) -> float:
    """``value`` as a finite float, at least ``low`` (or above it) and less than ``below``."""
    bounds = f"a finite number {'>' if exclusive else '>='} {low:g}"
    if below is not None:
        bounds += f" and < {below:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(wrong(name, bounds, describe(value)))
    result = as_float(value)
    good = result > low if exclusive else result >= low
    if not (good and result < (float("inf") if below is None else below)):
        raise ValueError(wrong(name, bounds, value))
    return result


def as_float(value: float) -> float:
    """``value`` as a float: an infinity where it is an integer beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def storable(name: str, shape: Sequence[int], dtype: torch.dtype) -> None:
    """Raise if the argument asks for a tensor whose bytes an int64 cannot count, which torch takes no notice
    of in words for users. What there is only not enough memory for is an error of torch's allocator."""
    count = dtype.itemsize
    for length in shape:
        count *= max(length, 1)
    if count >= 2**63:
        text = ",".join(str(length) for length in shape)
        raise ValueError(wrong(name, "a result of less than 2^63 bytes", f"[{text}] {dtype_name(dtype)}"))


def pair(name: str, value: Any, expected: str = "(H, W), two integers >= 1") -> tuple[int, int]:
    """``value`` as two integers from 1 to 2^31 - 1, the longest axis that the core takes."""
    if not isinstance(value, (tuple, list, torch.Size)):
        raise TypeError(wrong(name, expected, describe(value)))
    if len(value) != 2:
        raise ValueError(wrong(name, expected, f"{len(value)} values"))
    first, second = (integer(f"{name}[{i}]", item, 1, 2**31 - 1) for i, item in enumerate(value))
    return first, second


def label_dtype(classes: int) -> torch.dtype:
    """The smallest integer type that holds labels 0..classes-1: uint8, int16 or int32."""
    if classes <= 256:
        return torch.uint8
    return torch.int16 if classes <= 32768 else torch.int32


def tensors(
    name: str,
    values: Any,
    shape: str,
    ranks: Collection[int],
    dtypes: Collection[torch.dtype] = (torch.float32, torch.float64),
) -> list[Tensor]:
    """``values`` as a list of at least one tensor, each checked by :func:`tensor`, alike in all but the
    last two axes: rank, dtype, device and leading sizes are those of the first."""
    if isinstance(values, Tensor) or not isinstance(values, (list, tuple)):
        raise TypeError(wrong(name, f"a list of tensors {shape}", values))
    if len(values) == 0:
        raise ValueError(wrong(name, f"a list of at least one tensor {shape}", "an empty list"))
    result: list[Tensor] = []
    for i, value in enumerate(values):
        if i > 0 and _alike(value, result[0]):
            result.append(value)
            continue
        item = f"{name}[{i}]"
        result.append(tensor(item, value, shape, ranks, dtypes))
        if min(value.shape[-2:]) < 1:
            raise ValueError(wrong(item, f"{shape} with maps of at least 1 x 1", value))
        if i == 0:
            continue
        same_dtype(item, value, f"{name}[0]", result[0])
        same_device(item, value, f"{name}[0]", result[0])
        if value.shape[:-2] != result[0].shape[:-2]:
            lead = "".join(f"{n}," for n in result[0].shape[:-2])
            raise ValueError(wrong(item, f"[{lead}h,w] (leading sizes of {name}[0])", value))
    return result


def at_most(name: str, values: list[Tensor], most: int, why: str) -> None:
    """Raise if there are more tensors; ``why`` says where the limit comes from."""
    if len(values) > most:
        raise ValueError(wrong(name, f"at most {most} tensors ({why})", f"{len(values)} of them"))


def _alike(value: Any, other: Tensor) -> bool:
    """Whether ``value`` is a tensor with at least one pixel that differs from ``other`` in its last two sizes
    at most."""
    return (
        isinstance(value, Tensor)
        and is_dense(value)
        and value.dtype == other.dtype
        and value.device == other.device
        and value.shape[:-2] == other.shape[:-2]
        and value.shape[-2] >= 1
        and value.shape[-1] >= 1
    )


def flags(name: str, value: Any, count: int, why: str) -> list[bool]:
    """``value`` as a list of ``count`` booleans; ``why`` says where the count comes from."""
    expected = f"a list of {count} booleans ({why})"
    if isinstance(value, Tensor) or not isinstance(value, (list, tuple)):
        raise TypeError(wrong(name, expected, value))
    if len(value) != count:
        raise ValueError(wrong(name, expected, f"{len(value)} values"))
    for i, flag in enumerate(value):
        if not isinstance(flag, bool):
            raise TypeError(wrong(f"{name}[{i}]", "True or False", flag))
    return list(value)


def without_grad(name: str, values: list[Tensor], op: str) -> None:
    """Raise if autograd would have to record an op that has no gradient."""
    if not torch.is_grad_enabled():
        return
    for i, value in enumerate(values):
        if value.requires_grad:
            raise ValueError(
                wrong(
                    f"{name}[{i}]",
                    f"a tensor that does not require grad ({op} is for inference and has no gradient; "
                    "use torch.no_grad() or .detach())",
                    f"{describe(value)} with requires_grad=True",
                )
            )


def needs_no_gradient(name: str, value: Tensor, instead: str) -> None:
    """Raise if autograd would have to differentiate by ``value``; ``instead`` says what can be."""
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            wrong(name, "a tensor that needs no gradient", "requires_grad=True")
            + f"; {instead}: pass it with .detach()"
        )
