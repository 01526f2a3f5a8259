"""The inputs of several sizes that cam_fusion and tta take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address
from wsss_fast._launch._values import index_of


def most_inputs() -> int:
    """How many the kernels on CUDA take."""
    return _C.CUDA_MOST_INPUTS


def inputs_of(tensors: list[Tensor], flipped: Sequence[bool]) -> list[tuple[int, int, int, bool]]:
    return [(address(t), t.shape[-2], t.shape[-1], flip) for t, flip in zip(tensors, flipped, strict=True)]


def refuse(name: str, bad: tuple[int, int, float] | None, tensors: Sequence[Tensor], shape: str) -> None:
    """Raise if a value was met that cannot be worked with; ``shape`` names the axes of the index."""
    if bad is None:
        return
    which, offset, value = bad
    index = index_of(offset, tensors[which].shape)
    expected = "finite values"
    if math.isfinite(value):
        expected = f"values small enough for a finite sum in {str(tensors[which].dtype).split('.')[-1]}"
    raise ValueError(f"{name}[{which}]: expected {expected}, got {value:g} at {shape} = {index}")
