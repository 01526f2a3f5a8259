from __future__ import annotations

import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, gradcheck, on_device, traced
from torch import Tensor

import wsss_fast
from wsss_fast.reference import path_affinity as reference

pytestmark = pytest.mark.usefixtures("device")

# h, w, radius: the smallest maps a radius allows, W != H, one row or column of results, many bands.
SHAPES = [(2, 3, 2), (5, 9, 5), (5, 30, 5), (40, 9, 5), (13, 21, 4), (70, 23, 3), (16, 33, 10), (20, 29, 15)]


def brute_force(boundary: Tensor, radius: int) -> Tensor:
    """[h,w] -> [P,h',w'] by walking every path, pixel by pixel."""
    h, w = boundary.shape
    reach = radius - 1
    offsets = [(0, dx) for dx in range(1, radius)]
    offsets += [
        (dy, dx) for dy in range(1, radius) for dx in range(-reach, radius) if dy**2 + dx**2 < radius**2
    ]
    result = torch.empty(len(offsets), h - reach, w - 2 * reach, dtype=boundary.dtype)
    for p, (dy, dx) in enumerate(offsets):
        for y in range(h - reach):
            for x in range(w - 2 * reach):
                largest = 0.0
                for j in range(dy + 1):
                    for i in range(min(dx, 0), max(dx, 0) + 1):
                        # Distance of (j, i) from the line to (dy, dx) below one pixel.
                        if abs(dy * i - dx * j) < (dy * dy + dx * dx) ** 0.5 - 1e-9:
                            largest = max(largest, boundary[y + j, x + reach + i].item())
                result[p, y, x] = 1 - largest
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w", "radius"), SHAPES)
def test_agrees_with_reference(h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    boundary = torch.rand(3, 1, h, w, dtype=dtype)
    actual = wsss_fast.path_affinity(boundary, radius)
    assert actual.dtype == dtype
    close(actual, reference.path_affinity(boundary, radius))
    close(actual, reference.path_affinity_by_slices(boundary, radius))


@pytest.mark.parametrize(("h", "w", "radius"), [(2, 3, 2), (5, 9, 3), (6, 11, 5), (8, 7, 4)])
def test_agrees_with_brute_force(h: int, w: int, radius: int) -> None:
    boundary = torch.rand(1, h, w)
    close(wsss_fast.path_affinity(boundary, radius), brute_force(boundary[0], radius))


@pytest.mark.parametrize("columns", [*range(1, 20), 31, 32, 33, 39, 40, 41, 63, 71, 104, 107])
def test_rows_of_any_width(columns: int) -> None:
    # Loops take blocks of a row, and its end in several ways.
    boundary = torch.rand(1, 1, 5, columns + 4, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        actual = wsss_fast.path_affinity(boundary.to(dtype), 3)
        close(actual, reference.path_affinity_by_slices(boundary.to(dtype), 3))
    boundary.requires_grad_()
    weight = torch.randn(1, 12, 3, columns, dtype=torch.float64)
    (actual,) = torch.autograd.grad(wsss_fast.path_affinity(boundary, 3), boundary, weight)
    (expected,) = torch.autograd.grad(reference.path_affinity_by_slices(boundary, 3), boundary, weight)
    close(actual, expected)


@cpu_only(reason="many graphs of one op; test_path_affinity_cuda.py has the radius")
def test_largest_radius() -> None:
    # One pixel with all its neighbours; a sample of them, since the reference is slow here.
    boundary = torch.rand(1, 1, 64, 127, dtype=torch.float64, requires_grad=True)
    affinity = wsss_fast.path_affinity(boundary, 64)
    assert affinity.shape == (1, 6424, 1, 1)
    for p in range(0, 6424, 53):
        dy, dx = reference.path_offsets(64)[p]
        pixels = [(y, 63 + x) for y, x in reference.path_pixels(dy, dx)]
        values = torch.stack([boundary[0, 0, y, x] for y, x in pixels]).detach()
        assert affinity[0, p, 0, 0] == 1 - values.max()
        if p % 5 == 0:
            (grad,) = torch.autograd.grad(affinity[0, p, 0, 0], boundary, retain_graph=True)
            assert grad[0, 0].nonzero().tolist() == [list(pixels[int(values.argmax())])]
            assert grad.sum() == -1


def test_offsets() -> None:
    assert wsss_fast.path_offsets(3).tolist() == [
        [0, 1], [0, 2],
        [1, -2], [1, -1], [1, 0], [1, 1], [1, 2],
        [2, -2], [2, -1], [2, 0], [2, 1], [2, 2],
    ]  # fmt: skip
    assert [len(wsss_fast.path_offsets(radius)) for radius in (2, 5, 10)] == [4, 34, 152]
    for radius in (2, 5, 10, 15, 64):
        offsets = wsss_fast.path_offsets(radius)
        assert offsets.dtype == torch.int64
        assert offsets.tolist() == [list(offset) for offset in reference.path_offsets(radius)]


@pytest.mark.parametrize(("h", "w", "radius"), SHAPES)
def test_gradient_agrees_with_reference(h: int, w: int, radius: int) -> None:
    boundary = torch.rand(2, 1, h, w, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(wsss_fast.path_affinity(boundary.detach(), radius))
    (actual,) = torch.autograd.grad(wsss_fast.path_affinity(boundary, radius), boundary, weight)
    (expected,) = torch.autograd.grad(reference.path_affinity(boundary, radius), boundary, weight)
    close(actual, expected)


@pytest.mark.parametrize(("h", "w", "radius"), [(2, 3, 2), (6, 9, 3), (7, 13, 5)])
def test_gradcheck(h: int, w: int, radius: int) -> None:
    # Distinct values, far enough apart that no step of the finite differences changes a maximum.
    values = (torch.randperm(2 * h * w, dtype=torch.float64) + 0.5) / (2 * h * w)
    boundary = values.view(2, 1, h, w).requires_grad_()
    assert gradcheck(lambda b: wsss_fast.path_affinity(b, radius), boundary)


def test_ties_go_to_the_first_pixel_of_the_path() -> None:
    radius = 4
    boundary = torch.full((1, 1, 9, 12), 0.5, dtype=torch.float64, requires_grad=True)
    affinity = wsss_fast.path_affinity(boundary, radius)
    weight = torch.randn_like(affinity)
    (actual,) = torch.autograd.grad(affinity, boundary, weight)
    expected = torch.zeros(9, 12, dtype=torch.float64)
    for p, (dy, dx) in enumerate(reference.path_offsets(radius)):
        y, x = reference.path_pixels(dy, dx)[0]
        expected[y : y + 6, 3 + x : 3 + x + 6] -= weight[0, p]
    close(actual[0, 0], expected)
    # All of the gradient is handed out, and to no pixel but one.
    close(actual.sum(), -weight.sum())


@pytest.mark.parametrize("radius", [2, 5, 10, 13])
def test_ties_agree_with_reference(radius: int) -> None:
    # Where several pixels hold the maximum, the published form takes the first of them too.
    boundary = torch.randint(4, (2, 1, 40, 45)).double() / 3
    boundary[1] = 0.5
    boundary.requires_grad_()
    affinity = wsss_fast.path_affinity(boundary, radius)
    weight = torch.randn_like(affinity)
    (actual,) = torch.autograd.grad(affinity, boundary, weight)
    (expected,) = torch.autograd.grad(reference.path_affinity(boundary, radius), boundary, weight)
    close(actual, expected)


@cpu_only(reason="about the CPU's threads")
@pytest.mark.parametrize("radius", [3, 10])
def test_same_bits_at_any_thread_count(radius: int, threads) -> None:
    # Values from a short list: plenty of ties.
    boundary = (torch.randint(5, (3, 1, 75, 60)) / 4).requires_grad_()
    results = []
    for n in (1, 2, 4, 2):
        threads(n)
        affinity = wsss_fast.path_affinity(boundary, radius)
        weight = torch.sin(torch.arange(affinity.numel(), dtype=torch.float32)).view_as(affinity)
        results.append((affinity.detach(), *torch.autograd.grad(affinity, boundary, weight)))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])


def test_single_and_batched_agree_bitwise() -> None:
    boundary = torch.rand(4, 1, 20, 30)
    batch = wsss_fast.path_affinity(boundary, 5)
    assert batch.shape == (4, 34, 16, 22)
    for n in range(4):
        assert torch.equal(wsss_fast.path_affinity(boundary[n], 5), batch[n])


def test_empty_batch() -> None:
    boundary = torch.rand(0, 1, 8, 9, requires_grad=True)
    affinity = wsss_fast.path_affinity(boundary, 3)
    assert affinity.shape == (0, 12, 6, 5)
    affinity.sum().backward()
    assert boundary.grad is not None
    assert boundary.grad.shape == boundary.shape


def test_non_contiguous_input_and_gradient() -> None:
    boundary = torch.rand(2, 1, 40, 26, dtype=torch.float64).transpose(2, 3)[:, :, ::2, ::2].requires_grad_()
    assert not boundary.is_contiguous()
    affinity = wsss_fast.path_affinity(boundary, 4)
    close(affinity, reference.path_affinity(boundary, 4))
    # An expanded gradient, with stride 0.
    (actual,) = torch.autograd.grad(affinity.sum(), boundary)
    (expected,) = torch.autograd.grad(reference.path_affinity(boundary, 4).sum(), boundary)
    close(actual, expected)


def test_opcheck() -> None:
    boundary = torch.rand(2, 1, 9, 12, dtype=torch.float64)
    op = torch.ops.wsss_fast
    torch.library.opcheck(op.path_affinity.default, (boundary.clone().requires_grad_(), 4))
    grad = torch.rand_like(wsss_fast.path_affinity(boundary, 4))
    torch.library.opcheck(op.path_affinity_backward.default, (grad, boundary, 4))


@traced
def test_compiles_without_graph_break() -> None:
    boundary = torch.rand(2, 1, 9, 12, requires_grad=True)

    def loss(b: Tensor) -> Tensor:
        return (wsss_fast.path_affinity(b, 4) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close(compiled(boundary), loss(boundary))
    close(
        torch.autograd.grad(compiled(boundary), boundary)[0], torch.autograd.grad(loss(boundary), boundary)[0]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_takes_half_precision_as_float32(dtype: torch.dtype) -> None:
    boundary = torch.rand(1, 1, 9, 12).to(dtype)
    with autocast():
        actual = wsss_fast.path_affinity(boundary, 4)
    assert torch.equal(actual, wsss_fast.path_affinity(boundary.float(), 4))


def test_second_gradient_is_refused() -> None:
    boundary = torch.rand(1, 1, 9, 12, requires_grad=True)
    affinity = wsss_fast.path_affinity(boundary, 4)
    (grad,) = torch.autograd.grad((affinity**2).sum(), boundary, create_graph=True)
    with pytest.raises(NotImplementedError, match="path_affinity"):
        grad.sum().backward()


def at(value: float, *index: int) -> Tensor:
    boundary = torch.rand(2, 1, 8, 9)
    boundary[index] = value
    return boundary


@pytest.mark.parametrize(
    ("boundary", "radius", "error", "message"),
    [
        (torch.rand(8, 9), 3, ValueError, r"boundary: expected \[N,1,h,w\] or .*, got \[8,9\] float32"),
        (torch.rand(2, 3, 8, 9), 3, ValueError, r"boundary: expected .*one channel, got \[2,3,8,9\]"),
        pytest.param(
            torch.rand(1, 1, 8, 9).half(),
            3,
            TypeError,
            r"boundary: expected .*float32.*got .*float16",
            marks=cpu_only(reason="CUDA kernels take half precision"),
        ),
        (torch.zeros(1, 1, 8, 9, dtype=torch.int64), 3, TypeError, r"boundary: expected .*got .*int64"),
        ([[0.5]], 3, TypeError, "boundary: expected a tensor .*got a list"),
        (torch.rand(1, 1, 8, 9, device="meta"), 3, ValueError, "boundary: expected a CPU .*, got .*meta"),
        (torch.rand(1, 1, 4, 9), 5, ValueError, r"boundary: expected h >= 5 and w >= 9.*\[1,1,4,9\]"),
        (torch.rand(1, 1, 5, 8), 5, ValueError, r"boundary: expected h >= 5 and w >= 9.*\[1,1,5,8\]"),
        (torch.rand(1, 1, 8, 9), 1, ValueError, r"radius: expected an integer in \[2, 64\], got 1"),
        (torch.rand(1, 1, 8, 9), 65, ValueError, r"radius: expected an integer in \[2, 64\], got 65"),
        (torch.rand(1, 1, 8, 9), 3.0, TypeError, "radius: expected an integer .*got 3.0"),
        (at(float("nan"), 1, 0, 7, 8), 3, ValueError, r"boundary: .* in \[0,1\], got nan at \[1,0,7,8\]"),
        (at(float("inf"), 0, 0, 0, 0), 3, ValueError, r"boundary: .* in \[0,1\], got inf at \[0,0,0,0\]"),
        (at(-0.5, 0, 0, 3, 4), 3, ValueError, r"boundary: .* in \[0,1\], got -0.5 at \[0,0,3,4\]"),
        (at(1.25, 1, 0, 2, 1), 3, ValueError, r"boundary: .* in \[0,1\], got 1.25 at \[1,0,2,1\]"),
    ],
)
def test_bad_input(boundary: Tensor, radius: int, error: type[Exception], message: str) -> None:
    with wsss_fast.check_values(True), pytest.raises(error, match=message):
        wsss_fast.path_affinity(on_device(boundary), radius)


@pytest.mark.parametrize(
    ("radius", "error"), [(0, ValueError), (65, ValueError), (2.5, TypeError), ("5", TypeError)]
)
def test_offsets_of_bad_radius(radius: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="radius: expected an integer"):
        wsss_fast.path_offsets(radius)
