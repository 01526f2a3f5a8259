"""The stand-in for pydensecrf.utils: against its formulas written out, and against pydensecrf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from wsss_fast.compat.pydensecrf import utils


def peer() -> Any:
    return pytest.importorskip("pydensecrf.utils")


def rounded(found: np.ndarray, expected: Any) -> None:
    """Equal but for the last bit or two of float32."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.asarray(expected), rtol=3e-7, atol=1e-7)


LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])


def test_labels_with_zero_unsure() -> None:
    unknown, yes, no = 1 / 3, 0.8, 0.1
    expected = -np.log(
        [
            [unknown, yes, no, no, no, no, yes, unknown],
            [unknown, no, yes, no, no, yes, no, unknown],
            [unknown, no, no, yes, yes, no, no, unknown],
        ]
    )
    rounded(utils.unary_from_labels(LABELS, 3, 0.8), expected)
    rounded(utils.unary_from_labels(LABELS, 3, gt_prob=0.8, zero_unsure=True), expected)


def test_labels_without_zero_unsure() -> None:
    expected = np.full((4, 8), -np.log(0.3 / 3))
    expected[LABELS.flatten(), np.arange(8)] = -np.log(0.7)
    rounded(utils.unary_from_labels(LABELS, 4, gt_prob=0.7, zero_unsure=False), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("shape", [(60,), (6, 10), (3, 4, 5)])
def test_labels_of_any_integer_type_and_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).integers(0, 5, shape)
    expected = utils.unary_from_labels(labels.flatten(), 5, 0.6)
    assert expected.shape == (5, 60)
    assert (utils.unary_from_labels(labels.astype(dtype), 5, np.float64(0.6)) == expected).all()
    assert (utils.unary_from_labels(labels.tolist(), 5, 0.6) == expected).all()
    fortran = np.asfortranarray(labels)
    assert (utils.unary_from_labels(fortran, 5, 0.6) == expected).all()


def test_labels_of_one_class() -> None:
    assert (
        utils.unary_from_labels(np.zeros(4, int), 1, 0.7, zero_unsure=False) == -np.log(np.float32(0.7))
    ).all()
    assert utils.unary_from_labels(np.zeros(0, int), 3, 0.7).shape == (3, 0)


@pytest.mark.parametrize("zero_unsure", [True, False, np.bool_(True), 0])
def test_labels_are_those_of_the_other(zero_unsure: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 10))
    expected = peer().unary_from_labels(labels, 5, 0.7, zero_unsure)
    assert (utils.unary_from_labels(labels, 5, 0.7, zero_unsure) == expected).all()


SOFTMAX = np.random.default_rng(1).dirichlet([0.2] * 4, 60).T.reshape(4, 6, 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax(dtype: Any) -> None:
    sm = SOFTMAX.astype(dtype)
    sm[:, 0, 0] = [0, 1.0005, 0, 0]
    flat = sm.reshape(4, 60).astype(np.float64)
    rounded(utils.unary_from_softmax(sm), -np.log(np.clip(flat, 1e-5, 1)))
    rounded(utils.unary_from_softmax(sm, clip=0.01), -np.log(np.clip(flat, 0.01, 1)))
    rounded(utils.unary_from_softmax(sm, scale=0.7), -np.log(np.clip(0.7 * flat + 0.3 / 4, 1e-5, 1)))
    rounded(utils.unary_from_softmax(sm, 1.0), -np.log(np.clip(flat, 1e-5, 1)))
    raw = utils.unary_from_softmax(sm, clip=None)
    assert (np.isinf(raw) == (flat == 0)).all()
    rounded(np.exp(-raw), flat)


@pytest.mark.parametrize("shape", [(4,), (4, 7), (4, 2, 3, 5)])
def test_softmax_of_any_shape(shape: tuple[int, ...]) -> None:
    sm = np.random.default_rng(2).random(shape)
    rounded(utils.unary_from_softmax(sm), -np.log(sm.reshape(4, -1)))
    rounded(utils.unary_from_softmax(torch.from_numpy(sm)), -np.log(sm.reshape(4, -1)))


def test_energies_and_features_are_contiguous() -> None:
    assert not SOFTMAX.flags.c_contiguous
    assert utils.unary_from_softmax(SOFTMAX).flags.c_contiguous
    assert utils.unary_from_labels(np.asfortranarray(LABELS), 3, 0.7).flags.c_contiguous
    assert utils.create_pairwise_gaussian((3, 3), (4, 5)).flags.c_contiguous
    assert utils.create_pairwise_bilateral((3, 3), 1, SOFTMAX, chdim=0).flags.c_contiguous


def test_softmax_does_not_change_its_input() -> None:
    before = SOFTMAX.copy()
    utils.unary_from_softmax(SOFTMAX, scale=0.5)
    utils.unary_from_softmax(SOFTMAX, clip=0.2)
    assert (before == SOFTMAX).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"scale": 0.7}, {"clip": None}, {"scale": 1, "clip": 0.01}])
def test_softmax_is_that_of_the_other(options: dict[str, Any], dtype: Any) -> None:
    sm = SOFTMAX.astype(dtype)
    sm[0, 0, 0] = -0.5 if options.get("clip", 1) else 0.5  # a clip takes anything
    rounded(utils.unary_from_softmax(sm, **options), peer().unary_from_softmax(sm, **options))


def test_old_names() -> None:
    with pytest.warns(DeprecationWarning, match="unary_from_labels"):
        old = utils.compute_unary(LABELS, 3)
    assert (old == utils.unary_from_labels(LABELS, 3, 0.5)).all()
    with pytest.warns(DeprecationWarning, match="unary_from_labels"):
        old = utils.compute_unary(LABELS, M=3, GT_PROB=0.8)
    assert (old == utils.unary_from_labels(LABELS, 3, 0.8)).all()
    with pytest.warns(DeprecationWarning, match="unary_from_softmax"):
        old = utils.softmax_to_unary(SOFTMAX)
    assert (old == utils.unary_from_softmax(SOFTMAX, clip=None)).all()
    with pytest.warns(DeprecationWarning, match="unary_from_softmax"):
        old = utils.softmax_to_unary(SOFTMAX, GT_PROB=0.8)
    assert (old == utils.unary_from_softmax(SOFTMAX, 0.8, clip=None)).all()


def test_gaussian_features() -> None:
    found = utils.create_pairwise_gaussian(sdims=(1.7, 3.3, 0.9), shape=(4, 5, 6))
    assert found.shape == (3, 120)
    point = (3 * 5 + 2) * 6 + 1
    rounded(found[:, point], [3 / 1.7, 2 / 3.3, 1 / 0.9])
    rounded(found.reshape(3, 4, 5, 6)[1, 0, :, 5], np.arange(5) / 3.3)
    assert utils.create_pairwise_gaussian((3,), (7,)).shape == (1, 7)


def test_bilateral_features() -> None:
    volume = np.random.default_rng(3).random((4, 5, 6, 2)) * 9
    found = utils.create_pairwise_bilateral((1.7, 3.3, 0.9), (0.1, 0.2), volume, chdim=3)
    assert found.shape == (5, 120)
    point = (3 * 5 + 2) * 6 + 1
    a, b = volume[3, 2, 1]
    rounded(found[:, point], [3 / 1.7, 2 / 3.3, 1 / 0.9, a / 0.1, b / 0.2])
    first = np.moveaxis(volume, 3, 0)
    assert (utils.create_pairwise_bilateral((1.7, 3.3, 0.9), (0.1, 0.2), first, chdim=0) == found).all()
    second = np.moveaxis(volume, 3, 1)
    assert (utils.create_pairwise_bilateral([1.7, 3.3, 0.9], [0.1, 0.2], second, chdim=-3) == found).all()
    one = utils.create_pairwise_bilateral((1.7, 3.3, 0.9), 0.1, volume[..., 0])
    assert (one == found[:4]).all()


@pytest.mark.parametrize(
    ("sdims", "schan", "shape", "chdim", "dtype"),
    [
        ((80, 80), (13, 13, 13), (8, 9, 3), 2, np.uint8),
        ((80, 80), 13, (8, 9, 3), 2, np.uint8),
        ((10, 10), (0.01,), (8, 9, 1), 2, np.uint8),
        ((1.7, 3.3), 0.3, (8, 9), -1, np.float32),
        ((1.7, 3.3, 0.9), (0.3, 0.7), (2, 4, 5, 6), 0, np.float64),
        ((1.7, 3.3, 0.9), (0.3, 0.7), (4, 2, 5, 6), 1, np.int16),
        ((2,), 0.5, (40,), -1, np.float32),
    ],
)
def test_features_are_those_of_the_other(
    sdims: Any, schan: Any, shape: tuple[int, ...], chdim: int, dtype: Any
) -> None:
    img = (np.random.default_rng(4).random(shape) * 200).astype(dtype)
    expected = peer().create_pairwise_bilateral(sdims, schan, img, chdim)
    assert (utils.create_pairwise_bilateral(sdims, schan, img, chdim) == expected).all()
    grid = [n for axis, n in enumerate(shape) if chdim == -1 or axis != chdim]
    expected = peer().create_pairwise_gaussian(sdims, grid)
    assert (utils.create_pairwise_gaussian(sdims, grid) == expected).all()


IMG = np.zeros((4, 5, 3))

BAD = [
    (lambda: utils.unary_from_labels(None, 3, 0.7), TypeError, ["labels", "integers", "None"]),
    (lambda: utils.unary_from_labels(np.ones(4), 3, 0.7), TypeError, ["labels", "integers", "[4] float64"]),
    (lambda: utils.unary_from_labels(np.ones(4, bool), 3, 0.7), TypeError, ["labels", "integers", "bool"]),
    (lambda: utils.unary_from_labels(np.array([4]), 3, 0.7), ValueError, ["labels", "[0, 3]", "4"]),
    (lambda: utils.unary_from_labels(np.array([3]), 3, 0.7, False), ValueError, ["labels", "[0, 2]", "3"]),
    (lambda: utils.unary_from_labels(np.array([-1]), 3, 0.7), ValueError, ["labels", "-1"]),
    (lambda: utils.unary_from_labels(LABELS, 0, 0.7), ValueError, ["n_labels", "0"]),
    (lambda: utils.unary_from_labels(LABELS, 3, 1), ValueError, ["gt_prob", "< 1", "1"]),
    (lambda: utils.unary_from_labels(LABELS, 3, 0), ValueError, ["gt_prob", "> 0", "0"]),
    (lambda: utils.unary_from_labels(LABELS, 3, "a"), TypeError, ["gt_prob", "'a'"]),
    (lambda: utils.unary_from_softmax(None), TypeError, ["sm", "[C, ...]", "None"]),
    (lambda: utils.unary_from_softmax(np.float32(0.5)), ValueError, ["sm", "[C, ...]", "[] float32"]),
    (lambda: utils.unary_from_softmax(np.zeros((0, 4))), ValueError, ["sm", "[0,4]"]),
    (lambda: utils.unary_from_softmax(np.array([np.nan, 1])), ValueError, ["sm", ">= 0", "nan"]),
    (lambda: utils.unary_from_softmax(np.array([-0.5, 1]), clip=None), ValueError, ["sm", ">= 0", "-0.5"]),
    (lambda: utils.unary_from_softmax(SOFTMAX, scale=0), ValueError, ["scale", "> 0", "0"]),
    (lambda: utils.unary_from_softmax(SOFTMAX, scale=1.1), ValueError, ["scale", "<= 1", "1.1"]),
    (lambda: utils.unary_from_softmax(SOFTMAX, clip=-1), ValueError, ["clip", ">= 0", "-1"]),
    (lambda: utils.unary_from_softmax(SOFTMAX, clip="a"), TypeError, ["clip", "'a'"]),
    (lambda: utils.create_pairwise_gaussian((3, 3), (4, 5, 6)), ValueError, ["sdims", "3 numbers", "[2]"]),
    (lambda: utils.create_pairwise_gaussian(3, (4, 5)), ValueError, ["sdims", "2 numbers", "[]"]),
    (lambda: utils.create_pairwise_gaussian((3, 0), (4, 5)), ValueError, ["sdims", "> 0"]),
    (lambda: utils.create_pairwise_gaussian((3, 3), (4, 0)), ValueError, ["shape[1]", "0"]),
    (lambda: utils.create_pairwise_gaussian((3, 3), (4, 5.0)), TypeError, ["shape[1]", "5.0"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), 1, None), TypeError, ["img", "None"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), 1, 5.0), ValueError, ["img", "axis", "[] float64"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), 1, IMG), ValueError, ["sdims", "3 numbers", "[2]"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), 1, IMG, 3), ValueError, ["chdim", "[-3, 2]", "3"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), (1, 1), IMG, 2), ValueError, ["schan", "3 of", "[2]"]),
    (lambda: utils.create_pairwise_bilateral((3, 3), 0, IMG, 2), ValueError, ["schan", "> 0", "0"]),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call: Callable[[], Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
