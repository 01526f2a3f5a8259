"""path_affinity, forward and backward from a given gradient, and the loss on top of it, against their
references: python -m pytest benchmarks/bench_path_affinity.py

Inputs differ in every round. Index tables are built outside the measured time, as training does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import wsss_fast
from wsss_fast.nn import AffinityDisplacementLoss
from wsss_fast.reference import path_affinity as reference
from wsss_fast.reference.affinity_displacement_loss import affinity_displacement_loss

ROUNDS = 5
RADIUS, SIZE, BATCH, LOSS_BATCH = 10, 128, 4, 8
OUT = (SIZE - (RADIUS - 1), SIZE - 2 * (RADIUS - 1))


def published() -> Callable[[Tensor], Tensor]:
    indices = reference.path_indices(RADIUS, SIZE, SIZE)
    return lambda boundary: reference.affinity_of_indices(boundary, indices, OUT)


WAYS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "ours": lambda: lambda boundary: wsss_fast.path_affinity(boundary, RADIUS),
    "reference, published": published,
    "reference, shifted slices": lambda: lambda b: reference.path_affinity_by_slices(b, RADIUS),
}


@pytest.fixture(params=[1, 2], ids=lambda n: f"threads{n}")
def thread_count(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("thread_count")
@pytest.mark.parametrize("way", WAYS)
def test_forward_backward(benchmark: Any, way: str) -> None:
    benchmark.group = f"path_affinity forward + backward, radius {RADIUS}, {SIZE}x{SIZE}, batch {BATCH}"
    function = WAYS[way]()
    neighbours = len(wsss_fast.path_offsets(RADIUS))

    def run(boundary: Tensor, grad: Tensor) -> Tensor:
        (result,) = torch.autograd.grad(function(boundary), boundary, grad)
        return result

    def setup() -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
        boundary = torch.rand(BATCH, 1, SIZE, SIZE, requires_grad=True)
        return (boundary, torch.randn(BATCH, neighbours, *OUT)), {}

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.usefixtures("thread_count")
@pytest.mark.parametrize("way", WAYS)
def test_loss(benchmark: Any, way: str) -> None:
    benchmark.group = (
        f"AffinityDisplacementLoss forward + backward, radius {RADIUS}, {SIZE}x{SIZE}, batch {LOSS_BATCH}"
    )
    loss = AffinityDisplacementLoss(RADIUS)
    affinity_of = WAYS[way]()

    def run(logits: Tensor, displacement: Tensor, labels: Tensor) -> None:
        if way == "ours":
            total = loss(logits, displacement, labels).total
        else:
            total = affinity_displacement_loss(logits, displacement, labels, RADIUS, affinity_of)[0]
        torch.autograd.grad(total, (logits, displacement))

    def setup() -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
        logits = torch.randn(LOSS_BATCH, 1, SIZE, SIZE, requires_grad=True)
        displacement = torch.randn(LOSS_BATCH, 2, SIZE, SIZE, requires_grad=True)
        patches = torch.tensor([0, 1, 2, 255])[torch.randint(4, (LOSS_BATCH, SIZE // 16, SIZE // 16))]
        labels = patches.repeat_interleave(16, 1).repeat_interleave(16, 2)
        return (logits, displacement, labels), {}

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=1)
