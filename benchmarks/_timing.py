"""Wall-clock times of several ways to do one thing, taken in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Way:
    run: Callable[[], object]
    threads: int = 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def milliseconds(way: Way) -> float:
    with threads(way.threads):
        start = time.perf_counter()
        result = way.run()
        elapsed = time.perf_counter() - start
    del result  # not before: freeing it is not part of the work
    return 1000 * elapsed


def in_turns(rounds: Sequence[Callable[[], Sequence[Way]]]) -> list[list[float]]:
    """For each way its times in milliseconds, one a round.

    A round makes the ways for a picture of its own. The first round warms up and is not counted. Within a
    round the ways follow each other, so that what disturbs the machine for a while disturbs them alike.
    """
    measured = []
    enabled = gc.isenabled()
    gc.disable()
    try:
        for round_ in rounds:
            measured.append([milliseconds(way) for way in round_()])
    finally:
        if enabled:
            gc.enable()
    return [list(times) for times in zip(*measured[1:], strict=True)]
