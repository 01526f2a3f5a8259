"""How the CUDA ops are called: on which stream and device, without waiting, inside a captured graph.

The dense CRF, which may have to wait, has its own tests of it in test_crf_cuda.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from devices import only_on
from torch import Tensor
from torch.utils._pytree import tree_leaves

import wsss_fast
from wsss_fast.nn import AffinityDisplacementLoss

pytestmark = [pytest.mark.usefixtures("device"), only_on("cuda", reason="needs a GPU")]

Call = Callable[[Sequence[Tensor]], Any]


def with_gradients(function: Call) -> Call:
    """Of what comes first, by the inputs, which are floating."""

    def run(inputs: Sequence[Tensor]) -> Any:
        given = [tensor.detach().requires_grad_() for tensor in inputs]
        out = tree_leaves(function(given))[0]
        return out.detach(), torch.autograd.grad(out, given, torch.ones_like(out))

    return run


def walk(inputs: Sequence[Tensor]) -> Tensor:
    return wsss_fast.random_walk(inputs[0], inputs[1])


def walks_of_a_list(inputs: Sequence[Tensor]) -> list[Tensor]:
    cam, boundary = inputs
    return wsss_fast.random_walk([cam[0], cam[1, :2, :40]], [boundary[0], boundary[1, :, :40]])


def affinity(inputs: Sequence[Tensor]) -> Tensor:
    return wsss_fast.path_affinity(inputs[0], 5)


def loss(inputs: Sequence[Tensor]) -> Tensor:
    labels = torch.arange(inputs[0].numel(), device=inputs[0].device).view(inputs[0].shape)[:, 0]
    return AffinityDisplacementLoss(5)(inputs[0], inputs[1], labels // 50 % 3).total


def cams(inputs: Sequence[Tensor]) -> Tensor:
    return wsss_fast.fuse_cams(inputs, (90, 120), flipped=[False, True])


def cams_of_present_classes(inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    present = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0]], dtype=torch.bool, device="cpu")
    sizes = [(23, 30), (90, 120)]
    return wsss_fast.fuse_cams(inputs, sizes, crop=[None, (85, 113)], flipped=[False, True], classes=present)


def mean(inputs: Sequence[Tensor]) -> Tensor:
    return wsss_fast.tta_merge(inputs, (90, 120), flipped=[False, True])


def labels(inputs: Sequence[Tensor]) -> Tensor:
    return wsss_fast.tta_merge(inputs, (90, 120), flipped=[False, True], output="labels")


# What is called, and the shapes of its inputs.
MAPS, BOUNDARY = (2, 4, 94, 125), (2, 1, 94, 125)
CALLS: dict[str, tuple[Call, list[tuple[int, ...]]]] = {
    "walk": (walk, [MAPS, BOUNDARY]),
    "walk of many images, a launch for each step": (walk, [(200, 4, 94, 125), (200, 1, 94, 125)]),
    "walks of a list": (walks_of_a_list, [MAPS, BOUNDARY]),
    "gradient of the walk": (with_gradients(walk), [MAPS, BOUNDARY]),
    "affinity": (affinity, [BOUNDARY]),
    "gradient of the affinity": (with_gradients(affinity), [BOUNDARY]),
    "loss": (loss, [BOUNDARY, (2, 2, 94, 125)]),
    "gradient of the loss": (with_gradients(loss), [BOUNDARY, (2, 2, 94, 125)]),
    "cams": (cams, [(2, 5, 30, 40), (2, 5, 45, 60)]),
    "cams of present classes": (cams_of_present_classes, [(2, 5, 30, 40), (2, 5, 45, 60)]),
    "mean": (mean, [(2, 21, 30, 40), (2, 21, 45, 60)]),
    "mean of many classes": (mean, [(2, 300, 30, 40), (2, 300, 45, 60)]),
    "labels": (labels, [(2, 201, 30, 40), (2, 201, 45, 60)]),
}
each_call = pytest.mark.parametrize(("call", "shapes"), CALLS.values(), ids=CALLS)


def drawn(shapes: Sequence[tuple[int, ...]], seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.rand(shape) for shape in shapes]


def same(found: Any, expected: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True))


@each_call
def test_two_runs_are_bitwise_equal(call: Call, shapes: list[tuple[int, ...]]) -> None:
    inputs = drawn(shapes)
    assert same(call(inputs), call(inputs))


@each_call
def test_work_goes_to_the_current_stream(call: Call, shapes: list[tuple[int, ...]]) -> None:
    inputs = drawn(shapes)
    expected = call(inputs)
    late = [torch.full_like(tensor, torch.nan) for tensor in inputs]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        for to, of in zip(late, inputs, strict=True):
            to.copy_(of)
        found = call(late)
    stream.synchronize()
    assert same(found, expected)


@each_call
def test_nothing_waits_for_the_device(call: Call, shapes: list[tuple[int, ...]]) -> None:
    inputs = drawn(shapes)
    call(inputs)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(2_000_000_000)  # about a second
        call(inputs)
        done.record()
        assert not done.query()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.synchronize()


@each_call
def test_a_graph_is_captured_and_takes_new_values(call: Call, shapes: list[tuple[int, ...]]) -> None:
    problems = [drawn(shapes, seed) for seed in range(2)]
    expected = [call(inputs) for inputs in problems]
    inputs = [tensor.clone() for tensor in problems[0]]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = call(inputs)
    for new, truth in zip(problems, expected, strict=True):
        for to, of in zip(inputs, new, strict=True):
            to.copy_(of)
        graph.replay()
        assert same(found, truth)


@each_call
def test_a_device_that_is_not_the_current_one(call: Call, shapes: list[tuple[int, ...]]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    inputs = drawn(shapes)
    expected = call(inputs)
    for there, here in zip(
        tree_leaves(call([tensor.to("cuda:1") for tensor in inputs])), tree_leaves(expected), strict=True
    ):
        assert there.device == torch.device("cuda", 1)
        assert torch.equal(there.to(here.device), here)
