"""DenseCRFLoss: against the filter as a dense matrix, and its properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import close
from dense_filter import dense_filter
from devices import autocast, cpu_only, gradcheck, on_device, traced
from torch import Tensor

from wsss_fast import check_values
from wsss_fast.nn import DenseCRFLoss

pytestmark = pytest.mark.usefixtures("device")

# Widths that put no pixel on the edge of a simplex, where the last bit decides on which side it is.
OPTIONS: dict[str, float] = {"weight": 0.3, "sigma_rgb": 33.7, "sigma_xy": 5.3}


def problem(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    count, _, height, width = shape
    image = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
    probs = torch.randn(shape, dtype=dtype).softmax(1).requires_grad_()
    return image, probs, torch.rand(count, height, width) < 0.7


def matrices(image: Tensor, sigma_rgb: float, sigma_xy: float) -> list[Tensor]:
    """W of each image."""
    height, width = image.shape[-2:]
    grid = torch.tensor([(x, y) for y in range(height) for x in range(width)], dtype=torch.float64).T
    return [dense_filter(torch.cat([grid / sigma_xy, i.double().flatten(1) / sigma_rgb])) for i in image]


def brute_force(image: Tensor, probs: Tensor, roi: Tensor) -> Tensor:
    """The definition, class by class, without resampling."""
    total = probs.new_zeros(())
    for w, s, r in zip(
        matrices(image, 33.7, 5.3), probs.flatten(2), roi.flatten(1).to(probs.dtype), strict=True
    ):
        for one in s:
            total = total + (r * one) @ w @ (r - r * one)
    return 0.3 * total / len(image)


@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (1, 1, 4, 5), (3, 2, 1, 7), (1, 4, 1, 1), (1, 26, 3, 4)])
def test_brute_force(shape: tuple[int, ...]) -> None:
    image, probs, roi = problem(*shape)
    loss = DenseCRFLoss(**OPTIONS)
    for region, mask in ((None, torch.ones_like(roi)), (roi, roi), (roi.double() * 0.4, roi.double() * 0.4)):
        found, expected = loss(image, probs, region), brute_force(image, probs, mask)
        assert found.shape == ()
        close(found, expected)
        (gradient,) = torch.autograd.grad(found, probs)
        (truth,) = torch.autograd.grad(expected, probs)
        close(gradient, truth)
    close(loss(image.double(), probs, roi), loss(image, probs, roi))


def test_of_a_softmax_it_has_the_gradient_of_the_widely_used_form() -> None:
    # -sum_k (R S_k)^T W (R S_k): another value, by R^T W R, and for what sums to 1 the same gradient.
    image, _, roi = problem(2, 4, 5, 6)
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    probs = logits.softmax(1)
    used, constant = torch.zeros(()), torch.zeros(())
    for w, s, r in zip(matrices(image, 33.7, 5.3), probs.flatten(2), roi.flatten(1).double(), strict=True):
        used = used - 0.3 / 2 * sum((r * one) @ w @ (r * one) for one in s)
        constant = constant + 0.3 / 2 * (r @ w @ r)
    found = DenseCRFLoss(**OPTIONS)(image, probs, roi)
    close(found, used + constant)
    (gradient,) = torch.autograd.grad(found, logits, retain_graph=True)
    close(gradient, torch.autograd.grad(used, logits)[0])


def test_gradcheck() -> None:
    image, probs, roi = problem(2, 3, 4, 6)
    for scale in (1.0, 0.5):
        loss = DenseCRFLoss(**OPTIONS, scale_factor=scale)
        assert gradcheck(lambda p, loss=loss: loss(image, p, roi), probs)
        assert gradcheck(lambda p, loss=loss: loss(image, p, roi), probs, second=True)


def test_scale_factor() -> None:
    image, probs, roi = problem(2, 3, 9, 11)
    for scale, size in ((0.5, (4, 5)), (0.7, (6, 7)), (0.99, (8, 10)), (0.1, (1, 1))):
        expected = DenseCRFLoss(0.3, 33.7, 5.3 * scale)(
            F.interpolate(image, size),
            F.interpolate(probs, size, mode="bilinear", align_corners=False),
            F.interpolate(roi[:, None].double(), size)[:, 0],
        )
        found = DenseCRFLoss(**OPTIONS, scale_factor=scale)(image, probs, roi)
        close(found, expected)
        close(torch.autograd.grad(found, probs)[0], torch.autograd.grad(expected, probs)[0])
    assert DenseCRFLoss(**OPTIONS, scale_factor=0.01)(image, probs, roi).isfinite()  # one pixel


def test_certain_agreement_costs_nothing_and_doubt_and_disagreement_do() -> None:
    image = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    loss = DenseCRFLoss(1.0, 15.3, 20.7)
    agreed = torch.zeros(1, 2, 8, 8)
    agreed[:, 1] = 1
    assert loss(image, agreed) == 0
    split = agreed.clone()
    split[..., :4] = split[..., :4].flip(1)
    assert loss(image, split) > 0
    assert loss(image, torch.full_like(agreed, 0.5)) > 0
    # Halves that look different may be labelled differently at no cost; hidden ones at none either.
    image[..., :4] = 200
    assert loss(image, split) < 1e-3 * loss(image, torch.full_like(agreed, 0.5))
    image[..., :4] = 100
    roi = torch.ones(1, 8, 8, dtype=torch.bool)
    roi[..., :4] = False
    assert loss(image, split, roi) == 0


def test_pixels_outside_the_region_have_no_say_and_no_gradient() -> None:
    image, probs, roi = problem(2, 3, 6, 7)
    loss = DenseCRFLoss(**OPTIONS)
    (gradient,) = torch.autograd.grad(loss(image, probs, roi), probs)
    outside = ~roi.unsqueeze(1).expand_as(probs)
    assert (gradient[outside] == 0).all()
    changed = torch.where(outside, torch.rand_like(probs), probs.detach())
    close(loss(image, changed, roi), loss(image, probs, roi))


def test_dtypes_and_autocast() -> None:
    image, probs, roi = problem(2, 3, 6, 7, dtype=torch.float32)
    loss = DenseCRFLoss(**OPTIONS)
    assert loss(image, probs).dtype == torch.float32
    close(loss(image, probs, roi), loss(image, probs.double(), roi).float())
    half = probs.detach().bfloat16()
    with autocast():
        assert torch.equal(loss(image, half, roi), loss(image, half.float(), roi))


def test_not_contiguous_and_empty() -> None:
    image, probs, roi = problem(2, 3, 6, 8)
    loss = DenseCRFLoss(**OPTIONS)
    parts = [t[..., ::2] for t in (image, probs, roi)]
    assert torch.equal(loss(*parts), loss(*(t.contiguous() for t in parts)))
    for scale in (1.0, 0.5):
        empty = DenseCRFLoss(**OPTIONS, scale_factor=scale)(image[:0], probs[:0], roi[:0])
        assert empty == 0
        assert torch.autograd.grad(empty, probs)[0].shape == probs.shape


@cpu_only(reason="threads are the CPU's")
def test_same_bits_at_any_thread_count(threads: Callable[[int], None]) -> None:
    image, probs, roi = problem(2, 3, 190, 211, dtype=torch.float32)
    results = []
    for scale in (1.0, 0.7):
        for count in (1, 2, 4, 2):
            threads(count)
            value = DenseCRFLoss(**OPTIONS, scale_factor=scale)(image, probs, roi)
            results.append([value, *torch.autograd.grad(value, probs)])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
        results.clear()


@traced
@pytest.mark.usefixtures("sizes_from_data")
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("with_roi", [False, True])
def test_compiles_without_graph_break(scale: float, with_roi: bool) -> None:
    loss = DenseCRFLoss(**OPTIONS, scale_factor=scale)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for _ in range(2):  # another image: another size of the lattice
        image, probs, roi = problem(2, 3, 9, 12, dtype=torch.float32)
        inputs = (image, probs, roi) if with_roi else (image, probs)
        found, expected = compiled(*inputs), loss(*inputs)
        close(found, expected)
        close(torch.autograd.grad(found, probs)[0], torch.autograd.grad(expected, probs)[0])
    with check_values(True), pytest.raises(ValueError, match=r"image: expected values in \[0,255\]"):
        compiled(image.float() - 300, *inputs[1:])


@traced
def test_opcheck() -> None:
    image = problem(2, 3, 5, 6)[0]
    probs, region = torch.rand(2, 4, 5, 6, dtype=torch.float64), torch.ones(2, 1, 5, 6, dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.wsss_fast.dense_crf_loss_features.default, (image, probs, region, 3.0, 4.0)
    )


IMAGE, PROBS, ROI = torch.zeros(2, 3, 5, 6), torch.zeros(2, 4, 5, 6), torch.ones(2, 5, 6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("image", "probs", "roi", "error", "message"),
    [
        (None, PROBS, ROI, TypeError, "image: expected a tensor"),
        (IMAGE, PROBS[0], ROI, ValueError, r"probs: expected \[N,C,H,W\].*got \[4,5,6\]"),
        (IMAGE, PROBS[:, :0], ROI, ValueError, r"probs: expected .*at least 1, got \[2,0,5,6\]"),
        (IMAGE, PROBS.half(), ROI, TypeError, "probs: expected .*got .*float16"),
        (IMAGE, PROBS.to("meta"), ROI, ValueError, "probs: expected a CPU .*tensor, got .*on meta"),
        (IMAGE[:, :2], PROBS, ROI, ValueError, r"image: expected \[2,3,5,6\] .*got \[2,2,5,6\]"),
        (IMAGE.int(), PROBS, ROI, TypeError, "image: expected .*got .*int32"),
        (IMAGE + 256, PROBS, ROI, ValueError, r"image: expected values in \[0,255\], got 256"),
        (IMAGE * torch.nan, PROBS, ROI, ValueError, r"image: expected values in \[0,255\], got nan"),
        (
            IMAGE.clone().requires_grad_(),
            PROBS,
            ROI,
            ValueError,
            "image: expected a tensor that needs no grad",
        ),
        (IMAGE, PROBS, ROI[0], ValueError, r"roi: expected \[N,H,W\].*got \[5,6\]"),
        (IMAGE, PROBS, ROI[:1], ValueError, r"roi: expected \[2,5,6\].*got \[1,5,6\]"),
        (IMAGE, PROBS, ROI.long(), TypeError, "roi: expected .*bool or float32.*int64"),
        (IMAGE, PROBS, ROI.float().requires_grad_(), ValueError, "roi: expected a tensor that needs no grad"),
        (IMAGE, PROBS * torch.nan, ROI, ValueError, "probs: expected finite values .*got nan"),
    ],
)
def test_bad_input(image: Any, probs: Any, roi: Any, error: type[Exception], message: str) -> None:
    image, probs, roi = on_device((image, probs, roi))
    with check_values(True), pytest.raises(error, match=message):
        DenseCRFLoss(**OPTIONS)(image, probs, roi)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"weight": -1}, ValueError),
        ({"weight": None}, TypeError),
        ({"sigma_rgb": 0}, ValueError),
        ({"sigma_xy": 0}, ValueError),
        ({"scale_factor": 0}, ValueError),
        ({"scale_factor": 1.5}, ValueError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{next(iter(options))}: expected a.* number"):
        DenseCRFLoss(**{**OPTIONS, **options})
