"""Threads beside the one that a step runs in."""

from __future__ import annotations

import threading
import time

import pytest
import torch

pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.steps._threads import each_in_threads


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_order_and_no_thread_is_left(threads: int) -> None:
    before, op_threads = threading.active_count(), torch.get_num_threads()
    most = 0

    def square(n: int) -> int:
        nonlocal most
        most = max(most, threading.active_count() - before)
        time.sleep(0.002 * (n % 3))
        return n * n

    with each_in_threads(square, range(40), threads) as results:
        assert [(n, result()) for n, result in results] == [(n, n * n) for n in range(40)]
    assert most == (0 if threads == 1 else threads)
    assert threading.active_count() == before
    assert torch.get_num_threads() == op_threads
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [op_threads]


def test_an_op_has_one_thread_there() -> None:
    with each_in_threads(lambda _: torch.get_num_threads(), range(4), 2) as results:
        assert [result() for _, result in results] == [1] * 4


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_raised_comes_at_its_item(threads: int) -> None:
    def odd_only(n: int) -> int:
        if n % 2 == 0:
            raise ValueError(n)
        return n

    outcomes: list[str] = []
    with each_in_threads(odd_only, range(4), threads) as results:
        for _, result in results:
            try:
                outcomes.append(f"got {result()}")
            except ValueError as error:
                outcomes.append(f"raised {error}")
    assert outcomes == ["raised 0", "got 1", "raised 2", "got 3"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_ends_it_without_the_rest(error: BaseException) -> None:
    before = threading.active_count()
    begun: list[int] = []

    def note(n: int) -> None:
        begun.append(n)
        time.sleep(0.01)

    def fail_at_the_first() -> None:
        with each_in_threads(note, range(1000), 2) as results:
            next(results)
            raise error

    with pytest.raises(type(error)):
        fail_at_the_first()
    assert threading.active_count() == before
    assert len(begun) < 10


def test_items_are_asked_for_only_a_little_ahead() -> None:
    asked: list[int] = []

    def items() -> object:
        for n in range(1000):
            asked.append(n)
            yield n

    with each_in_threads(lambda n: n, items(), 2) as results:  # type: ignore[arg-type, var-annotated]
        next(results)
        assert len(asked) <= 5
