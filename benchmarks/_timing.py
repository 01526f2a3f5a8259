"""Wall-clock times of several ways to do one thing, taken in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

# torch's threads go on waiting busily for some milliseconds after their last work, and would take a core from
# what comes next. By then they sleep.
SETTLED = 0.02  # seconds


@dataclass(frozen=True)
class Way:
    run: Callable[[], object]
    threads: int = 1
    # The same on other inputs, just before: what takes about a millisecond is measured as in a loop of such
    # calls, with its threads awake and its code in the cache.
    rehearse: Callable[[], object] | None = None


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def milliseconds(way: Way, settle: float = 0) -> float:
    with threads(way.threads):
        # Busy, as a core that slept is slower for a while.
        settled = time.perf_counter() + settle
        while time.perf_counter() < settled:
            pass
        if way.rehearse is not None:
            way.rehearse()
        start = time.perf_counter()
        result = way.run()
        elapsed = time.perf_counter() - start
    del result  # not before: freeing it is not part of the work
    return 1000 * elapsed


def in_turns(rounds: Sequence[Callable[[], Sequence[Way]]], settle: float = 0) -> list[list[float]]:
    """For each way its times in milliseconds, one a round.

    A round makes the ways for a picture of its own. The first round warms up and is not counted. Within a
    round the ways follow each other, so that what disturbs the machine for a while disturbs them alike.
    ``settle``: seconds between them, for ways that disturb each other.
    """
    measured = []
    enabled = gc.isenabled()
    gc.disable()
    try:
        for round_ in rounds:
            measured.append([milliseconds(way, settle) for way in round_()])
    finally:
        if enabled:
            gc.enable()
    return [list(times) for times in zip(*measured[1:], strict=True)]
