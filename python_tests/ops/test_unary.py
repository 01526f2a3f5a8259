"""The unaries: against their definition, and against pydensecrf where it is installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import close
from devices import gradcheck, on_device
from torch import Tensor

from wsss_fast import check_values, unary_from_labels, unary_from_probs

pytestmark = pytest.mark.usefixtures("device")


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 3, 5, 7), (0, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_from_labels(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    labels = torch.randint(0, 4, shape).to(dtype)
    unary = unary_from_labels(labels, 4, gt_prob=0.6)
    assert unary.dtype == torch.float32
    assert unary.shape == (*shape[:-2], 4, *shape[-2:])
    for c in range(4):
        expected = torch.where(labels == c, -math.log(0.6), -math.log(0.4 / 3)).float()
        close(unary.select(-3, c), expected)
    if labels.numel():
        close((-unary).exp().sum(-3), torch.ones(shape))


def test_from_labels_unsure() -> None:
    labels = torch.tensor([[0, 1, 3]])
    unary = unary_from_labels(labels, 3, gt_prob=0.5, zero_unsure=True)
    third, half, quarter = math.log(3), math.log(2), math.log(4)
    expected = torch.tensor([[third, half, quarter], [third, quarter, quarter], [third, quarter, half]])
    close(unary[:, 0], expected)


def test_one_class() -> None:
    close(
        unary_from_labels(torch.zeros(2, 2, dtype=torch.uint8), 1, gt_prob=0.7).exp(),
        torch.full((1, 2, 2), 1 / 0.7),
    )


@pytest.mark.parametrize("zero_unsure", [False, True])
@pytest.mark.parametrize("classes", [2, 21])
def test_from_labels_pydensecrf(classes: int, zero_unsure: bool) -> None:
    utils = pytest.importorskip("pydensecrf.utils")
    labels = torch.randint(0, classes + zero_unsure, (9, 11))
    expected = utils.unary_from_labels(labels.cpu().numpy(), classes, gt_prob=0.8, zero_unsure=zero_unsure)
    unary = unary_from_labels(labels, classes, gt_prob=0.8, zero_unsure=zero_unsure)
    close(unary.flatten(1), on_device(torch.from_numpy(np.asarray(expected))))


@pytest.mark.parametrize("clip", [1e-5, 0.1, None])
def test_from_probs_pydensecrf(clip: float | None) -> None:
    utils = pytest.importorskip("pydensecrf.utils")
    probs = torch.softmax(torch.randn(5, 9, 11) * 6, 0)
    expected = utils.unary_from_softmax(probs.cpu().numpy(), clip=clip)
    close(unary_from_probs(probs, clip).flatten(1), on_device(torch.from_numpy(np.asarray(expected))))


def test_from_probs() -> None:
    probs = torch.rand(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    unary = unary_from_probs(probs)
    assert unary.shape == probs.shape
    close((-unary).exp(), probs.clamp(1e-5))
    assert gradcheck(unary_from_probs, probs)
    assert unary_from_probs(torch.zeros(1, 1, 1), None).item() == math.inf
    assert unary_from_probs(torch.zeros(0, 2, 3, 4)).shape == (0, 2, 3, 4)


def label_map() -> Tensor:
    return torch.zeros(3, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: unary_from_labels(None, 2), TypeError, ["labels", "tensor", "NoneType"]),
        (lambda: unary_from_labels(label_map().float(), 2), TypeError, ["labels", "uint8", "float32"]),
        (lambda: unary_from_labels(label_map()[0], 2), ValueError, ["labels", "[H,W]", "[4]"]),
        (lambda: unary_from_labels(label_map().to("meta"), 2), ValueError, ["labels", "CPU", "meta"]),
        (lambda: unary_from_labels(label_map() + 255, 21), ValueError, ["labels", "[0, 20]", "255"]),
        (lambda: unary_from_labels(label_map() - 1, 21), ValueError, ["labels", "[0, 20]", "-1"]),
        (
            lambda: unary_from_labels(label_map() + 22, 21, zero_unsure=True),
            ValueError,
            ["labels", "[0, 21]", "22"],
        ),
        (lambda: unary_from_labels(label_map(), 0), ValueError, ["n_labels", "[1, 2147483647]", "0"]),
        (lambda: unary_from_labels(label_map(), 2.0), TypeError, ["n_labels", "integer", "2.0"]),
        (lambda: unary_from_labels(label_map(), 2, gt_prob=0), ValueError, ["gt_prob", "> 0", "0"]),
        (lambda: unary_from_labels(label_map(), 2, gt_prob=1.0), ValueError, ["gt_prob", "< 1", "1.0"]),
        (lambda: unary_from_labels(label_map(), 2, zero_unsure=1), TypeError, ["zero_unsure", "bool", "1"]),
        (lambda: unary_from_probs([0.5]), TypeError, ["probs", "tensor", "list"]),
        (lambda: unary_from_probs(torch.rand(3, 4)), ValueError, ["probs", "[C,H,W]", "[3,4]"]),
        (lambda: unary_from_probs(torch.rand(2, 3, 4).half()), TypeError, ["probs", "float32", "float16"]),
        (lambda: unary_from_probs(torch.full((2, 3, 4), torch.nan)), ValueError, ["probs", "[0, 1]", "nan"]),
        (lambda: unary_from_probs(torch.full((2, 3, 4), 1.5)), ValueError, ["probs", "[0, 1]", "1.5"]),
        (lambda: unary_from_probs(torch.full((2, 3, 4), -0.5)), ValueError, ["probs", "[0, 1]", "-0.5"]),
        (lambda: unary_from_probs(torch.rand(2, 3, 4), clip=1), ValueError, ["clip", "[0, 1)", "1"]),
        (lambda: unary_from_probs(torch.rand(2, 3, 4), clip=-1), ValueError, ["clip", ">= 0", "-1"]),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], words: list[str]) -> None:
    with check_values(True), pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.only_on("cuda", "cuda-host", reason="an error on the CPU")
def test_a_bad_value_becomes_nan() -> None:
    for zero_unsure in (False, True):
        good = torch.tensor([[0, 1, 2]])
        expected = unary_from_labels(good, 3, zero_unsure=zero_unsure)
        expected[:, 0, 1] = torch.nan
        for bad in (-1, 4):
            unary = unary_from_labels(torch.tensor([[0, bad, 2]]), 3, zero_unsure=zero_unsure)
            torch.testing.assert_close(unary, expected, equal_nan=True)
    for bad in (-0.1, 1.1, torch.nan):
        unary = unary_from_probs(torch.tensor([0.5, bad]).reshape(2, 1, 1)).flatten()
        torch.testing.assert_close(unary, torch.tensor([math.log(2), torch.nan]), equal_nan=True)
