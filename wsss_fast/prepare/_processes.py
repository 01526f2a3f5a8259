"""A function over many items in worker processes, the results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from wsss_fast.data._workers import become_worker
from wsss_fast.files import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16
_function: Callable[[Any], Any] | None = None
"""What a worker process runs: sent once to each, as an image set may be large."""

_at_work = threading.Lock()
"""Held by a worker process while it has an item: it may be writing, and would leave a temporary file."""


def in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """``(item, function(item))`` of each, in order; in this process where ``workers`` is 0.

    A few chunks of items are under way at a time, whatever their number. Raises `DataError` if a worker
    process dies.
    """
    if workers == 0:
        for item in items:
            yield item, function(item)
        return
    source = iter(items)
    waiting: deque[tuple[list[Item], Future[list[Result]]]] = deque()
    pool = ProcessPoolExecutor(workers, initializer=_install, initargs=(function,))
    try:
        while True:
            while len(waiting) < 4 * workers and (chunk := list(islice(source, _CHUNK))):
                waiting.append((chunk, pool.submit(_run, chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)
    except BrokenProcessPool:
        raise DataError(
            "--workers",
            f"expected {workers} processes that stay, got one that died (for want of memory?); the same "
            "command goes on where this one stopped",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _install(function: Callable[[Any], Any]) -> None:
    global _function
    become_worker(_at_work)
    _function = function


def _run(chunk: list[Any]) -> list[Any]:
    assert _function is not None
    results = []
    for item in chunk:
        with _at_work:
            results.append(_function(item))
    return results
