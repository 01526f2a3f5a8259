"""PermutohedralLattice by CUDA kernels: against the CPU's, and what only they have."""

from __future__ import annotations

import pytest
import torch
from conftest import close
from devices import by_cpu, only_on
from torch import Tensor

import wsss_fast

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]
gpu_only = only_on("cuda", reason="needs a GPU")


def run(features: Tensor, values: Tensor, capacity: int | None = None) -> tuple[Tensor, list[int]]:
    lattice = wsss_fast.PermutohedralLattice(features, capacity=capacity)
    return lattice.filter(values), lattice.vertices


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", range(1, 17))
def test_it_agrees_with_the_cpu(dims: int, dtype: torch.dtype) -> None:
    # Near points, and so far ones that a key is many words long.
    reach = 1500.0 if dtype == torch.float64 else 300.0
    features = torch.randn(2, dims, 8, 9, dtype=dtype)
    for distance in (0.0, reach):
        features[..., ::2] += distance
        for channels in (1, 3, 21):
            values = torch.randn(2, channels, 8, 9, dtype=dtype)
            out, vertices = run(features, values)
            expected, counts = by_cpu(run, features, values)
            assert out.device == features.device
            close(out.cpu(), expected)
            assert vertices == counts


def test_many_points_on_one_vertex(device: str) -> None:
    points = 3000 if device == "cuda-host" else 200_000
    features, values = torch.rand(3, points) * 1e-3 + 0.1, torch.randn(4, points)
    expected, counts = by_cpu(run, features, values)
    assert counts == [4]
    out, vertices = run(features, values)
    assert vertices == counts
    scale = expected.abs().max().item()
    close(out.cpu(), expected, atol=1e-5 * scale)


def test_two_runs_are_bitwise_equal(device: str) -> None:
    points = 2000 if device == "cuda-host" else 100_000
    features, values = torch.rand(5, points) * 9, torch.randn(6, points, requires_grad=True)
    weights = torch.randn(6, points)
    results = []
    for _ in range(2):
        out = run(features, values)[0]
        results.append([out, *torch.autograd.grad(out, values, weights)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def several() -> tuple[Tensor, Tensor, list[int]]:
    """Features, values, and how many vertices each of the features has: most the second."""
    features = torch.randn(3, 4, 6, 10) * torch.tensor([0.1, 9.0, 1.0]).reshape(3, 1, 1, 1)
    values = torch.randn(3, 5, 6, 10)
    return features, values, run(features, values)[1]


def test_a_batch_equals_single_ones() -> None:
    features, values, vertices = several()
    out = run(features, values)[0]
    for n in range(3):
        alone, count = run(features[n], values[n])
        assert torch.equal(out[n], alone)
        assert count == vertices[n : n + 1]


def test_a_sufficient_capacity_changes_nothing() -> None:
    features, values, counts = several()
    expected = run(features, values)[0]
    for capacity in (max(counts), 10 * max(counts)):
        out, vertices = run(features, values, capacity)
        assert torch.equal(out, expected)
        assert vertices == counts


def test_what_is_beyond_the_capacity_is_nan() -> None:
    features, values, counts = several()
    assert counts[0] < counts[2] < counts[1]
    expected = run(features, values)[0]
    for capacity in (counts[1] - 1, counts[2], counts[2] - 1, counts[0], 1):
        out = wsss_fast.PermutohedralLattice(features, capacity=capacity).filter(values)
        for n, count in enumerate(counts):
            assert out[n].isnan().all() if count > capacity else torch.equal(out[n], expected[n])
        with (
            wsss_fast.check_values(True),
            pytest.raises(ValueError, match=f"capacity: expected .*{capacity}"),
        ):
            wsss_fast.PermutohedralLattice(features, capacity=capacity)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e7, -3e38])
def test_bad_features_stay_in_their_lattice(value: float) -> None:
    features, values, _ = several()
    expected = run(features, values)[0]
    features[1, 2, 3, 4] = value
    out = wsss_fast.PermutohedralLattice(features).filter(values)
    assert torch.equal(out[[0, 2]], expected[[0, 2]])
    assert out[1].isnan().any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_bad_values_stay_in_their_channel(value: float) -> None:
    features, values, _ = several()
    expected = run(features, values)[0]
    values[1, 2, 3, 4] = value
    out = run(features, values)[0]
    assert not out[1, 2].isfinite().all()
    out[1, 2] = expected[1, 2]
    assert torch.equal(out, expected)


@gpu_only
def test_a_graph_is_captured_and_takes_new_values() -> None:
    problems = [(torch.randn(2, 3, 20, 25) * scale, torch.randn(2, 7, 20, 25)) for scale in (1.0, 0.1, 5.0)]
    capacity = 500 * 4
    features, values = (tensor.clone() for tensor in problems[0])
    wsss_fast.PermutohedralLattice(features, capacity=capacity).filter(values)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = wsss_fast.PermutohedralLattice(features, capacity=capacity).filter(values)
    for new_features, new_values in problems:
        features.copy_(new_features)
        values.copy_(new_values)
        graph.replay()
        assert torch.equal(out, run(new_features, new_values)[0])


@gpu_only
def test_work_goes_to_the_current_stream() -> None:
    features, values = torch.randn(2, 3, 20, 25), torch.randn(2, 7, 20, 25)
    expected = run(features, values)[0]
    late = torch.full_like(features, torch.nan)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        late.copy_(features)
        out = run(late, values)[0]
    stream.synchronize()
    assert torch.equal(out, expected)


@gpu_only
def test_a_device_that_is_not_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    features, values = torch.randn(2, 3, 20, 25), torch.randn(2, 7, 20, 25)
    expected, counts = run(features, values)
    out, vertices = run(features.to("cuda:1"), values.to("cuda:1"))
    assert out.device == torch.device("cuda", 1)
    assert torch.equal(out.to(expected.device), expected)
    assert vertices == counts
