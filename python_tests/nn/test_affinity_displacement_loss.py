from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, gradcheck, not_on_host, on_device, traced
from torch import Tensor

import wsss_fast
from wsss_fast.nn import AffinityDisplacementLoss
from wsss_fast.reference.affinity_displacement_loss import affinity_displacement_loss as reference

pytestmark = pytest.mark.usefixtures("device")

# The smallest maps a radius allows, W != H, rows of half a tile, of whole ones and a bit more, many bands.
SHAPES: list[Any] = [
    (2, 3, 2),
    (5, 9, 5),
    (13, 21, 4),
    (23, 14, 3),
    pytest.param(16, 33, 10, marks=not_on_host),
    (9, 12, 3),
    (9, 20, 3),
    (9, 21, 3),
    (9, 29, 3),
    (75, 12, 3),
]


def inputs(n: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.randn(n, 1, h, w, dtype=dtype, requires_grad=True)
    displacement = (3 * torch.randn(n, 2, h, w, dtype=dtype)).requires_grad_()
    labels = torch.tensor([0, 0, 1, 7, 255])[torch.randint(5, (n, h, w))]
    return logits, displacement, labels


def brute_force(logits: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> list[float]:
    """All pairs of pixels, one by one, straight from the paper's text."""
    n, _, h, w = logits.shape
    boundary = logits.sigmoid()
    sums = dict.fromkeys(["bg", "fg", "neg", "disp_fg", "disp_bg"], 0.0)
    counts = dict.fromkeys(["bg", "fg", "neg"], 0)
    for image in range(n):
        # Sources keep radius - 1 pixels off the left, right and lower edge; destinations lie in the
        # half-plane below, or to the right in the same row.
        for y in range(h - radius + 1):
            for x in range(radius - 1, w - radius + 1):
                for dy in range(radius):
                    for dx in range(1 - radius, radius):
                        if dy * dy + dx * dx >= radius * radius or (dy == 0 and dx <= 0):
                            continue
                        a, b = int(labels[image, y, x]), int(labels[image, y + dy, x + dx])
                        if 255 in (a, b):
                            continue
                        path = [
                            boundary[image, 0, y + j, x + i].item()
                            for j in range(dy + 1)
                            for i in range(min(dx, 0), max(dx, 0) + 1)
                            if (dy * i - dx * j) ** 2 < dy * dy + dx * dx
                        ]
                        affinity = 1 - max(path)
                        moved = displacement[image, :, y, x] - displacement[image, :, y + dy, x + dx]
                        if a != b:
                            counts["neg"] += 1
                            sums["neg"] -= math.log(1 + 1e-5 - affinity)
                            continue
                        kind = "bg" if a == 0 else "fg"
                        goal = (0, 0) if a == 0 else (dy, dx)
                        counts[kind] += 1
                        sums[kind] -= math.log(affinity + 1e-5)
                        sums["disp_" + kind] += abs(moved[0].item() - goal[0]) + abs(
                            moved[1].item() - goal[1]
                        )
    positive = sums["bg"] / (counts["bg"] + 1e-5) / 2 + sums["fg"] / (counts["fg"] + 1e-5) / 2
    negative = sums["neg"] / (counts["neg"] + 1e-5)
    disp_fg = sums["disp_fg"] / (2 * counts["fg"] + 1e-5)
    disp_bg = sums["disp_bg"] / (2 * counts["bg"] + 1e-5)
    return [(positive + negative) / 2 + (disp_fg + disp_bg) / 2, positive, negative, disp_fg, disp_bg]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w", "radius"), SHAPES)
def test_agrees_with_published_form(h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    logits, displacement, labels = inputs(3, h, w, dtype)
    actual = AffinityDisplacementLoss(radius)(logits, displacement, labels)
    expected = reference(logits, displacement, labels, radius)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == dtype
        close(ours, theirs)
    # Every part, and with it the total, has the gradient of the published form.
    for ours, theirs in zip(actual, expected, strict=True):
        gradients = torch.autograd.grad(ours, (logits, displacement), retain_graph=True, allow_unused=True)
        truth = torch.autograd.grad(theirs, (logits, displacement), retain_graph=True, allow_unused=True)
        for one, other in zip(gradients, truth, strict=True):
            zero = torch.zeros(())
            assert (one if one is not None else zero).isfinite().all()
            if other is None:
                assert one is None or (one == 0).all()
            else:
                assert one is not None
                close(one, other)


@pytest.mark.parametrize(("h", "w", "radius"), [(2, 3, 2), (5, 8, 3), (6, 9, 4)])
def test_agrees_with_brute_force(h: int, w: int, radius: int) -> None:
    logits, displacement, labels = inputs(2, h, w)
    actual = AffinityDisplacementLoss(radius)(logits, displacement, labels)
    expected = brute_force(logits.detach(), displacement.detach(), labels, radius)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.item() == pytest.approx(theirs, rel=1e-9)


def test_gradcheck() -> None:
    logits, displacement, labels = inputs(1, 6, 8)
    loss = AffinityDisplacementLoss(3)
    assert gradcheck(lambda b, d: tuple(loss(b, d, labels)), (logits, displacement))


def regions(n: int, h: int, w: int) -> Tensor:
    """Labels as they look in training: one class an object, unconfident at its edge, background around."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    labels = torch.zeros(n, h, w, dtype=torch.uint8)
    for image in labels:
        for label, radius in ((3, min(h, w) / 3), (12, min(h, w) / 5)):
            cy, cx = torch.rand(2) * torch.tensor([h, w])
            distance = (y - cy).square() + (x - cx).square()
            image[distance < (radius + 2) ** 2] = 255
            image[distance < radius**2] = label
    return labels


def agree(logits: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> None:
    """Losses and gradients of the total are those of the published form."""
    actual = AffinityDisplacementLoss(radius)(logits, displacement, labels)
    expected = reference(logits, displacement, labels, radius)
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours, theirs)
    gradients = torch.autograd.grad(actual.total, (logits, displacement))
    truth = torch.autograd.grad(expected[0], (logits, displacement))
    for one, other in zip(gradients, truth, strict=True):
        close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w", "radius"), [(40, 60, 5), pytest.param(61, 47, 10, marks=not_on_host)])
def test_regions(h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    logits, displacement, _ = inputs(2, h, w, dtype)
    agree(logits, displacement, regions(2, h, w), radius)


def test_background_only() -> None:
    logits, displacement, labels = inputs(2, 20, 30)
    labels = torch.where(labels == 255, 255, 0)
    losses = AffinityDisplacementLoss(5)(logits, displacement, labels)
    assert losses.negative == losses.displacement_foreground == 0
    agree(logits, displacement, labels, 5)


@pytest.mark.parametrize("levels", [1, 3])
def test_ties(levels: int, device: str) -> None:
    # Of several pixels that hold a path's maximum, the first gets the gradient, as in the published form.
    _, displacement, labels = inputs(2, 40, 45)
    logits = torch.randint(levels, (2, 1, 40, 45)).double().requires_grad_()
    agree(logits, displacement, labels, 5 if device == "cuda-host" else 10)


def test_displacement_without_error_has_no_gradient() -> None:
    logits, _, labels = inputs(2, 20, 30)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    # The displacement to (0, 0): exact for foreground pairs of any offset.
    displacement = -torch.stack([y, x]).double().expand(2, 2, 20, 30).requires_grad_()
    losses = AffinityDisplacementLoss(5)(logits, displacement, labels)
    assert losses.displacement_foreground == 0
    (gradient,) = torch.autograd.grad(losses.displacement_foreground, displacement)
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-math.inf, -100.0, -20.0, 14.0, 20.0, 100.0, math.inf])
def test_saturated_boundary(logit: float, dtype: torch.dtype, device: str) -> None:
    radius = 4 if device == "cuda-host" else 10
    _, displacement, labels = inputs(2, 25, 30, dtype)
    logits = torch.full((2, 1, 25, 30), logit, dtype=dtype, requires_grad=True)
    losses = AffinityDisplacementLoss(radius)(logits, displacement, labels)
    affinity = 1 - logits.detach().flatten()[0].sigmoid()
    # The divisors are larger than the numbers of pairs by 1e-5.
    close(losses.positive, -torch.log(affinity + 1e-5), rtol=1e-7 if dtype == torch.float64 else 1e-4)
    close(losses.negative, -torch.log(1 + 1e-5 - affinity), rtol=1e-7 if dtype == torch.float64 else 1e-4)
    agree(logits, displacement, labels, radius)


def test_sums_of_small_logarithms_keep_their_digits(device: str) -> None:
    # float32 against float64 where every pair adds almost nothing: log(a) for a just below 1.
    n, h, w = (1, 30, 40) if device == "cuda-host" else (4, 60, 70)
    _, displacement, labels = inputs(n, h, w, torch.float32)
    logits = torch.rand(n, 1, h, w) - 7
    single = AffinityDisplacementLoss(10)(logits, displacement, labels)
    double = AffinityDisplacementLoss(10)(logits.double(), displacement.double(), labels)
    torch.testing.assert_close(single.positive.double(), double.positive, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_label_dtypes(dtype: torch.dtype) -> None:
    logits, displacement, labels = inputs(2, 9, 11)
    loss = AffinityDisplacementLoss(4)
    expected = loss(logits, displacement, labels)
    assert all(
        torch.equal(a, b) for a, b in zip(loss(logits, displacement, labels.to(dtype)), expected, strict=True)
    )


@pytest.mark.parametrize("only", [0, 1, 255])
def test_absent_kinds_of_pairs_cost_nothing(only: int) -> None:
    logits, displacement, labels = inputs(2, 9, 11)
    losses = AffinityDisplacementLoss(4)(logits, displacement, torch.full_like(labels, only))
    assert losses.negative == 0
    assert (losses.displacement_background == 0) == (only != 0)
    assert (losses.displacement_foreground == 0) == (only != 1)
    assert (losses.positive == 0) == (only == 255)
    gradients = torch.autograd.grad(losses.total, (logits, displacement))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all((gradient == 0).all() == (only == 255) for gradient in gradients)


def test_counts_are_over_the_whole_batch() -> None:
    logits, displacement, labels = inputs(2, 9, 11)
    labels[1, 2:] = 255  # few pairs in the second image
    loss = AffinityDisplacementLoss(3)
    joint = loss(logits, displacement, labels)
    close(joint.total, reference(logits, displacement, labels, 3)[0])
    halves = [loss(logits[i : i + 1], displacement[i : i + 1], labels[i : i + 1]).total for i in range(2)]
    assert abs((halves[0] + halves[1]) / 2 - joint.total) > 1e-3


def test_empty_batch() -> None:
    logits, displacement, labels = inputs(0, 9, 11)
    losses = AffinityDisplacementLoss(4)(logits, displacement, labels)
    assert all(part == 0 for part in losses)
    losses.total.backward()
    assert logits.grad is not None


def test_non_contiguous() -> None:
    logits, displacement, labels = inputs(4, 22, 18)
    views = [t.detach()[::2].transpose(-1, -2)[..., ::2] for t in (logits, displacement, labels)]
    assert not any(view.is_contiguous() for view in views)
    actual = AffinityDisplacementLoss(3)(*views)
    for ours, theirs in zip(actual, reference(*views, 3), strict=True):
        close(ours, theirs)


@cpu_only(reason="about the CPU's threads")
@pytest.mark.parametrize("radius", [5, 10])
def test_same_bits_at_any_thread_count(radius: int, threads) -> None:
    logits, displacement, labels = inputs(3, 70, 90, torch.float32)
    loss = AffinityDisplacementLoss(radius)
    results = []
    for n in (1, 2, 4, 2):
        threads(n)
        losses = loss(logits, displacement, labels)
        results.append([*losses, *torch.autograd.grad(losses.total, (logits, displacement))])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck() -> None:
    logits, displacement, labels = inputs(2, 7, 9)
    op = torch.ops.wsss_fast
    torch.library.opcheck(op.affinity_displacement_sums.default, (logits, displacement, labels, 3))
    torch.library.opcheck(
        op.affinity_displacement_sums_backward.default,
        (torch.rand(5, dtype=torch.float64), logits.detach(), displacement.detach(), labels, 3),
    )


@traced
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_without_graph_break(backend: str) -> None:
    logits, displacement, labels = inputs(2, 9, 11, torch.float32)
    loss = AffinityDisplacementLoss(4)
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    expected, actual = loss(logits, displacement, labels), compiled(logits, displacement, labels)
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours, theirs)
    gradients = torch.autograd.grad(actual.total, (logits, displacement))
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected.total, (logits, displacement)), strict=True
    ):
        close(ours, theirs)


def test_autocast_takes_half_precision_as_float32() -> None:
    logits, displacement, labels = inputs(1, 9, 11, torch.float32)
    logits, displacement = logits.detach().bfloat16(), displacement.detach().bfloat16()
    loss = AffinityDisplacementLoss(3)
    with autocast():
        actual = loss(logits, displacement, labels)
    expected = loss(logits.float(), displacement.float(), labels)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_second_gradient_is_refused() -> None:
    logits, displacement, labels = inputs(1, 9, 11)
    total = AffinityDisplacementLoss(3)(logits, displacement, labels).total
    (grad,) = torch.autograd.grad(total**2, logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="AffinityDisplacementLoss"):
        grad.sum().backward()


@cpu_only(reason="about the CPU's memory")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's count of the peak")
def test_makes_nothing_of_the_size_of_the_affinity() -> None:
    script = """
import torch
from wsss_fast.nn import AffinityDisplacementLoss
def kilobytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
def run(logits, displacement, labels):
    torch.autograd.grad(loss(logits, displacement, labels).total, (logits, displacement))
def inputs(n):
    return (
        torch.randn(n, 1, 128, 128, requires_grad=True),
        torch.randn(n, 2, 128, 128, requires_grad=True),
        torch.randint(3, (n, 128, 128)),
    )
torch.set_num_threads(2)
loss = AffinityDisplacementLoss(10)
run(*inputs(1))  # what is loaded on first use
arguments = inputs(8)
before = kilobytes("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
run(*arguments)
print(kilobytes("VmHWM") - before)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    affinity = 8 * 152 * 119 * 110 * 4
    assert int(result.stdout) * 1024 < affinity / 4


@cpu_only(reason="the processes have devices of their own")
def test_processes_share_their_counts(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent("""
        import sys, torch
        from wsss_fast.nn import AffinityDisplacementLoss
        rank, folder = int(sys.argv[1]), sys.argv[2]
        data = torch.load(f"{folder}/data.pt", weights_only=True)
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
        )
        logits, displacement, labels = (t[rank : rank + 1] for t in data)
        logits.requires_grad_()
        losses = AffinityDisplacementLoss(3)(logits, displacement, labels)
        losses.total.backward()
        torch.save([torch.stack(list(losses)).detach(), logits.grad], f"{folder}/{rank}.pt")
        torch.distributed.destroy_process_group()
        """)
    )
    logits, displacement, labels = inputs(2, 9, 11)
    labels[1, 2:] = 255
    torch.save([logits.detach(), displacement.detach(), labels], tmp_path / "data.pt")
    commands = [[sys.executable, str(worker), str(rank), str(tmp_path)] for rank in range(2)]
    workers = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in workers:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    losses, gradients = zip(
        *(torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2)), strict=True
    )
    joint = reference(logits, displacement, labels, 3)
    close(losses[0] + losses[1], torch.stack(joint))
    close(torch.cat(gradients), torch.autograd.grad(joint[0], logits)[0])


def good() -> list[Tensor]:
    return [torch.randn(2, 1, 8, 9), torch.randn(2, 2, 8, 9), torch.zeros(2, 8, 9, dtype=torch.int64)]


BAD: list[Any] = [
    (0, torch.randn(1, 8, 9), ValueError, r"boundary_logits: expected \[N,1,h,w\].*got \[1,8,9\] float32"),
    (0, torch.randn(2, 2, 8, 9), ValueError, r"boundary_logits: expected .*one channel.*got \[2,2,8,9\]"),
    (0, torch.randn(2, 1, 4, 9), ValueError, r"boundary_logits: expected h >= 5 and w >= 9.*\[2,1,4,9\]"),
    pytest.param(
        0,
        torch.randn(2, 1, 8, 9).half(),
        TypeError,
        "boundary_logits: expected .*got .*float16",
        marks=cpu_only(reason="CUDA kernels take half precision"),
    ),
    (0, torch.randn(2, 1, 8, 9).double(), TypeError, "displacement: expected float64 .*got float32"),
    (0, torch.randn(2, 1, 8, 9, device="meta"), ValueError, "boundary_logits: expected a CPU .*tensor.*meta"),
    (
        0,
        torch.full((2, 1, 8, 9), math.nan),
        ValueError,
        r"boundary_logits: expected values that are not NaN, got nan at \[0,0,0,0\]",
    ),
    (0, 3, TypeError, "boundary_logits: expected a tensor"),
    (1, torch.randn(2, 1, 8, 9), ValueError, r"displacement: expected \[2,2,8,9\].*got \[2,1,8,9\]"),
    (1, torch.randn(2, 2, 9, 8), ValueError, r"displacement: expected \[2,2,8,9\].*got \[2,2,9,8\]"),
    (1, torch.full((2, 2, 8, 9), math.inf), ValueError, r"displacement: expected finite.*inf at \[0,0,0,0\]"),
    (2, torch.zeros(2, 8, 8, dtype=torch.int64), ValueError, r"labels: expected \[2,8,9\].*got \[2,8,8\]"),
    (
        2,
        torch.zeros(2, 1, 8, 9, dtype=torch.uint8),
        ValueError,
        r"labels: expected \[N,h,w\].*got \[2,1,8,9\]",
    ),
    (2, torch.zeros(2, 8, 9), TypeError, r"labels: expected \[N,h,w\] uint8.*got \[2,8,9\] float32"),
    (2, torch.full((2, 8, 9), -1), ValueError, r"labels: expected labels >= 0 .*got -1 at \[0,0,0\]"),
    (2, torch.full((2, 8, 9), 2**31), ValueError, r"labels: .* < 2\^31, got 2147483648 at \[0,0,0\]"),
    (
        2,
        torch.full((2, 8, 9), -128, dtype=torch.int8),
        ValueError,
        r"labels: expected labels >= 0 .*got -128",
    ),
]


@pytest.mark.parametrize(("position", "value", "error", "message"), BAD)
def test_bad_input(position: int, value: Tensor, error: type[Exception], message: str) -> None:
    arguments = good()
    arguments[position] = value
    with wsss_fast.check_values(True), pytest.raises(error, match=message):
        AffinityDisplacementLoss(5)(*on_device(arguments))


@pytest.mark.parametrize(("radius", "error"), [(1, ValueError), (65, ValueError), (5.0, TypeError)])
def test_bad_radius(radius: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"radius: expected an integer in \[2, 64\]"):
        AffinityDisplacementLoss(radius)
