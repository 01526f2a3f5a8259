from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, not_on_host, on_device, traced
from torch import Tensor

import wsss_fast
from wsss_fast import _C
from wsss_fast.reference import random_walk as reference

pytestmark = pytest.mark.usefixtures("device")


def brute_force(cam: Tensor, boundary: Tensor, radius: int, beta: float, exp_times: int) -> Tensor:
    """[K,h,w], [1,h,w]: the affinity of every pair of pixels, pixel by pixel, and a matrix power."""
    _, h, w = boundary.shape
    values = boundary[0].tolist()
    matrix = torch.eye(h * w, dtype=torch.float64, device="cpu")
    for source in range(h * w):
        for target in range(h * w):
            y, x = divmod(source, w)
            dy, dx = target // w - y, target % w - x
            if source == target or dy * dy + dx * dx >= radius * radius:
                continue
            path = [
                values[y + j][x + i]
                for j in range(min(dy, 0), max(dy, 0) + 1)
                for i in range(min(dx, 0), max(dx, 0) + 1)
                if (dy * i - dx * j) ** 2 < dy * dy + dx * dx
            ]
            matrix[source, target] = (1 - max(path)) ** beta
    transition = (matrix / matrix.sum(0)).to(cam.device)
    walked = (cam * (1 - boundary)).double().flatten(1) @ torch.linalg.matrix_power(transition, 2**exp_times)
    return walked.view(cam.shape)


def maps(*leading: int, k: int, h: int, w: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    cam = torch.rand(*leading, k, h, w, dtype=dtype)
    # Mostly low, with walls: what a boundary network gives.
    boundary = torch.rand(*leading, 1, h, w, dtype=dtype) ** 4
    return cam, boundary


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).abs().max() / expected.abs().max()).item()


SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (5, 8), (8, 5), (6, 17)]


@pytest.mark.parametrize("method", ["chebyshev", "power"])
@pytest.mark.parametrize(("h", "w"), SHAPES)
@pytest.mark.parametrize("radius", [2, 5, 7])
def test_agrees_with_brute_force_in_float64(h: int, w: int, radius: int, method: str) -> None:
    cam, boundary = maps(k=3, h=h, w=w, dtype=torch.float64)
    actual = wsss_fast.random_walk(cam, boundary, radius=radius, exp_times=5, method=method, tol=1e-15)
    close(actual, brute_force(cam, boundary, radius, 10, 5))


@pytest.mark.parametrize("beta", [0, 1, 2, 10, 7.5, 100])
def test_beta(beta: float) -> None:
    cam, boundary = maps(k=2, h=5, w=7, dtype=torch.float64)
    actual = wsss_fast.random_walk(cam, boundary, radius=4, beta=beta, exp_times=3, method="power")
    close(actual, brute_force(cam, boundary, 4, beta, 3))


@pytest.mark.parametrize("exp_times", range(13))
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_every_length(exp_times: int, method: str) -> None:
    cam, boundary = maps(k=2, h=6, w=7, dtype=torch.float64)
    actual = wsss_fast.random_walk(cam, boundary, radius=3, exp_times=exp_times, method=method, tol=1e-15)
    close(actual, brute_force(cam, boundary, 3, 10, exp_times))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 100, 301])
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_any_number_of_steps(steps: int, method: str) -> None:
    cam, boundary = maps(k=2, h=6, w=7, dtype=torch.float64)
    actual = wsss_fast.random_walk(cam, boundary, radius=3, steps=steps, method=method, tol=1e-15)
    matrix = reference.affinity_matrix(boundary, 3, 10).to_dense()
    power = torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    close(actual, ((cam * (1 - boundary)).flatten(1) @ power).view(cam.shape))


def test_steps_stand_in_place_of_exp_times() -> None:
    cam, boundary = maps(k=2, h=6, w=7, dtype=torch.float32)
    expected = wsss_fast.random_walk(cam, boundary, exp_times=5)
    assert torch.equal(wsss_fast.random_walk(cam, boundary, steps=32, exp_times=0), expected)


# Where a row and its margin just fill the registers, and where they just do not.
@pytest.mark.parametrize("w", [*range(7, 20), 28, 31, 32, 33, 44, 60, 61, 64])
@pytest.mark.parametrize("radius", [5, pytest.param(15, marks=not_on_host)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_width(w: int, radius: int, dtype: torch.dtype) -> None:
    cam, boundary = maps(k=7, h=7, w=w, dtype=dtype)
    actual = wsss_fast.random_walk(cam, boundary, radius=radius, tol=1e-14)
    close(actual, reference.random_walk(cam.double(), boundary.double(), radius))


@pytest.mark.parametrize("radius", range(2, 16))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_reference(radius: int, dtype: torch.dtype) -> None:
    cam, boundary = maps(k=2, h=19, w=16, dtype=dtype)
    actual = wsss_fast.random_walk(cam, boundary, radius=radius, exp_times=6, tol=1e-14)
    assert actual.dtype == dtype
    close(actual, reference.random_walk(cam.double(), boundary.double(), radius, 10, 6))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 21, 201])
def test_any_number_of_maps(k: int) -> None:
    cam, boundary = maps(k=k, h=6, w=11, dtype=torch.float64)
    actual = wsss_fast.random_walk(cam, boundary, tol=1e-15)
    close(actual, reference.random_walk(cam, boundary))


@cpu_only(reason="no device takes part")
def test_reference_ways_agree() -> None:
    cam, boundary = maps(k=2, h=12, w=9, dtype=torch.float64)
    close(reference.random_walk_sparse(cam, boundary), reference.random_walk(cam, boundary))


@pytest.mark.parametrize(
    "name",
    [
        "random_walk_32x32_C4",
        pytest.param("random_walk_64x64_C2", marks=not_on_host),
        pytest.param("random_walk_94x125_C4", marks=not_on_host),
    ],
)
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_golden(name: str, method: str, golden) -> None:
    arrays, parameters = golden(name)
    cam, boundary, truth = on_device(
        [torch.from_numpy(arrays[k]) for k in ("cam", "boundary", "out_float64")]
    )
    actual = wsss_fast.random_walk(cam, boundary, method=method, **parameters)
    assert actual.dtype == torch.float32
    assert relative_error(actual, truth) <= 1e-4
    # In float64 nothing is left but the float32 arithmetic that made the golden inputs' affinities.
    exact = wsss_fast.random_walk(cam.double(), boundary.double(), method=method, tol=1e-12, **parameters)
    assert relative_error(exact, truth) <= 1e-6


@not_on_host
def test_tolerance_bounds_the_error(golden) -> None:
    arrays, parameters = golden("random_walk_64x64_C2")
    cam, boundary = on_device([torch.from_numpy(arrays[key]).double() for key in ("cam", "boundary")])
    exact = wsss_fast.random_walk(cam, boundary, method="power", **parameters)
    for tol in (1e-2, 1e-4, 1e-6, 1e-8):
        error = (wsss_fast.random_walk(cam, boundary, tol=tol, **parameters) - exact).abs().max()
        # T is similar to a symmetric matrix: a bound on its polynomials holds up to the square root of the
        # ratio of degrees, and scaling the kept coefficients may double it.
        assert tol * 1e-4 < error < tol * cam.max() * 2 * math.sqrt(69)


@cpu_only(reason="no device takes part")
@pytest.mark.parametrize("n", [1, 2, 4, 7, 256, 1024, 4096, 2**17])
def test_chebyshev_coefficients_are_exact(n: int) -> None:
    actual = _C.chebyshev_of_power(n, 0.0)
    # Some of them for large n: exact binomials of that size are slow.
    for k in range(0, len(actual), max(1, n // 64 + n % 2 + 1)):
        # A ratio of two whole numbers, rounded once.
        exact = (1 if k == 0 else 2) * math.comb(n, (n - k) // 2) / 2**n if (n - k) % 2 == 0 else 0.0
        # Below 1e-290 doubles have fewer digits.
        assert actual[k] == pytest.approx(exact, rel=1e-11, abs=1e-290), k
    assert sum(actual) == pytest.approx(1, abs=1e-12)


@cpu_only(reason="no device takes part")
@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-5, 1e-12])
@pytest.mark.parametrize("n", [1, 2, 16, 256, 4096])
def test_degree_is_the_smallest_that_the_tolerance_allows(n: int, tol: float) -> None:
    everything = [
        (1 if k == 0 else 2) * math.comb(n, (n - k) // 2) / 2**n if (n - k) % 2 == 0 else 0.0
        for k in range(n + 1)
    ]
    kept = len(_C.chebyshev_of_power(n, tol))
    assert sum(everything[kept:]) <= tol
    assert kept - 1 <= 1 or sum(everything[kept - 1 :]) > tol


@cpu_only(reason="no device takes part")
def test_degree_at_the_default() -> None:
    assert 64 < len(_C.chebyshev_of_power(256, 1e-5)) - 1 <= 72


@pytest.mark.parametrize("method", ["chebyshev", "power"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [None, 0.0, 0.01, 0.3])
def test_keeps_a_constant(level: float | None, dtype: torch.dtype, method: str, device: str) -> None:
    # Whether the boundary varies or rounds the same way everywhere; the tolerance does not matter here.
    h, w = (6, 9) if device == "cuda-host" else (30, 40)
    boundary = torch.rand(1, h, w, dtype=dtype) * 0.9
    if level is not None:
        boundary.fill_(level)
    cam = 0.7 / (1 - boundary)
    actual = wsss_fast.random_walk(cam, boundary, exp_times=10, method=method, tol=1e-3)
    close(actual, torch.full_like(cam, 0.7))


def test_walls_are_not_passed() -> None:
    cam = torch.zeros(1, 12, 20)
    cam[0, 3, 4] = 1
    boundary = torch.zeros(1, 12, 20)
    boundary[0, :, 10] = 1
    spread = wsss_fast.random_walk(cam, boundary, exp_times=10)
    assert (spread[0, :, 10:] == 0).all()
    assert (spread[0, :, :10] > 0).all()


@not_on_host
def test_weak_affinities_add_up_in_float32() -> None:
    # Weights of 6e-6 lose their digits one by one beside the 1 of a pixel itself; over 4,096 steps
    # they carry a third of the map away.
    boundary = torch.full((1, 24, 24), 0.7)
    cam = torch.zeros(1, 24, 24)
    cam[0, :, :12] = 1
    exact = wsss_fast.random_walk(cam.double(), boundary.double(), exp_times=12, method="power")
    for method in ("power", "chebyshev"):
        actual = wsss_fast.random_walk(cam, boundary, exp_times=12, method=method, tol=1e-7)
        assert relative_error(actual, exact) < 1e-4


@cpu_only(reason="about passes of the CPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["chebyshev", "power"])
def test_large_images_take_several_steps_a_pass(dtype: torch.dtype, method: str, threads) -> None:
    # Small images side by side with walls between them: each walks as if it were alone, to the bit, though
    # alone it is far too small for several steps a pass. Odd counts of steps, more and fewer than a pass has.
    h, w, across, down, k = 31, 22, 13, 10, 3
    cams, boundaries = maps(down * across, k=k, h=h, w=w, dtype=dtype)
    cam = torch.zeros(k, down * (h + 1), across * (w + 1), dtype=dtype)
    boundary = torch.ones(1, down * (h + 1), across * (w + 1), dtype=dtype)
    tiles = [
        (slice(y * (h + 1), y * (h + 1) + h), slice(x * (w + 1), x * (w + 1) + w))
        for y in range(down)
        for x in range(across)
    ]
    for (rows, columns), c, b in zip(tiles, cams, boundaries, strict=True):
        cam[:, rows, columns], boundary[:, rows, columns] = c, b
    for steps, radius in ((17, 7), (4, 8)):
        options = {"steps": steps, "radius": radius, "method": method, "tol": 0}
        expected = wsss_fast.random_walk(cams, boundaries, **options)  # type: ignore[arg-type]
        for n in (1, 2, 4):
            threads(n)
            walked = wsss_fast.random_walk(cam, boundary, **options)  # type: ignore[arg-type]
            for (rows, columns), e in zip(tiles, expected, strict=True):
                assert torch.equal(walked[:, rows, columns], e)


def test_permuting_maps_permutes_results() -> None:
    cam, boundary = maps(k=7, h=11, w=13, dtype=torch.float32)
    order = torch.randperm(7)
    direct = wsss_fast.random_walk(cam, boundary)
    assert torch.equal(wsss_fast.random_walk(cam[order], boundary), direct[order])


@cpu_only(reason="about threads of the CPU")
def test_same_bits_at_any_thread_count(threads) -> None:
    sizes = [(30, 41), (8, 8), (50, 37)]
    lists = [maps(k=5, h=h, w=w, dtype=torch.float32) for h, w in sizes]
    cams, boundaries = map(list, zip(*lists, strict=True))
    big = maps(2, k=4, h=60, w=70, dtype=torch.float32)
    results = []
    for n in (1, 2, 4, 2):
        threads(n)
        results.append([*wsss_fast.random_walk(cams, boundaries), wsss_fast.random_walk(*big)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_single_batch_and_list_agree_bitwise() -> None:
    cam, boundary = maps(3, k=4, h=20, w=25, dtype=torch.float32)
    batch = wsss_fast.random_walk(cam, boundary)
    singles = [wsss_fast.random_walk(c, b) for c, b in zip(cam, boundary, strict=True)]
    assert torch.equal(torch.stack(singles), batch)
    other_cam, other_boundary = maps(k=1, h=7, w=9, dtype=torch.float32)
    mixed = wsss_fast.random_walk([cam, other_cam], [boundary, other_boundary])
    assert isinstance(mixed, list)
    assert torch.equal(mixed[0], batch)
    assert torch.equal(mixed[1], wsss_fast.random_walk(other_cam, other_boundary))


def test_empty() -> None:
    assert wsss_fast.random_walk(torch.rand(0, 3, 4, 5), torch.rand(0, 1, 4, 5)).shape == (0, 3, 4, 5)
    assert wsss_fast.random_walk(torch.rand(2, 0, 4, 5), torch.rand(2, 1, 4, 5)).shape == (2, 0, 4, 5)
    assert wsss_fast.random_walk([], []) == []


def test_non_contiguous() -> None:
    cam, boundary = maps(2, k=6, h=18, w=14, dtype=torch.float32)
    odd_cam, odd_boundary = cam[:, ::2].transpose(2, 3), boundary[:, :, :, :].transpose(2, 3)
    assert not odd_cam.is_contiguous()
    expected = wsss_fast.random_walk(odd_cam.contiguous(), odd_boundary.contiguous())
    assert torch.equal(wsss_fast.random_walk(odd_cam, odd_boundary), expected)


def test_inputs_are_left_alone() -> None:
    cam, boundary = maps(k=2, h=9, w=9, dtype=torch.float32)
    before = cam.clone(), boundary.clone()
    wsss_fast.random_walk(cam, boundary)
    assert torch.equal(cam, before[0])
    assert torch.equal(boundary, before[1])


@traced
def test_opcheck() -> None:
    cam, boundary = maps(2, k=3, h=9, w=12, dtype=torch.float64)
    op = torch.ops.wsss_fast
    options = (4, 10.0, 16, "chebyshev", 1e-5)
    torch.library.opcheck(op.random_walk.default, (cam, boundary, *options))
    torch.library.opcheck(op.random_walk_list.default, ([cam, cam[:1]], [boundary, boundary[:1]], *options))


@traced
def test_compiles_without_graph_break() -> None:
    cam, boundary = maps(2, k=3, h=9, w=12, dtype=torch.float32)
    walk = torch.compile(lambda c, b: wsss_fast.random_walk(c, b) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(walk(cam, boundary), wsss_fast.random_walk(cam, boundary) + 1)
    walks = torch.compile(
        lambda c, b: wsss_fast.random_walk([c, c[0]], [b, b[0]]), fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(walks(cam, boundary)[1], wsss_fast.random_walk(cam[0], boundary[0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_takes_half_precision_as_float32(dtype: torch.dtype) -> None:
    cam, boundary = (t.to(dtype) for t in maps(k=2, h=9, w=12, dtype=torch.float32))
    with autocast():
        actual = wsss_fast.random_walk(cam, boundary)
    assert torch.equal(actual, wsss_fast.random_walk(cam.float(), boundary.float()))


def fresh_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cpu_only(reason="about the CPU")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_time_of_the_first_call() -> None:
    out = fresh_process("""
        import re, time, torch, wsss_fast
        torch.set_num_threads(2)
        cam, boundary = torch.rand(4, 94, 125), torch.rand(1, 94, 125)
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
        # The peak so far may lie above what is in use now: forget it.
        open("/proc/self/clear_refs", "w").write("5")
        before = peak()
        start = time.perf_counter()
        wsss_fast.random_walk(cam, boundary)
        print(time.perf_counter() - start, peak() - before)
    """)
    seconds, megabytes = map(float, out.split())
    assert megabytes < 10  # the bar is 100
    assert seconds < 2


@cpu_only(reason="about the CPU")
@pytest.mark.skipif(sys.platform == "win32", reason="needs setitimer")
@pytest.mark.parametrize("images", [1, 6])
def test_signals_end_a_long_call(images: int, threads) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    threads(2)
    cam, boundary = maps(images, k=20, h=200, w=300, dtype=torch.float32)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Alarm):
            wsss_fast.random_walk(cam, boundary, radius=10, exp_times=12, method="power")
        assert time.monotonic() - start < 3  # a second at rest; other tests may share the machine
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


GOOD_CAM, GOOD_BOUNDARY = torch.rand(2, 3, 8, 9), torch.rand(2, 1, 8, 9)


def changed(tensor: Tensor, value: float, *index: int) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.mark.parametrize(
    ("cam", "boundary", "error", "message"),
    [
        (torch.rand(8, 9), GOOD_BOUNDARY, ValueError, r"cam: expected \[N,K,h,w\] or .*got \[8,9\] float32"),
        (GOOD_CAM, torch.rand(8, 9), ValueError, r"boundary: expected \[N,1,h,w\] or .*got \[8,9\]"),
        pytest.param(
            GOOD_CAM.half(), GOOD_BOUNDARY.half(), TypeError, r"cam: expected .*float32.*got .*float16",
            marks=cpu_only(reason="CUDA kernels take half precision"),
        ),
        (GOOD_CAM.double(), GOOD_BOUNDARY, TypeError, r"boundary: expected float64 \(that of cam\), got"),
        (GOOD_CAM.numpy(), GOOD_BOUNDARY, TypeError, r"cam: expected .*an array \[2,3,8,9\] float32"),
        (GOOD_CAM.to("meta"), GOOD_BOUNDARY, ValueError, "cam: expected a CPU .*tensor, got .*meta"),
        (GOOD_CAM, GOOD_BOUNDARY.to("meta"), ValueError, "boundary: expected a CPU .*tensor, got .*meta"),
        (GOOD_CAM, torch.rand(2, 2, 8, 9), ValueError, r"boundary: expected \[2,1,8,9\].*got \[2,2,8,9\]"),
        (GOOD_CAM, torch.rand(2, 1, 9, 8), ValueError, r"boundary: expected \[2,1,8,9\].*got \[2,1,9,8\]"),
        (GOOD_CAM, torch.rand(3, 1, 8, 9), ValueError, r"boundary: expected \[2,1,8,9\].*got \[3,1,8,9\]"),
        (GOOD_CAM, torch.rand(1, 8, 9), ValueError, r"boundary: expected \[2,1,8,9\].*got \[1,8,9\]"),
        (torch.rand(1, 3, 0, 9), torch.rand(1, 1, 0, 9), ValueError, "cam: expected a map of at least one"),
        (changed(GOOD_CAM, math.nan, 1, 2, 7, 8), GOOD_BOUNDARY, ValueError, r"cam: .*nan at \[1,2,7,8\]"),
        (changed(GOOD_CAM, -math.inf, 0, 0, 0, 1), GOOD_BOUNDARY, ValueError, r"cam: .*-inf at \[0,0,0,1\]"),
        (GOOD_CAM, changed(GOOD_BOUNDARY, math.nan, 1, 0, 3, 2), ValueError, r"boundary: .*nan at \[1,0"),
        (GOOD_CAM, changed(GOOD_BOUNDARY, 1.5, 0, 0, 3, 2), ValueError, r"boundary: .*\[0,1\], got 1.5 at"),
        (GOOD_CAM, changed(GOOD_BOUNDARY, -0.5, 0, 0, 3, 2), ValueError, r"boundary: .*\[0,1\], got -0.5 at"),
        ([GOOD_CAM], GOOD_BOUNDARY, TypeError, r"boundary: expected a list, as cam is one"),
        ([GOOD_CAM], [], ValueError, r"boundary: expected 1 tensors \(as many as cam\), got 0"),
        ([GOOD_CAM, GOOD_CAM], [GOOD_BOUNDARY] * 2 + [1], ValueError, "boundary: expected 2 tensors"),
        ([GOOD_CAM, 3], [GOOD_BOUNDARY] * 2, TypeError, r"cam\[1\]: expected a tensor"),
        (
            [GOOD_CAM, GOOD_CAM.double()],
            [GOOD_BOUNDARY, GOOD_BOUNDARY.double()],
            TypeError,
            r"cam\[1\]: expected float32 \(that of cam\[0\]\)",
        ),
        (
            [GOOD_CAM, GOOD_CAM],
            [GOOD_BOUNDARY, changed(GOOD_BOUNDARY, 2.0, 0, 0, 0, 0)],
            ValueError,
            r"boundary\[1\]: expected values in \[0,1\], got 2.0 at \[0,0,0,0\]",
        ),
    ],
)  # fmt: skip
def test_bad_tensors(cam, boundary, error: type[Exception], message: str) -> None:
    cam, boundary = on_device([cam, boundary])
    with wsss_fast.check_values(True), pytest.raises(error, match=message):
        wsss_fast.random_walk(cam, boundary)


@cpu_only(reason="no device takes part")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"radius": 1}, ValueError, r"radius: expected an integer in \[2, 15\], got 1"),
        ({"radius": 16}, ValueError, r"radius: expected an integer in \[2, 15\], got 16"),
        ({"radius": 5.0}, TypeError, r"radius: expected an integer in \[2, 15\], got 5.0"),
        ({"beta": -1}, ValueError, "beta: expected a finite number >= 0, got -1"),
        ({"beta": math.inf}, ValueError, "beta: expected a finite number >= 0, got inf"),
        ({"beta": "10"}, TypeError, "beta: expected a finite number >= 0, got '10'"),
        ({"exp_times": -1}, ValueError, r"exp_times: expected an integer in \[0, 12\], got -1"),
        ({"exp_times": 13}, ValueError, r"exp_times: expected an integer in \[0, 12\], got 13"),
        ({"exp_times": True}, TypeError, r"exp_times: expected an integer in \[0, 12\], got True"),
        ({"steps": -1}, ValueError, r"steps: expected an integer in \[0, 1048576\], got -1"),
        ({"steps": 2**20 + 1}, ValueError, r"steps: expected an integer in \[0, 1048576\], got 1048577"),
        ({"steps": 8.0}, TypeError, r"steps: expected an integer in \[0, 1048576\], got 8.0"),
        (
            {"method": "lanczos"},
            ValueError,
            r"method: expected one of \['chebyshev', 'power'\], got 'lanczos'",
        ),
        ({"method": 1}, TypeError, "method: expected one of .*got 1"),
        ({"tol": -1e-9}, ValueError, "tol: expected a finite number >= 0 and < 1, got -1e-09"),
        ({"tol": 1.0}, ValueError, "tol: expected a finite number >= 0 and < 1, got 1.0"),
        ({"tol": math.nan}, ValueError, "tol: expected a finite number >= 0 and < 1, got nan"),
    ],
)
def test_bad_options(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wsss_fast.random_walk(GOOD_CAM, GOOD_BOUNDARY, **options)  # type: ignore[call-overload]
