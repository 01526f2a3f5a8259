"""Whether CUDA ops look at the values of their inputs, and the looking.

The CPU's kernels find bad values in passing. Each function here words one as they do, and waits for the
device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import on_cuda

_enabled = False


class check_values:
    """Whether ops look at the values of CUDA tensors: ``check_values(True)``, at first they do not.

    On the CPU a bad value (NaN, an image outside [0, 255]) is found by the pass that reads it anyway, and is
    an error. On CUDA to look means to wait for the device, so that by default a bad value makes NaN of the
    results of its own image, and of no other. With ``check_values(True)`` ops look, and raise the error of
    the CPU: for finding out where a NaN comes from.

    Args:
        enabled: a bool. It holds from the call on, in all threads, or, in a ``with`` statement, to its end;
            the setting before the call then holds again.

    Raises:
        TypeError: ``enabled`` is not a bool.

    Inside a captured CUDA graph ops cannot look: switch it off before the capture.

    >>> import torch, wsss_fast
    >>> device = "cuda" if wsss_fast.build_info()["cuda"] and torch.cuda.is_available() else "cpu"
    >>> image = torch.zeros(3, 4, 5, device=device)
    >>> unary = torch.full((2, 4, 5), torch.nan, device=device)
    >>> with wsss_fast.check_values(True):
    ...     wsss_fast.crf(image, unary)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unary: expected energies that are finite or +inf, got nan for class 0 in image 0, ...
    """

    def __init__(self, enabled: bool) -> None:
        global _enabled
        if not isinstance(enabled, bool):
            raise TypeError(_checks.wrong("enabled", "a bool", enabled))
        self._before = _enabled
        _enabled = enabled

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        global _enabled
        _enabled = self._before


def checking(value: Tensor) -> bool:
    """Whether CUDA kernels work on ``value`` and shall look at it first."""
    return _enabled and on_cuda(value)


def looking(value: Tensor) -> bool:
    """Whether what works in plain torch looks at ``value``: always on the CPU."""
    return not on_cuda(value) or checking(value)


# --- crf -------------------------------------------------------------------------------------------------


def check_image(name: str, image: Tensor) -> None:
    """Raise unless an image ``[N,3,H,W]`` holds values in [0, 255]."""
    if image.dtype == torch.uint8:
        return
    found = _first(~((image >= 0) & (image <= 255)))  # NaN too
    if found is not None:
        n, channel, y, x = found
        raise ValueError(
            f"{name}: expected values in [0,255], got {_number(image[found])} "
            f"in image {n}, channel {channel}, y {y}, x {x}"
        )


def check_unary(unary: Tensor) -> None:
    """Raise if energies ``[N,M,C,H,W]`` are NaN or -inf, or those of a pixel all +inf."""
    bad = unary.isnan() | (unary == -math.inf)
    found = _first(bad.movedim(2, -1))  # the first pixel, and its first class
    if found is not None:
        n, m, y, x, c = found
        raise ValueError(
            f"unary: expected energies that are finite or +inf, got {_number(unary[n, m, c, y, x])} "
            f"for class {c}{_where(n, m, y, x)}"
        )
    found = _first((unary == math.inf).all(2))
    if found is not None:
        raise ValueError(
            "unary: expected a finite energy for at least one class, got +inf for all classes"
            f"{_where(*found)}"
        )


def check_compat(name: str, compat: Tensor) -> None:
    """Raise unless a compat of any shape is finite."""
    found = _first(~compat.isfinite())
    if found is not None:
        raise ValueError(_checks.wrong(name, "finite values", compat[found].item()))


def check_result(q: Tensor) -> None:
    """Raise if Q or log Q ``[N,M,C,H,W]`` of good inputs is NaN."""
    found = _first(q.isnan().movedim(2, -1))
    if found is not None:
        raise ValueError(
            f"compat: expected weights that keep energies finite, got an overflow{_where(*found[:4])}"
        )


def _where(n: int, m: int, y: int, x: int) -> str:
    return f" in image {n}, unary {m}, y {y}, x {x}"


# --- the lattice -----------------------------------------------------------------------------------------


def check_features(name: str, features: Tensor) -> None:
    """Raise unless features ``[N,d,...]`` are finite and within reach of their dtype."""
    flat = features.flatten(2)
    found = _first(~flat.isfinite())
    if found is not None:
        n, i, point = found
        raise ValueError(
            f"{name}: expected finite values, got {_number(flat[n, i, point])} "
            f"in feature {i} of point {point}"
        )
    if flat.numel() > 0:
        low, high = flat.aminmax(dim=2)
        for least, most in zip(low.tolist(), high.tolist(), strict=True):
            _launch.check_lattice_reach(name, least, most, features.dtype)


def check_filter_values(values: Tensor, dims: int) -> None:
    """Raise unless values ``[N,C,P]`` of a filter are finite, and the sums over all of them sure to be."""
    most = torch.finfo(values.dtype).max / 2 ** (dims + 1) / max(values.shape[-1], 1)
    found = _first(~(values.abs() <= most))  # NaN too
    if found is not None:
        _, channel, point = found
        small = " small enough for a finite sum" if bool(values[found].isfinite()) else ""
        raise ValueError(
            f"values: expected finite values{small}, got {_number(values[found])} "
            f"in channel {channel} of point {point}"
        )


def check_capacity(capacity: int, vertices: Tensor, of: str = "") -> None:
    """Raise if an image has more lattice vertices, of ``[N]``, than there is room for."""
    found = _first(vertices > capacity)
    if found is not None:
        raise ValueError(
            f"capacity{of}: expected room for the vertices of each image's lattice, got {capacity} "
            f"where image {found[0]} has {int(vertices[found])}"
        )


# --- cam_fusion and tta ----------------------------------------------------------------------------------


def check_summands(name: str, tensors: Sequence[Tensor], shape: str, used: Tensor | None = None) -> None:
    """Raise if a value is not finite, or so large that the sum of all tensors might not be.

    ``shape`` names the four axes; ``used`` ``[N,K]`` says which maps of ``[N,K,h,w]`` count.
    """
    most = torch.finfo(_launch.working_dtype(tensors[0])).max / (len(tensors) + 1)
    for which, tensor in enumerate(tensors):
        # A bound that the dtype does not hold would be compared with as infinity.
        bad = ~(tensor.abs() <= min(most, torch.finfo(tensor.dtype).max))  # NaN too
        if used is not None:
            bad &= used.to(tensor.device)[..., None, None]
        found = _first(bad)
        if found is not None:
            offset = 0
            for index, length in zip(found, tensor.shape, strict=True):
                offset = offset * length + index
            _launch.refuse(name, (which, offset, tensor[found].item()), tensors, shape)


# --- common ----------------------------------------------------------------------------------------------


def check_within(name: str, value: Tensor, low: float, high: float, expected: str) -> None:
    """Raise unless all numbers lie in [low, high], which NaN do not."""
    if not value.dtype.is_floating_point:  # torch would wrap a bound that the dtype does not hold
        limits = torch.iinfo(value.dtype)
        low, high = max(low, limits.min), min(high, limits.max)
    found = _first(~((value >= low) & (value <= high)))
    if found is not None:
        got = f"{value[found].item()} at [{','.join(map(str, found))}]"
        raise ValueError(_checks.wrong(name, expected, got))


def check_finite(name: str, value: Tensor) -> None:
    largest = torch.finfo(value.dtype).max
    check_within(name, value, -largest, largest, "finite values")


def check_walker(name: str, value: Tensor) -> None:
    """Raise unless a random walk's maps are finite, and what becomes of them sure to be."""
    largest = _launch.largest_walker(value.dtype)
    check_within(name, value, -largest, largest, _launch.WALKERS.format(largest))


def check_boundary(name: str, value: Tensor) -> None:
    check_within(name, value, 0.0, 1.0, "values in [0,1]")


def _first(bad: Tensor) -> tuple[int, ...] | None:
    """Where the first True is, in row-major order."""
    if not bool(bad.any()):
        return None
    return tuple(bad.nonzero()[0].tolist())


def _number(value: Tensor) -> str:
    """With six digits, as the core writes it."""
    return f"{value.item():g}"
