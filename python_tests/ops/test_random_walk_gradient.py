"""The gradient of random_walk, against finite differences and against autograd of the dense matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import close
from devices import cpu_only, gradcheck, not_on_host, traced
from torch import Tensor

import wsss_fast
from wsss_fast.reference import random_walk as reference

pytestmark = pytest.mark.usefixtures("device")


def maps(*leading: int, k: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Maps and boundaries that require gradients."""
    cam = torch.rand(*leading, k, h, w, dtype=dtype)
    boundary = torch.rand(*leading, 1, h, w, dtype=dtype) * 0.9
    return cam.requires_grad_(), boundary.requires_grad_()


def gradients(cam: Tensor, boundary: Tensor, grad: Tensor, **options: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(wsss_fast.random_walk(cam, boundary, **options), (cam, boundary), grad)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 6, 7), {"radius": 3, "exp_times": 5}),
        ((1, 1, 9), {"radius": 2, "beta": 3}),
        ((1, 9, 1), {"radius": 4, "beta": 2}),
        ((3, 8, 5), {"radius": 5, "beta": 2.5, "steps": 7}),
        ((2, 5, 6), {"radius": 4, "beta": 1, "steps": 12, "method": "power"}),
        ((2, 4, 5), {"radius": 3, "beta": 0.5, "steps": 5}),
        ((1, 4, 4), {"radius": 3, "beta": 0, "steps": 3}),
        ((2, 3, 5), {"steps": 0}),
        ((2, 3, 5), {"steps": 1}),
        ((2, 3, 5), {"steps": 2}),
        ((1, 1, 1), {"steps": 9}),
    ],
)
@pytest.mark.parametrize("tol", [1e-14, 1e-2])
def test_gradcheck(shape: tuple[int, int, int], options: dict[str, Any], tol: float) -> None:
    k, h, w = shape
    assert gradcheck(lambda c, b: wsss_fast.random_walk(c, b, tol=tol, **options), maps(k=k, h=h, w=w))


@pytest.mark.parametrize("radius", [2, 5, *(pytest.param(r, marks=not_on_host) for r in (9, 15))])
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_agrees_with_autograd_of_the_dense_matrix(radius: int, method: str) -> None:
    # More rows than a band of path gradients, widths of no whole register.
    cam, boundary = maps(k=5, h=41, w=19)
    grad = torch.randn_like(cam)
    expected = torch.autograd.grad(reference.random_walk(cam, boundary, radius, 10, 6), (cam, boundary), grad)
    actual = gradients(cam, boundary, grad, radius=radius, exp_times=6, method=method, tol=1e-14)
    for a, e in zip(actual, expected, strict=True):
        close(a, e)


@not_on_host
@pytest.mark.parametrize("exp_times", [8, 12])
def test_float32_is_near_float64(exp_times: int) -> None:
    cam, boundary = maps(k=4, h=40, w=50, dtype=torch.float32)
    grad = torch.randn_like(cam)
    actual = gradients(cam, boundary, grad, exp_times=exp_times, tol=1e-8)
    double = [t.detach().double().requires_grad_() for t in (cam, boundary)]
    expected = gradients(*double, grad.double(), exp_times=exp_times, tol=1e-14)
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).abs().max() <= 2e-4 * e.abs().max()


def test_gradient_of_cam_alone_is_the_same() -> None:
    cam, boundary = maps(2, k=3, h=14, w=17)
    grad = torch.randn_like(cam)
    both = gradients(cam, boundary, grad)
    (alone,) = torch.autograd.grad(wsss_fast.random_walk(cam, boundary.detach()), cam, grad)
    close(alone, both[0])
    (other,) = torch.autograd.grad(wsss_fast.random_walk(cam.detach(), boundary), boundary, grad)
    assert torch.equal(other, both[1])


def test_ties_give_the_gradient_to_the_first_pixel_of_a_path() -> None:
    # A single path: two pixels, equal boundaries. cam at the left flows to the right by w / (1 + w).
    boundary = torch.full((1, 1, 2), 0.25, dtype=torch.float64, requires_grad=True)
    cam = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    out = wsss_fast.random_walk(cam, boundary, radius=2, beta=1, steps=1)
    out[0, 0, 1].backward()
    w = 0.75
    # d/db of (1 - b_left) w / (1 + w): the seed's own, and the path's at the left pixel.
    close(boundary.grad, torch.tensor([[[-w / (1 + w) - w / (1 + w) ** 2, 0.0]]], dtype=torch.float64))


@pytest.mark.parametrize("beta", [0.5, 1, 10])
def test_walls_have_finite_gradients(beta: float) -> None:
    cam, boundary = maps(k=2, h=12, w=20)
    with torch.no_grad():
        boundary[:, :, 10] = 1
    for grad in gradients(cam, boundary, torch.randn_like(cam), beta=beta):
        assert grad.isfinite().all()


@cpu_only(reason="about threads of the CPU")
def test_same_bits_at_any_thread_count(threads) -> None:
    cam, boundary = maps(3, k=5, h=60, w=37, dtype=torch.float32)
    grad = torch.randn_like(cam)
    threads(1)
    expected = gradients(cam, boundary, grad)
    (expected_alone,) = torch.autograd.grad(wsss_fast.random_walk(cam, boundary.detach()), cam, grad)
    for n in (2, 4, 1):
        threads(n)
        assert all(map(torch.equal, gradients(cam, boundary, grad), expected))
        (alone,) = torch.autograd.grad(wsss_fast.random_walk(cam, boundary.detach()), cam, grad)
        assert torch.equal(alone, expected_alone)


def test_lists_and_batches_have_the_gradients_of_their_images() -> None:
    first, second = maps(2, k=3, h=9, w=12), maps(k=1, h=20, w=7)
    inputs = [first[0], second[0], first[1], second[1]]
    outs = wsss_fast.random_walk([first[0], second[0]], [first[1], second[1]])
    grads = [torch.randn_like(o) for o in outs]
    actual = torch.autograd.grad(outs, inputs, grads)
    for n in range(2):
        image = (first[0][n].detach().requires_grad_(), first[1][n].detach().requires_grad_())
        alone = gradients(*image, grads[0][n])
        assert torch.equal(actual[0][n], alone[0])
        assert torch.equal(actual[2][n], alone[1])
    alone = gradients(*second, grads[1])
    assert torch.equal(actual[1], alone[0])
    assert torch.equal(actual[3], alone[1])


def test_non_contiguous_gradient() -> None:
    cam, boundary = maps(k=3, h=9, w=12)
    grad = torch.randn(3, 12, 9, dtype=torch.float64).transpose(1, 2)
    assert not grad.is_contiguous()
    expected = gradients(cam, boundary, grad.contiguous())
    assert all(map(torch.equal, gradients(cam, boundary, grad), expected))


def test_empty() -> None:
    for n, k in ((0, 2), (2, 0)):
        cam = torch.rand(n, k, 4, 5, requires_grad=True)
        boundary = torch.rand(n, 1, 4, 5, requires_grad=True)
        grads = gradients(cam, boundary, torch.rand(n, k, 4, 5))
        assert grads[0].shape == cam.shape
        assert grads[1].shape == boundary.shape
        assert (grads[1] == 0).all()


@traced
def test_opcheck() -> None:
    cam, boundary = maps(2, k=3, h=9, w=12)
    options = (4, 10.0, 16, "chebyshev", 1e-5)
    op = torch.ops.wsss_fast
    torch.library.opcheck(op.random_walk.default, (cam, boundary, *options))
    torch.library.opcheck(op.random_walk.default, (cam, boundary.detach(), *options))
    cam, boundary, grad = cam.detach(), boundary.detach(), torch.randn(2, 3, 9, 12, dtype=torch.float64)
    torch.library.opcheck(op.random_walk_backward.default, (grad, cam, boundary, *options))
    torch.library.opcheck(op.random_walk_backward_cam.default, (grad, boundary, *options))


@traced
def test_compiles_without_graph_break() -> None:
    cam, boundary = maps(2, k=3, h=9, w=12, dtype=torch.float32)
    walk = torch.compile(lambda c, b: wsss_fast.random_walk(c, b) * 2, fullgraph=True, backend="aot_eager")
    grad = torch.randn(2, 3, 9, 12)
    actual = torch.autograd.grad(walk(cam, boundary), (cam, boundary), grad)
    assert all(map(torch.equal, actual, gradients(cam, boundary, grad * 2)))


def test_the_second_gradient_is_refused() -> None:
    cam, boundary = maps(k=1, h=4, w=5)
    (grad,) = torch.autograd.grad(wsss_fast.random_walk(cam, boundary).sum(), boundary, create_graph=True)
    with pytest.raises(NotImplementedError, match="random_walk: the gradient of its gradient"):
        grad.sum().backward()


@not_on_host
def test_a_network_trains_through_the_walk() -> None:
    # A boundary is found that keeps two halves apart, from nothing but what the walk should give.
    cam = torch.zeros(2, 12, 16)
    cam[0, :, 2] = cam[1, :, 13] = 1
    target = torch.zeros(2, 12, 16)
    target[0, :, :8] = target[1, :, 8:] = 1
    logits = torch.full((1, 12, 16), -3.0, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)

    def loss() -> Tensor:
        walked = wsss_fast.random_walk(cam, logits.sigmoid(), radius=3)
        return torch.nn.functional.mse_loss(walked / (walked.sum(0, keepdim=True) + 1e-6), target)

    before = loss().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.25 * before
    walls = logits.sigmoid().mean((0, 1))
    assert walls[6:10].max() > 2 * walls[[1, 3, 12, 14]].max()
