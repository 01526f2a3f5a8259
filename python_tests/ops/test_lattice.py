"""PermutohedralLattice: against a brute-force lattice, against the reference, and its properties."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from conftest import close
from dense_filter import dense_filter
from devices import autocast, cpu_only, gradcheck, on_device, traced
from torch import Tensor

import wsss_fast
from wsss_fast.reference.crf import PermutohedralLattice as Reference

pytestmark = pytest.mark.usefixtures("device")


def matrix(features: Tensor) -> Tensor:
    """The filter of features [d,P] as a matrix, by filtering unit vectors."""
    return (
        wsss_fast.PermutohedralLattice(features).filter(torch.eye(features.shape[1], dtype=features.dtype)).T
    )


@pytest.mark.parametrize("dims", range(1, 17))
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_brute_force(dims: int, spread: float) -> None:
    features = torch.randn(dims, 40, dtype=torch.float64) * spread
    expected = dense_filter(features)
    close(matrix(features), expected)
    # float32 places points a rounding error away: the weights move by as much.
    close(matrix(features.float()), expected, atol=1e-4)


@pytest.mark.parametrize("dims", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reference(dims: int, dtype: torch.dtype) -> None:
    features = torch.randn(dims, 120, dtype=dtype)
    for channels in (1, 2, 3, 4, 21, 201):
        values = torch.randn(channels, 120, dtype=dtype)
        expected = Reference(features).filter(values)
        close(wsss_fast.PermutohedralLattice(features).filter(values), expected)


def test_ties_are_broken_as_in_the_reference() -> None:
    # Integer features in one dimension of scale 2*sqrt(1/3): no ties; the origin itself is one in any d.
    for dims in range(1, 17):
        features = torch.zeros(dims, 3)
        features[:, 1] = 1e-3
        close(
            wsss_fast.PermutohedralLattice(features).filter(torch.eye(3)),
            Reference(features).filter(torch.eye(3)),
        )


def test_approximates_a_gaussian() -> None:
    # The lattice stands for exp(-|f|^2 / 2) up to a factor; published accuracy is a few per cent of the peak.
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(51.0), indexing="ij")
    features = torch.stack([x, y]) / 6
    impulse = torch.zeros(1, 41, 51)
    impulse[0, 20, 25] = 1
    out = wsss_fast.PermutohedralLattice(features).filter(impulse)[0]
    truth = torch.exp(-((features - features[:, 20:21, 25:26]) ** 2).sum(0) / 2)
    out = out / out.sum() * truth.sum()
    assert (out - truth).abs().max() < 0.12
    assert (out - truth).abs().mean() < 0.01


@pytest.mark.parametrize(
    ("features", "values"),
    [
        ((2, 9), (3, 9)),
        ((3, 4, 5), (2, 4, 5)),
        ((2, 3, 4, 5), (2, 6, 4, 5)),
        ((2, 4, 2, 3, 5), (2, 1, 2, 3, 5)),
        ((0, 3, 4, 5), (0, 6, 4, 5)),
        ((2, 3, 4, 5), (2, 0, 4, 5)),
        ((2, 0), (3, 0)),
    ],
)
def test_shapes(features: tuple[int, ...], values: tuple[int, ...]) -> None:
    f, v = torch.randn(features), torch.randn(values)
    lattice = wsss_fast.PermutohedralLattice(f)
    out = lattice.filter(v)
    assert out.shape == v.shape
    assert out.dtype == v.dtype
    if len(features) <= 3:
        f, v, out = f[None], v[None], out[None]
    assert lattice.dims == f.shape[1]
    assert len(lattice.vertices) == f.shape[0]
    for n in range(f.shape[0]):
        reference = Reference(f[n].flatten(1))
        close(out[n].flatten(1), reference.filter(v[n].flatten(1)))
        if reference.points:
            assert lattice.vertices[n] == reference.vertices


def test_not_contiguous() -> None:
    features, values = torch.randn(7, 9, 3).permute(2, 1, 0), torch.randn(7, 9, 5).permute(2, 1, 0)
    plain = wsss_fast.PermutohedralLattice(features.contiguous()).filter(values.contiguous())
    assert torch.equal(wsss_fast.PermutohedralLattice(features).filter(values), plain)


def test_keys_wider_than_a_word() -> None:
    # 16 coordinates of 2,000 steps and more are 180 bits; far apart points have lattices of their own.
    near = torch.randn(16, 20, dtype=torch.float64)
    far = torch.zeros(16, 1, dtype=torch.float64).fill_(1500)
    both = torch.cat([near, near + far, near - far], dim=1)
    result = matrix(both)
    block = matrix(near)
    close(result[:20, :20], block)
    assert torch.equal(result[:20, 20:], torch.zeros(20, 40, dtype=torch.float64))
    assert torch.equal(result[20:40, 40:], torch.zeros(20, 20, dtype=torch.float64))
    close(result, dense_filter(both))


def test_a_filter_is_symmetric_up_to_the_order_of_axes() -> None:
    features = torch.randn(4, 60, dtype=torch.float64)
    values = torch.randn(2, 60, dtype=torch.float64, requires_grad=True)
    dense = dense_filter(features)
    lattice = wsss_fast.PermutohedralLattice(features)
    (grad,) = torch.autograd.grad(lattice.filter(values), values, torch.eye(60, dtype=torch.float64)[:2])
    close(grad, dense[:2])


@pytest.mark.parametrize("dims", [1, 2, 5, 16])
def test_gradcheck(dims: int) -> None:
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, dims, 3, 4, dtype=torch.float64))
    values = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lattice.filter, values)
    assert gradcheck(lattice.filter, values, second=True)


def test_infinite_gradients_pass() -> None:
    # Loss scaling finds its scale by them.
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, 6))
    values = torch.randn(1, 6, requires_grad=True)
    lattice.filter(values).backward(torch.full((1, 6), torch.inf))
    assert not values.grad.isfinite().all()


@cpu_only(reason="threads are the CPU's")
def test_threads_and_runs_are_bitwise_equal(threads: Callable[[int], None]) -> None:
    # More points than a band holds, so that bands share vertices.
    y, x = torch.meshgrid(torch.arange(260.0), torch.arange(320.0), indexing="ij")
    features = torch.cat([torch.stack([x, y]) / 40, torch.rand(3, 260, 320) * 3])
    values = torch.randn(5, 260, 320)
    results = []
    for count in (1, 2, 4, 4):
        threads(count)
        lattice = wsss_fast.PermutohedralLattice(features)
        results.append((lattice.filter(values), lattice._lattices[0]))
    for out, packed in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(packed, results[0][1])
    close(results[0][0].flatten(1), Reference(features.flatten(1)).filter(values.flatten(1)))


def test_vertices_are_numbered_as_points_touch_them() -> None:
    # Two far points in one dimension touch two vertices each.
    lattice = wsss_fast.PermutohedralLattice(torch.tensor([[0.2, 0.2, 50.0]]))
    assert lattice.vertices == [4]


@traced
def test_opcheck() -> None:
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, 3, 4, 5))
    for grad in (False, True):
        values = torch.randn(2, 3, 20, requires_grad=grad)
        torch.library.opcheck(
            torch.ops.wsss_fast.lattice_filter.default, (lattice._lattices, values, 3, False, True)
        )


@traced
def test_compile() -> None:
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, 30))
    values = torch.randn(3, 30, requires_grad=True)

    def loss(v: Tensor) -> Tensor:
        return (lattice.filter(v * 2) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close(compiled(values), loss(values))
    (grad,) = torch.autograd.grad(compiled(values), values)
    (expected,) = torch.autograd.grad(loss(values), values)
    close(grad, expected)


@traced
def test_opcheck_of_building() -> None:
    torch.library.opcheck(torch.ops.wsss_fast.lattice_build.default, (torch.randn(1, 2, 20), None))


@traced
@pytest.mark.usefixtures("sizes_from_data")
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_with_the_lattice_built_inside(dynamic: bool | None) -> None:
    def loss(f: Tensor, v: Tensor) -> Tensor:
        return (wsss_fast.PermutohedralLattice(f * 2).filter(v * 2) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    values = torch.randn(2, 3, 5, 6, requires_grad=True)
    for scale in (0.5, 3.0):  # fewer and more vertices
        features = torch.randn(2, 4, 5, 6) * scale
        close(compiled(features, values), loss(features, values))
        (grad,) = torch.autograd.grad(compiled(features, values), values)
        (expected,) = torch.autograd.grad(loss(features, values), values)
        close(grad, expected)


def test_autocast() -> None:
    features, values = torch.randn(2, 30).bfloat16(), torch.randn(3, 30).half()
    with autocast():
        out = wsss_fast.PermutohedralLattice(features).filter(values)
    assert out.dtype == torch.float32
    close(out, wsss_fast.PermutohedralLattice(features.float()).filter(values.float()))


GOOD = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        (None, TypeError, ["features", "a tensor", "NoneType"]),
        (torch.zeros(3), ValueError, ["features", "[d,P]", "[3] float32"]),
        (torch.zeros(1, 2, 3, 4, 5, 6), ValueError, ["features", "[1,2,3,4,5,6]"]),
        (GOOD.int(), TypeError, ["features", "float32", "int32"]),
        (GOOD.half(), TypeError, ["features", "float32", "float16"]),
        (torch.zeros(17, 9), ValueError, ["features", "[1, 16]", "[17,9]"]),
        (torch.zeros(0, 9), ValueError, ["features", "[1, 16]", "[0,9]"]),
        (GOOD.to("meta"), ValueError, ["features", "CPU", "meta"]),
        (GOOD.clone().requires_grad_(), ValueError, ["features", "requires_grad", "detach"]),
        (torch.tensor([[0.0, torch.nan]]), ValueError, ["features", "finite", "nan", "point 1"]),
        (torch.tensor([[0.0], [-torch.inf]]), ValueError, ["features", "finite", "-inf", "feature 1"]),
        (torch.tensor([[0.0, 1e7]]), ValueError, ["features", "float32", "deviations"]),
        (torch.tensor([[0.0, 1e12]]).double(), ValueError, ["features", "float64", "deviations"]),
    ],
)
def test_bad_features(features: object, error: type[Exception], words: list[str]) -> None:
    features = on_device(features)
    with wsss_fast.check_values(True), pytest.raises(error) as caught:
        wsss_fast.PermutohedralLattice(features)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([1.0], TypeError, ["values", "a tensor", "list"]),
        (torch.zeros(2, 4, 5), ValueError, ["values", "[2,C,4,5]", "[2,4,5]"]),
        (torch.zeros(3, 1, 4, 5), ValueError, ["values", "[2,C,4,5]", "[3,1,4,5]"]),
        (torch.zeros(2, 1, 5, 4), ValueError, ["values", "[2,C,4,5]", "[2,1,5,4]"]),
        (torch.zeros(2, 1, 4, 5).double(), TypeError, ["values", "float32", "float64"]),
        (torch.zeros(2, 1, 4, 5, device="meta"), ValueError, ["values", "CPU", "meta"]),
        (torch.full((2, 1, 4, 5), torch.nan), ValueError, ["values", "finite", "nan", "channel 0"]),
        (torch.full((2, 1, 4, 5), -torch.inf), ValueError, ["values", "finite", "-inf", "point 0"]),
    ],
)
def test_bad_values(values: object, error: type[Exception], words: list[str]) -> None:
    lattice, values = wsss_fast.PermutohedralLattice(on_device(GOOD)), on_device(values)
    with wsss_fast.check_values(True), pytest.raises(error) as caught:
        lattice.filter(values)
    for word in words:
        assert word in str(caught.value)


def test_a_bad_value_is_named_where_it_is(device: str) -> None:
    points = 40000 if device != "cuda-host" else 400
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, points))
    for channel, point in itertools.product((0, 29), (5, points - 1)):
        values = torch.zeros(30, points)
        values[channel, point] = torch.nan
        with (
            wsss_fast.check_values(True),
            pytest.raises(ValueError, match=f"channel {channel} of point {point}"),
        ):
            lattice.filter(values)


@pytest.mark.parametrize(
    ("capacity", "error", "words"),
    [
        (0, ValueError, ["capacity", ">= 1", "0"]),
        (2.0, TypeError, ["capacity", "integer", "2.0"]),
        (True, TypeError, ["capacity", "integer", "True"]),
    ],
)
def test_bad_capacity(capacity: object, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        wsss_fast.PermutohedralLattice(on_device(GOOD), capacity=capacity)
    for word in words:
        assert word in str(caught.value)


@cpu_only(reason="CUDA kernels need it: test_lattice_cuda.py")
def test_the_cpu_needs_no_capacity() -> None:
    features, values = torch.randn(2, 50), torch.randn(3, 50)
    lattice = wsss_fast.PermutohedralLattice(features, capacity=1)
    assert torch.equal(lattice.filter(values), wsss_fast.PermutohedralLattice(features).filter(values))
