"""Several images at a time, each in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def each_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Iterator[tuple[Item, Callable[[], Result]]]]:
    """The items in their order, each with what gives (or raises) the result of ``function(item)``.

    The function runs in so many threads, in each with one thread for an op: of small pieces of work each has
    one core, where all cores together at one piece would wait for each other. One thread: it runs in the
    caller's, with all threads for an op. No thread is left after the block.
    """
    if threads == 1:
        yield ((item, lambda item=item: function(item)) for item in items)  # type: ignore[misc]
        return
    pool = ThreadPoolExecutor(threads, initializer=_one_op_thread)
    before = torch.get_num_threads()
    try:
        yield _ahead(pool, function, items, 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what the threads have set is where later threads begin


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > count:
            first, result = waiting.popleft()
            yield first, result.result
    for first, result in waiting:
        yield first, result.result


def _one_op_thread() -> None:
    torch.set_num_threads(1)  # of this thread
