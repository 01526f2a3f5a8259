"""Values that an op cannot work with, named where they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C, _checks
from wsss_fast._launch._memory import address


def check_values(name: str, tensor: Tensor, low: float, high: float, expected: str) -> None:
    """Raise ValueError at the first value of a contiguous tensor outside [low, high], NaN included."""
    first_outside = {
        torch.float32: _C.first_outside_float32,
        torch.float64: _C.first_outside_float64,
    }[tensor.dtype]
    refuse_at(name, tensor, first_outside(address(tensor), tensor.numel(), low, high), expected)


def index_of(flat: int, shape: Sequence[int]) -> list[int]:
    """The index that a flat one of a contiguous tensor stands for."""
    position: list[int] = []
    for length in reversed(shape):
        flat, at = divmod(flat, int(length))
        position.insert(0, at)
    return position


def refuse_at(name: str, tensor: Tensor, flat: int, expected: str) -> None:
    """Raise ValueError about the value at a flat index of a contiguous tensor, unless that is negative."""
    if flat < 0:
        return
    position = index_of(flat, tensor.shape)
    value = tensor[tuple(position)].item()
    raise ValueError(_checks.wrong(name, expected, f"{value} at [{','.join(map(str, position))}]"))


def check_finite(name: str, tensor: Tensor) -> None:
    largest = torch.finfo(tensor.dtype).max
    check_values(name, tensor, -largest, largest, "finite values")


def labels_of(name: str, tensor: Tensor) -> Tensor:
    """An integer tensor as contiguous int32; ValueError where it holds what no label can be.

    Not by torch's own operations: those leave its threads spinning, and ours would have to share the
    processors with them.
    """
    tensor = tensor.contiguous()
    out = tensor.new_empty(tensor.shape, dtype=torch.int32)
    copy = {
        torch.uint8: _C.copy_labels_uint8,
        torch.int8: _C.copy_labels_int8,
        torch.int16: _C.copy_labels_int16,
        torch.int32: _C.copy_labels_int32,
        torch.int64: _C.copy_labels_int64,
    }[tensor.dtype]
    refuse_at(name, tensor, copy(address(tensor), tensor.numel(), address(out)), "labels >= 0 and < 2^31")
    return out
