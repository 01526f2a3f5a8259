"""AffinityDisplacementLoss by CUDA kernels: against the CPU's, and what only they have."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import close
from devices import by_cpu, only_on
from test_affinity_displacement_loss import regions
from torch import Tensor

import wsss_fast
from wsss_fast.nn import AffinityDisplacementLoss

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]
gpu_only = only_on("cuda", reason="too large for kernels on the host")


def inputs(n: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    labels = torch.tensor([0, 0, 1, 7, 255])[torch.randint(5, (n, h, w))]
    return [torch.randn(n, 1, h, w, dtype=dtype), 3 * torch.randn(n, 2, h, w, dtype=dtype), labels]


def losses(radius: int, logits: Tensor, displacement: Tensor, labels: Tensor) -> list[Tensor]:
    """The loss and its parts, and the gradients of the loss."""
    logits, displacement = logits.detach().requires_grad_(), displacement.detach().requires_grad_()
    loss = AffinityDisplacementLoss(radius)(logits, displacement, labels)
    return [part.detach() for part in loss] + list(torch.autograd.grad(loss.total, (logits, displacement)))


def agrees_with_the_cpu(radius: int, *given: Tensor) -> None:
    found, expected = losses(radius, *given), by_cpu(losses, radius, *given)
    rtol = 1e-5 if given[0].dtype == torch.float32 else 1e-10
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        # Gradients are a sum in which the parts nearly cancel at places: relative to the largest.
        scale = theirs.abs().max().item() if theirs.numel() > 0 else 0.0
        close(ours.cpu(), theirs, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "h", "w", "radius"),
    [
        (0, 5, 7, 3),
        (1, 2, 3, 2),
        (3, 34, 35, 2),
        (2, 5, 9, 5),
        (1, 40, 80, 5),
        (2, 70, 12, 3),
        (2, 25, 50, 10),
    ],
)
def test_shapes(n: int, h: int, w: int, radius: int, dtype: torch.dtype) -> None:
    agrees_with_the_cpu(radius, *inputs(n, h, w, dtype))


@pytest.mark.parametrize(
    ("radius", "dtype"),
    [
        # What fits into shared memory backward and forward, and what does not.
        (12, torch.float64),
        (13, torch.float64),
        (16, torch.float32),
        (17, torch.float32),
        (16, torch.float64),
        (32, torch.float32),
    ],
)
def test_large_radii(radius: int, dtype: torch.dtype) -> None:
    agrees_with_the_cpu(radius, *inputs(1, radius + 2, 2 * radius + 2, dtype))


@gpu_only
def test_the_largest_radius() -> None:
    agrees_with_the_cpu(64, *inputs(1, 64, 128))


@gpu_only
def test_a_batch_as_in_training() -> None:
    logits, displacement, _ = inputs(32, 128, 128)
    agrees_with_the_cpu(10, logits, displacement, regions(32, 128, 128))


@gpu_only
def test_it_takes_no_more_memory_than_it_says() -> None:
    given = inputs(32, 128, 128)
    losses(10, *given)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    losses(10, *given)
    # Beside what the docstring says, the gradients themselves.
    assert torch.cuda.max_memory_allocated() - before <= 32 * 128 * 128 * (36 + 12) + (1 << 20)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_dtype(dtype: torch.dtype) -> None:
    logits, displacement, labels = inputs(2, 9, 14)
    if dtype == torch.int8:
        labels[labels == 255] = 3
    expected = losses(4, logits, displacement, labels)
    found = losses(4, logits, displacement, labels.to(dtype))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with wsss_fast.check_values(True):
        looked_at = losses(4, logits, displacement, labels.to(dtype))
    assert all(torch.equal(a, b) for a, b in zip(looked_at, expected, strict=True))


@pytest.mark.parametrize("label", [-1, -(2**31), 2**31, 2**32, 2**40, -(2**63)])
def test_labels_out_of_range_are_unconfident(label: int) -> None:
    logits, displacement, labels = inputs(2, 9, 14)
    expected = losses(4, logits, displacement, labels)
    labels[labels == 255] = label
    assert all(
        torch.equal(a, b) for a, b in zip(losses(4, logits, displacement, labels), expected, strict=True)
    )
    with wsss_fast.check_values(True), pytest.raises(ValueError, match=f"labels: .*< 2.31, got {label} at"):
        losses(4, logits, displacement, labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    logits, displacement, labels = inputs(2, 20, 27)
    logits, displacement = logits.to(dtype), displacement.to(dtype)
    found = losses(5, logits, displacement, labels)
    expected = losses(5, logits.float(), displacement.float(), labels)
    for ours, theirs in zip(found[:5], expected[:5], strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(found[5:], expected[5:], strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs.to(dtype))


@pytest.mark.parametrize("radius", [3, 6])
def test_every_run_has_the_same_bits(radius: int) -> None:
    # On the host the threads take another order each time.
    given = inputs(1, 38, 44)
    given[0] = torch.randint(4, given[0].shape).float()  # plenty of ties
    first, *others = (losses(radius, *given) for _ in range(3))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_gradients_of_an_image_are_its_own() -> None:
    given = inputs(3, 14, 19)
    op = torch.ops.wsss_fast.affinity_displacement_sums_backward
    grads = torch.rand(5)
    together = op(grads, *given, 4)
    for n in range(3):
        alone = op(grads, *(tensor[n : n + 1] for tensor in given), 4)
        assert all(torch.equal(a, b[n : n + 1]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(("which", "value"), [(0, math.nan), (1, math.nan), (1, math.inf), (1, -math.inf)])
def test_a_bad_value_shows_in_the_loss_and_stays_in_its_image(which: int, value: float) -> None:
    radius, given = 4, inputs(3, 14, 19)
    given[2][1, 6:8, 8:10] = 1
    expected = losses(radius, *given)
    given[which][1, 0, 6, 8] = value
    total, *_, of_logits, of_displacement = losses(radius, *given)
    assert not total.isfinite()
    # The numbers of pairs are as before, so the other images have the same gradients.
    for found, truth in ((of_logits, expected[5]), (of_displacement, expected[6])):
        assert torch.equal(found[[0, 2]], truth[[0, 2]])
    assert (of_logits, of_displacement)[which][1, 0, 6, 8].isnan()
    name = ("boundary_logits", "displacement")[which]
    with wsss_fast.check_values(True), pytest.raises(ValueError, match=rf"{name}: .* at \[1,0,6,8\]"):
        losses(radius, *given)


@pytest.mark.parametrize("which", [0, 1])
def test_a_bad_value_that_no_pair_meets_does_not_matter(which: int) -> None:
    given = inputs(1, 14, 19)
    given[2][:, :10, :12] = 255
    expected = losses(4, *given)
    given[which][0, 0, 2, 3] = math.nan  # all of its paths stay in the corner, or end there
    found = losses(4, *given)
    assert all(torch.equal(a, b) for a, b in zip(found[:5], expected[:5], strict=True))
