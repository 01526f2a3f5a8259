"""random_walk against its reference: python -m pytest benchmarks/bench_random_walk.py

Inputs differ in every round. The dense reference needs minutes and gigabytes at 94 x 125, so there the
rival is the sparse one; both stand side by side at 32 x 32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import wsss_fast
from wsss_fast.reference import random_walk as reference

ROUNDS = 7


def fresh(k: int, h: int, w: int) -> Callable[[], tuple[tuple[Tensor, Tensor], dict[str, Any]]]:
    return lambda: ((torch.rand(k, h, w), torch.rand(1, h, w) ** 2), {})


WALKS: dict[str, Callable[..., Tensor]] = {
    "ours": wsss_fast.random_walk,
    "ours, power": lambda cam, boundary: wsss_fast.random_walk(cam, boundary, method="power"),
    "reference, sparse": reference.random_walk_sparse,
}


@pytest.fixture(params=[1, 2], ids=lambda n: f"threads{n}")
def thread_count(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("thread_count")
@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("walk", WALKS)
def test_94x125(benchmark: Any, walk: str, k: int) -> None:
    benchmark.group = f"random_walk 94x125 K={k}"
    benchmark.pedantic(WALKS[walk], setup=fresh(k, 94, 125), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.usefixtures("thread_count")
@pytest.mark.parametrize("walk", [*WALKS, "reference, dense"])
def test_32x32(benchmark: Any, walk: str) -> None:
    benchmark.group = "random_walk 32x32 K=4"
    function = WALKS.get(walk, reference.random_walk)
    benchmark.pedantic(function, setup=fresh(4, 32, 32), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.usefixtures("thread_count")
@pytest.mark.parametrize("images", [1, 8])
def test_batch(benchmark: Any, images: int) -> None:
    benchmark.group = "random_walk 94x125 K=4, batches"
    benchmark.pedantic(
        wsss_fast.random_walk,
        setup=lambda: ((torch.rand(images, 4, 94, 125), torch.rand(images, 1, 94, 125) ** 2), {}),
        rounds=ROUNDS,
        warmup_rounds=1,
    )


@pytest.mark.usefixtures("thread_count")
def test_full_resolution(benchmark: Any) -> None:
    """Weights that no cache holds: several steps are taken in a pass over them."""
    benchmark.group = "random_walk 376x500 K=4"
    benchmark.pedantic(wsss_fast.random_walk, setup=fresh(4, 376, 500), rounds=ROUNDS, warmup_rounds=1)
