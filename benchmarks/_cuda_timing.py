"""Times on a GPU, by its own events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import _machine
import torch

WARM_UP = 2  # passes over all inputs


def sets_beyond_cache(size: int) -> int:
    """How many sets of inputs of so many bytes exceed the last cache twice over; at least two, so that no
    call finds in it what the call before it has read."""
    return max(2, math.ceil(2 * _machine.l2_cache() / size))


def milliseconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Of one call, an entry a repetition: a pass over ``calls``, the same on inputs of their own, between two
    events. The GPU gets them as fast as Python hands them out, as in a loop of a user's.
    """
    for _ in range(WARM_UP):
        _pass(calls)
    return [_pass(calls) / len(calls) for _ in range(repeats)]


def _pass(calls: Sequence[Callable[[], object]]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for call in calls:
        call()  # outputs are let go: the next call may get the same memory, as in a user's loop
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def copy_bandwidth(size: int = 2**30) -> float:
    """Bytes a second, read and written ones both counted, of a copy of ``size`` bytes on the device: the best
    of several."""
    size = min(size, torch.cuda.mem_get_info()[0] // 4)
    source = torch.zeros(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = milliseconds([lambda: target.copy_(source)], repeats=9)
    return 2 * size / (min(times) / 1000)
