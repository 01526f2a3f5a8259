"""path_affinity by CUDA kernels: against the CPU's, and what only they have (half precision, other forms)."""

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
gpu_only = only_on("cuda", reason="too large for kernels on the host")


def gradient(boundary: Tensor, radius: int, weight: Tensor) -> Tensor:
    given = boundary.detach().requires_grad_()
    return torch.autograd.grad(wsss_fast.path_affinity(given, radius), given, weight)[0]


def agrees_with_the_cpu(boundary: Tensor, radius: int) -> None:
    """The affinities to the bit, and the gradients."""
    affinity = wsss_fast.path_affinity(boundary, radius)
    assert affinity.is_contiguous()
    assert affinity.device == boundary.device
    assert torch.equal(affinity.cpu(), by_cpu(wsss_fast.path_affinity, boundary, radius))
    weight = torch.randn_like(affinity)
    # A pixel adds up the gradients of some hundred paths, in another order than on the CPU.
    looser = {"rtol": 1e-4, "atol": 1e-4} if boundary.dtype == torch.float32 else {}
    expected = by_cpu(gradient, boundary, radius, weight)
    close(gradient(boundary, radius, weight).cpu(), expected, **looser)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "h", "w", "radius"),
    [
        # The smallest maps, tiles of 32 x 32 sources with one less and one more, several tiles each way.
        (1, 2, 3, 2),
        (2, 33, 34, 2),
        (2, 34, 35, 2),
        (1, 32, 33, 2),
        (3, 5, 9, 5),
        (1, 38, 80, 5),
        (2, 70, 12, 3),
        (1, 20, 50, 10),
    ],
)
def test_shapes(n: int, h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    agrees_with_the_cpu(torch.rand(n, 1, h, w, dtype=dtype), radius)


@pytest.mark.parametrize(
    ("radius", "dtype"),
    [
        # Sums of the gradient in shared memory, with room for more of them, and none.
        (10, torch.float32),
        (11, torch.float32),
        (14, torch.float32),
        (15, torch.float32),
        (7, torch.float64),
        (8, torch.float64),
        # The boundary in shared memory, and read from where it lies.
        (15, torch.float64),
        (16, torch.float64),
        (31, torch.float32),
        (32, torch.float32),
    ],
)
def test_large_radii(radius: int, dtype: torch.dtype) -> None:
    agrees_with_the_cpu(torch.rand(1, 1, radius + 1, 2 * radius + 1, dtype=dtype), radius)


def test_every_path_of_the_largest_radius(device: str) -> None:
    # One pixel with all of its 6,424 neighbours.
    boundary = torch.rand(1, 1, 64, 127, dtype=torch.float64)
    if device == "cuda":
        agrees_with_the_cpu(boundary, 64)
    else:  # the gradient takes too long
        expected = by_cpu(wsss_fast.path_affinity, boundary, 64)
        assert torch.equal(wsss_fast.path_affinity(boundary, 64), expected)


@gpu_only
def test_a_batch_as_in_training() -> None:
    agrees_with_the_cpu(torch.rand(32, 1, 128, 128), 10)


@gpu_only
def test_more_paths_than_go_through_at_a_time() -> None:
    # The sums of all of them would take 38 MB, and of one image alone a part of that.
    boundary = torch.rand(3, 1, 560, 560)
    agrees_with_the_cpu(boundary, 10)
    weight = torch.randn_like(wsss_fast.path_affinity(boundary, 10))
    alone = gradient(boundary[:1], 10, weight[:1])
    assert torch.equal(gradient(boundary, 10, weight)[:1], alone)


@pytest.mark.parametrize("radius", [3, 10])
def test_every_run_has_the_same_bits(radius: int) -> None:
    # Values from a short list: plenty of ties. On the host the threads take another order each time.
    boundary = torch.randint(5, (2, 1, 40, 45)) / 4
    weight = torch.randn_like(wsss_fast.path_affinity(boundary, radius))
    first, *others = (gradient(boundary, radius, weight) for _ in range(4))
    assert all(torch.equal(first, other) for other in others)


def test_images_of_a_batch_equal_single_ones() -> None:
    # The number of tiles decides among how many blocks the paths of one are shared.
    boundary = torch.rand(5, 1, 12, 19)
    affinity = wsss_fast.path_affinity(boundary, 4)
    weight = torch.randn_like(affinity)
    gradients = gradient(boundary, 4, weight)
    for n in range(5):
        assert torch.equal(wsss_fast.path_affinity(boundary[n], 4), affinity[n])
        assert torch.equal(gradient(boundary[n], 4, weight[n]), gradients[n])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    boundary = torch.rand(2, 1, 20, 27).to(dtype)
    affinity = wsss_fast.path_affinity(boundary, 5)
    assert affinity.dtype == dtype
    assert torch.equal(affinity, wsss_fast.path_affinity(boundary.float(), 5).to(dtype))
    weight = torch.randn(affinity.shape).to(dtype)
    found = gradient(boundary, 5, weight)
    assert found.dtype == dtype
    assert torch.equal(found, gradient(boundary.float(), 5, weight.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, -0.25, 1.5])
def test_a_bad_value_stays_on_its_paths(value: float, dtype: torch.dtype) -> None:
    radius, (y, x) = 4, (6, 8)
    boundary = torch.rand(3, 1, 15, 20).to(dtype)
    weight = torch.randn(3, len(wsss_fast.path_offsets(radius)), 12, 14).to(dtype)
    expected = wsss_fast.path_affinity(boundary, radius)
    expected_gradient = gradient(boundary, radius, weight)
    reached = torch.zeros_like(boundary)
    reached[1, 0, y, x] = 1
    on_path = wsss_fast.path_affinity(reached, radius) == 0
    assert on_path[1].any()
    boundary[1, 0, y, x] = value
    affinity = wsss_fast.path_affinity(boundary, radius)
    assert affinity[on_path].isnan().all()
    assert torch.equal(affinity[~on_path], expected[~on_path])
    found = gradient(boundary, radius, weight)
    assert torch.equal(found[[0, 2]], expected_gradient[[0, 2]])
    assert found[1].isnan().nonzero().tolist() == [[0, y, x]]


def test_values_that_are_looked_at() -> None:
    boundary = torch.rand(2, 1, 9, 12)
    boundary[0, 0, 3, 4], boundary[1, 0, 2, 1] = 0.0, 1.0
    with wsss_fast.check_values(True):
        wsss_fast.path_affinity(boundary, 4)
        boundary[1, 0, 2, 1] = 1.5
        with pytest.raises(ValueError, match=r"boundary: expected values in \[0,1\], got 1.5 at \[1,0,2,1\]"):
            wsss_fast.path_affinity(boundary, 4)
