"""wsss_fast.metrics against counts made by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torchmetrics", reason="needs the pipeline extra")

from wsss_fast.metrics import ConfusionMatrix, ThresholdSweep, scores


def mask(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_hand_computed() -> None:
    confusion = ConfusionMatrix(4)
    # Truth: 3 background, 2 of class 1, 1 of class 2, one ignored.
    truth = mask([0, 0, 0, 1], [1, 2, 255, 0])
    prediction = mask([0, 0, 1, 1], [0, 1, 2, 0])
    confusion.update(prediction, truth)
    assert confusion.counts.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    result = confusion.scores()
    # background 3 / (4 + 4 - 3), class 1: 1 / (2 + 3 - 1), class 2: 0 / 1, class 3 is absent
    assert result.iou[:3] == pytest.approx([3 / 5, 1 / 4, 0])
    assert math.isnan(result.iou[3])
    assert result.mean_iou == pytest.approx((3 / 5 + 1 / 4 + 0) / 3)
    assert result.pixel_accuracy == pytest.approx(4 / 7)


def test_streaming_equals_one_image() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, (12, 7), np.uint8)
    truth[generator.random(truth.shape) < 0.1] = 255
    prediction = generator.integers(0, 3, (12, 7), np.uint8)
    whole, parts = ConfusionMatrix(3), ConfusionMatrix(3)
    whole.update(prediction, truth)
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        parts.update(prediction[rows], truth[rows])
    assert (whole.counts == parts.counts).all()
    assert (whole.images, parts.images) == (1, 3)


def test_a_class_only_predicted_or_only_in_the_truth_counts_as_zero() -> None:
    only_predicted = ConfusionMatrix(3)
    only_predicted.update(mask([0, 1]), mask([0, 0]))
    assert only_predicted.scores().mean_iou == pytest.approx((1 / 2 + 0) / 2)
    only_true = ConfusionMatrix(3)
    only_true.update(mask([0, 0]), mask([0, 2]))
    assert only_true.scores().mean_iou == pytest.approx((1 / 2 + 0) / 2)


def test_nothing_counted_is_nan() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(mask([0, 1]), mask([255, 255]))
    assert math.isnan(confusion.scores().mean_iou)
    assert math.isnan(confusion.scores().pixel_accuracy)


def test_many_classes() -> None:
    confusion = ConfusionMatrix(255)
    everything = np.arange(255, dtype=np.uint8).reshape(15, 17)
    confusion.update(everything, everything)
    assert confusion.scores().mean_iou == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (mask([0, 1]), mask([0], [1]), r"prediction: expected 2 x 1 pixels as the truth has, got 1 x 2"),
        (mask([0, 3]), mask([0, 1]), r"prediction: expected class ids 0 to 2, got 3"),
        (mask([0, 255]), mask([0, 1]), r"prediction: expected class ids 0 to 2, got 255"),
        (mask([0, 1]), mask([0, 9]), r"truth: expected class ids 0 to 2 or 255 \(ignore\), got 9"),
        (mask([0, 1]).astype(np.int64), mask([0, 1]), r"prediction: expected a mask .*got \[1, 2\] int64"),
        (mask([0, 1]), mask([0, 1])[None], r"truth: expected a mask \[H,W\] uint8, got \[1, 1, 2\]"),
    ],
)
def test_masks_that_cannot_be_counted(prediction: np.ndarray, truth: np.ndarray, message: str) -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(prediction, truth)
    assert confusion.images == 0
    assert confusion.counts.sum() == 0


def test_sweep_equals_labelling_at_each_threshold() -> None:
    generator = np.random.default_rng(2)
    thresholds = [0.5, 0.1, 0.25, 0.75, 0.3, 1.0, 0.0]
    sweep = ThresholdSweep(5, thresholds)
    single = {t: ConfusionMatrix(5) for t in sorted(thresholds)}
    for classes in ([1, 3], [4], [], [1, 2, 3, 4]):
        # Values on a grid of quarters and zeros, so that ties with thresholds occur.
        maps = generator.choice([0, 0.1, 0.25, 0.3, 0.6, 0.75, 1], (len(classes), 9, 6)).astype(np.float16)
        truth = generator.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (9, 6))
        sweep.update(maps, np.array(classes, np.int16), truth)
        for threshold, confusion in single.items():
            background = np.full((1, 9, 6), threshold, np.float32)
            winner = np.concatenate([background, maps.astype(np.float32)]).argmax(axis=0)
            confusion.update(np.array([0, *classes], np.uint8)[winner], truth)
    assert sweep.thresholds == sorted(thresholds)
    assert sweep.images == 4
    for got, confusion in zip(sweep.scores(), single.values(), strict=True):
        np.testing.assert_array_equal(got.iou, confusion.scores().iou)
    means = [confusion.scores().mean_iou for confusion in single.values()]
    assert sweep.best() == int(np.argmax(means))


def test_sweep_takes_the_lowest_of_equal_thresholds() -> None:
    sweep = ThresholdSweep(2, [0.4, 0.2, 0.3])
    sweep.update(np.array([[[0.1, 0.9]]]), np.array([1]), mask([0, 1]))
    assert [s.mean_iou for s in sweep.scores()] == [1, 1, 1]
    assert sweep.best() == 0
    assert sweep.thresholds[0] == 0.2


def test_sweep_refuses_another_size() -> None:
    sweep = ThresholdSweep(2, [0.5])
    with pytest.raises(ValueError, match=r"maps: expected 1 x 2 pixels as the truth has, got 3 x 2"):
        sweep.update(np.zeros((1, 3, 2)), np.array([1]), mask([0, 1]))


def test_scores_of_a_perfect_matrix() -> None:
    result = scores(np.diag([4, 0, 2]))
    assert result.mean_iou == result.pixel_accuracy == 1
