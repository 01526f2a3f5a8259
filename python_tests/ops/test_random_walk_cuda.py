"""random_walk by CUDA kernels: against the CPU's, and what only they have (half precision, launches)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import close
from devices import by_cpu, not_on_host, only_on
from test_random_walk import maps
from torch import Tensor

import wsss_fast
from wsss_fast import random_walk

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]
SINGLE_AND_DOUBLE = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def gradients(cam: Tensor, boundary: Tensor, grad: Tensor, **options: Any) -> tuple[Tensor, ...]:
    inputs = [t.detach().requires_grad_() for t in (cam, boundary)]
    return torch.autograd.grad(random_walk(*inputs, **options), inputs, grad)


def agrees_with_the_cpu(cam: Tensor, boundary: Tensor, **options: Any) -> None:
    """To the bit: the kernels add in the same order, and affinities are whole powers."""
    expected = by_cpu(random_walk, cam, boundary, **options)
    walked = random_walk(cam, boundary, **options)
    assert (walked.shape, walked.dtype, walked.device) == (cam.shape, cam.dtype, cam.device)
    assert walked.is_contiguous()
    assert torch.equal(walked.cpu(), expected)


@SINGLE_AND_DOUBLE
@pytest.mark.parametrize("method", ["chebyshev", "power"])
@pytest.mark.parametrize(
    ("n", "k", "h", "w"),
    [(1, 1, 1, 1), (2, 1, 1, 9), (1, 2, 9, 1), (2, 3, 5, 8), (1, 4, 8, 32), (1, 5, 9, 33), (3, 2, 17, 20)],
)
@pytest.mark.parametrize("radius", [2, 5, 15])
def test_shapes(n: int, k: int, h: int, w: int, radius: int, method: str, dtype: torch.dtype) -> None:
    agrees_with_the_cpu(*maps(n, k=k, h=h, w=w, dtype=dtype), radius=radius, exp_times=2, method=method)


@not_on_host
@pytest.mark.parametrize("k", [1, 2, 4, 21])
def test_the_size_of_a_photograph(k: int) -> None:
    agrees_with_the_cpu(*maps(3, k=k, h=94, w=125, dtype=torch.float32))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_one_launch_for_all_steps_or_one_for_each(method: str, steps: int) -> None:
    # On the host three blocks run at once, and a launch for all steps is made up to 8 tiles for each.
    for height, tiles in ((24 * 8, 24), (24 * 8 + 1, 25)):
        cam, boundary = maps(k=2, h=height, w=6, dtype=torch.float32)
        assert -(-height // 8) == tiles
        agrees_with_the_cpu(cam, boundary, radius=3, steps=steps, method=method)


def test_many_maps_share_a_tile() -> None:
    agrees_with_the_cpu(*maps(2, k=23, h=10, w=35, dtype=torch.float32), steps=3)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("beta", [0, 1, 10, 65])
def test_few_steps_and_any_exponent(beta: float, steps: int) -> None:
    for method in ("chebyshev", "power"):
        cam, boundary = maps(k=2, h=7, w=9, dtype=torch.float64)
        if beta <= 64:
            agrees_with_the_cpu(cam, boundary, beta=beta, steps=steps, method=method)
        close(
            random_walk(cam, boundary, beta=beta + 0.5, steps=steps, method=method).cpu(),
            by_cpu(random_walk, cam, boundary, beta=beta + 0.5, steps=steps, method=method),
        )


def test_as_many_coefficients_as_need_several_launches() -> None:
    cam, boundary = maps(k=1, h=2, w=3, dtype=torch.float64)
    agrees_with_the_cpu(cam, boundary, steps=2**12, radius=2, tol=1e-15)  # a degree of 541


def test_lists_of_more_images_than_a_table_has() -> None:
    sizes = [(1 + n % 7, 3 + n % 5, 1 + n % 6) for n in range(40)]
    pairs = [maps(k=k, h=h, w=w, dtype=torch.float32) for h, w, k in sizes]
    pairs[7] = maps(3, k=2, h=5, w=6, dtype=torch.float32)  # a batch among them
    pairs[9] = (torch.rand(0, 2, 3, 4), torch.rand(0, 1, 3, 4))
    pairs[11] = (torch.rand(0, 3, 4), torch.rand(1, 3, 4))
    cams, boundaries = map(list, zip(*pairs, strict=True))
    walked = random_walk(cams, boundaries, steps=5)
    for cam, boundary, out in zip(cams, boundaries, walked, strict=True):
        assert torch.equal(out, random_walk(cam, boundary, steps=5))


@not_on_host
def test_batches_that_take_several_groups() -> None:
    # 34 weights of 512 x 512 pixels are 36 MB: 14 images are a group.
    cam, boundary = maps(15, k=1, h=512, w=512, dtype=torch.float32)
    walked = random_walk(cam, boundary, steps=3)
    for n in (0, 13, 14):
        assert torch.equal(walked[n], random_walk(cam[n], boundary[n], steps=3))


# --- half precision --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    cam, boundary = (t.to(dtype) for t in maps(2, k=3, h=9, w=12, dtype=torch.float32))
    walked = random_walk(cam, boundary)
    # Computed in float32 and rounded once.
    assert torch.equal(walked, random_walk(cam.float(), boundary.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_written_exactly(dtype: torch.dtype) -> None:
    # Numbers of all exponents, zeros of both signs and what is denormal among them.
    bits = torch.arange(-(2**15), 2**15, 13).to(torch.int16)
    bits[:2] = torch.tensor([0, -(2**15)])
    numbers = bits.view(dtype)
    cam = numbers[numbers.isfinite()].view(1, 1, -1)
    walked = random_walk(cam, torch.zeros_like(cam), radius=2, steps=0)
    assert torch.equal(walked.view(torch.int16), cam.view(torch.int16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision(dtype: torch.dtype) -> None:
    cam, boundary = (t.to(dtype) for t in maps(2, k=3, h=9, w=12, dtype=torch.float32))
    grad = torch.randn(2, 3, 9, 12).to(dtype)
    single = gradients(cam.float(), boundary.float(), grad.float())
    for actual, expected in zip(gradients(cam, boundary, grad), single, strict=True):
        assert torch.equal(actual, expected.to(dtype))
    alone = cam.detach().requires_grad_()
    (of_cam,) = torch.autograd.grad(random_walk(alone, boundary), alone, grad)
    single_alone = cam.float().requires_grad_()
    (expected,) = torch.autograd.grad(random_walk(single_alone, boundary.float()), single_alone, grad.float())
    assert torch.equal(of_cam, expected.to(dtype))


# --- gradients -------------------------------------------------------------------------------------------


@SINGLE_AND_DOUBLE
@pytest.mark.parametrize(
    ("n", "k", "h", "w"), [(1, 1, 1, 1), (2, 1, 1, 9), (1, 2, 9, 1), (1, 5, 9, 34), (2, 3, 17, 11)]
)
@pytest.mark.parametrize("radius", [2, 5, 15])
def test_gradients(n: int, k: int, h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    cam, boundary = maps(n, k=k, h=h, w=w, dtype=dtype)
    grad = torch.randn_like(cam)
    for options in ({"steps": 4}, {"steps": 3, "method": "power"}):
        expected = by_cpu(gradients, cam, boundary, grad, radius=radius, **options)
        for a, e in zip(gradients(cam, boundary, grad, radius=radius, **options), expected, strict=True):
            close(a.cpu(), e)


@pytest.mark.parametrize("height", [24 * 8, 24 * 8 + 1])
def test_gradients_of_one_launch_for_all_steps_or_one_for_each(height: int) -> None:
    cam, boundary = maps(k=2, h=height, w=6, dtype=torch.float64)
    grad = torch.randn_like(cam)
    expected = by_cpu(gradients, cam, boundary, grad, radius=3, steps=3)
    for a, e in zip(gradients(cam, boundary, grad, radius=3, steps=3), expected, strict=True):
        close(a.cpu(), e)


# --- determinism and values ------------------------------------------------------------------------------


def test_two_runs_are_bitwise_equal(device: str) -> None:
    h, w = (20, 35) if device == "cuda-host" else (94, 125)
    cam, boundary = maps(2, k=3, h=h, w=w, dtype=torch.float32)
    grad = torch.randn_like(cam)
    runs = [(random_walk(cam, boundary), *gradients(cam, boundary, grad, steps=4)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, -1e-3, 1.5])
@pytest.mark.parametrize("which", ["cam", "boundary"])
def test_a_bad_value_stays_in_its_image(which: str, value: float) -> None:
    if which == "cam" and abs(value) <= 2:
        pytest.skip("a good value of a cam")
    cam, boundary = maps(3, k=2, h=9, w=14, dtype=torch.float32)
    grad = torch.randn_like(cam)
    expected = (random_walk(cam, boundary, steps=5), *gradients(cam, boundary, grad, steps=5))
    (cam if which == "cam" else boundary)[1, 0, 3, 4] = value
    found = (random_walk(cam, boundary, steps=5), *gradients(cam, boundary, grad, steps=5))
    for f, e in zip(found, expected, strict=True):
        assert torch.equal(f[[0, 2]], e[[0, 2]])
    assert found[0][1].isnan().any()
    assert found[2][1].isnan().any()


def test_a_bad_boundary_of_a_single_pixel() -> None:
    assert random_walk(torch.ones(1, 1, 1), torch.full((1, 1, 1), 2.0)).isnan().all()


def test_good_values_pass_the_look() -> None:
    cam, boundary = maps(2, k=2, h=5, w=6, dtype=torch.float32)
    expected = random_walk(cam, boundary)
    with wsss_fast.check_values(True):
        assert torch.equal(random_walk(cam, boundary), expected)
        assert random_walk(torch.rand(0, 2, 5, 6), torch.rand(0, 1, 5, 6)).shape == (0, 2, 5, 6)
