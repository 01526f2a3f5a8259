"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

import torch

from wsss_fast.files import atomic_path

Item = TypeVar("Item")

_TRACED_BATCHES = 8


class Profile:
    """Seconds by part of a step, and with ``trace`` a record of its first batches, written to that path.

    A part is what happens inside ``with profile.part("network"):``, the device's work included, which is
    waited for (only when profiling). Parts do not nest. What is in none of them is called ``other``.
    """

    def __init__(self, mode: Literal["off", "summary", "trace"] = "off", trace: Path | None = None) -> None:
        self.on = mode != "off"
        self.seconds: dict[str, float] = {}
        self._lock = Lock()
        self._start = time.perf_counter()
        self._recorder: torch.profiler.profile | None = None
        if mode == "trace":
            assert trace is not None
            self._recorder = _recorder(trace)
            self._recorder.start()

    @contextmanager
    def part(self, name: str, threads: int = 1) -> Iterator[None]:
        """Count the body under a name. ``threads``: in how many threads such bodies run at once, by which
        one takes only so much less of the step's time."""
        if not self.on:
            yield
            return
        start = time.perf_counter()
        try:
            with torch.profiler.record_function(name):
                yield
                _wait()
        finally:
            seconds = (time.perf_counter() - start) / threads
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def waiting(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """The items; what it takes to get each counts under a name. One item is one batch of the trace."""
        iterator = iter(items)
        while True:
            with self.part(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]
            if self._recorder is not None:
                self._recorder.step()

    def stop(self) -> dict[str, float]:
        """Seconds by part, the longest first, then ``other``. Nothing is counted any more."""
        if not self.on:
            return {}
        total = time.perf_counter() - self._start
        if self._recorder is not None:
            self._recorder.stop()
            self._recorder = None
        self.on = False
        parts = dict(sorted(self.seconds.items(), key=lambda part: -part[1]))
        return {**parts, "other": max(0.0, total - sum(parts.values()))}


_END = object()


def profile_table(step: str, parts: dict[str, float]) -> str:
    """The parts as aligned text."""
    total = sum(parts.values()) or 1.0
    width = max(24, *(2 + len(name) for name in parts))
    rows = (f"  {name:<{width}}{s:10.2f} s{100 * s / total:7.1f} %" for name, s in parts.items())
    return "\n".join([f"{step}: where the time went", *rows])


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _recorder(path: Path) -> torch.profiler.profile:
    def write(recorded: torch.profiler.profile) -> None:
        with atomic_path(path) as temporary:
            recorded.export_chrome_trace(str(temporary))

    # The first batch is left out: it has what is done once.
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=_TRACED_BATCHES, repeat=1)
    return torch.profiler.profile(schedule=schedule, on_trace_ready=write)
