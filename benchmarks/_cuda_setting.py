"""What the cases of the GPU's tables get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import _cuda_timing
import torch
from _memory import size_of
from _table import LeftOut, Row

Inputs = TypeVar("Inputs", bound=Sequence[Any])
Result = TypeVar("Result")


@dataclass(frozen=True)
class GpuSetting:
    repeats: int

    def rotated(self, make: Callable[[int], Inputs]) -> list[Inputs]:
        """Inputs of seeds 0, 1, ..., so many that they exceed the last cache twice."""
        first = make(0)
        return [first, *(make(seed) for seed in range(1, _cuda_timing.sets_beyond_cache(size_of(first))))]

    def milliseconds(self, calls: Sequence[Callable[[], object]]) -> list[float]:
        return _cuda_timing.milliseconds(calls, self.repeats)

    def of_an_image(self, calls: Sequence[Callable[[], object]], count: int) -> list[float]:
        return [time / count for time in self.milliseconds(calls)]

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second of a copy."""
        return _cuda_timing.copy_bandwidth()


OpsCase = Callable[[GpuSetting], Iterator[Row]]


def of_peer(name: str, run: Callable[[], Result]) -> Result:
    """What is measured of a peer. The rest of a case is left out where that does not fit into memory."""
    try:
        return run()
    except torch.cuda.OutOfMemoryError as error:
        raise LeftOut(f"{name}: does not fit into the GPU's memory") from error
