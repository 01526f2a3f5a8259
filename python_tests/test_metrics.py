"""wsss_fast.metrics against counts made by hand and by brute force."""

from __future__ import annotations

import math
import pickle
import tracemalloc

import numpy as np
import pytest
import torch

from wsss_fast.metrics import BoundaryIou, ConfusionMatrix, Scores, ThresholdSweep, scores


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
        (
            mask([0, 1]),
            mask([0, 1])[None],
            r"truth: expected a mask .* uint8 or uint16, got \[1, 1, 2\]",
        ),
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


def test_hand_computed_relatives() -> None:
    # Truth: 6 background, 3 of class 1, 1 of class 2; class 3 is only predicted, class 4 absent.
    matrix = np.array([[4, 0, 0, 2, 0], [1, 2, 0, 0, 0], [1, 0, 0, 0, 0], [0] * 5, [0] * 5])
    result = scores(matrix)
    iou = [4 / 8, 2 / 3, 0, 0]
    assert result.iou[:4] == pytest.approx(iou)
    assert math.isnan(result.iou[4])
    assert result.mean_iou == pytest.approx(sum(iou) / 4)
    assert result.mean_iou_all == pytest.approx(sum(iou) / 5)
    assert result.mean_iou_present == pytest.approx(sum(iou) / 3)
    assert result.frequency_weighted_iou == pytest.approx((6 * 4 / 8 + 3 * 2 / 3 + 1 * 0) / 10)
    assert result.pixel_accuracy == pytest.approx(6 / 10)
    assert result.class_accuracy[:3] == pytest.approx([4 / 6, 2 / 3, 0])
    assert np.isnan(result.class_accuracy[3:]).all()
    assert result.mean_class_accuracy == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert result.skipped == (2,)
    # Two of three classes found.
    assert result.combined == pytest.approx((2 - 1 + math.sqrt(4 / 8 * 2 / 3)) / 3)


def test_combined_at_its_ends() -> None:
    assert scores(np.diag([4, 1, 2])).combined == 1
    assert scores(np.array([[0, 4], [3, 0]])).combined == 0
    assert scores(np.array([[5, 0], [5, 0]])).combined == pytest.approx((1 - 1 + 1 / 2) / 2)
    assert math.isnan(scores(np.zeros((3, 3))).combined)


def random_matrix(generator: np.random.Generator, classes: int) -> np.ndarray:
    """With classes of all sizes, some of them hardly or never found."""
    sizes = 10 ** generator.uniform(0, 4, (classes, 1))
    matrix = generator.poisson(sizes * generator.dirichlet(np.full(classes, 0.3), classes))
    hits = 10 ** generator.uniform(-1, 4, classes) * (generator.random(classes) < 0.8)
    return matrix + np.diag(hits.astype(np.int64))


def found(result: Scores) -> int:
    return int((np.nan_to_num(result.iou) > 0).sum())


def test_giving_up_a_class_never_raises_combined() -> None:
    generator = np.random.default_rng(5)
    raised = {"mean_iou": 0, "mean_iou_present": 0, "frequency_weighted_iou": 0, "pixel_accuracy": 0}
    moved = 0
    for _ in range(300):
        classes = int(generator.integers(2, 8))
        matrix = random_matrix(generator, classes)
        before = scores(matrix)
        for given_up in np.flatnonzero(np.nan_to_num(before.iou) > 0):
            # The pixels go to any classes that were found already, often to the right one.
            others = [k for k in range(classes) if k != given_up and before.iou[k] > 0]
            if not others:
                continue
            after = matrix.copy()
            after[:, given_up] = 0
            for row, count in enumerate(matrix[:, given_up]):
                right = row in others and generator.random() < 0.5
                share = np.eye(classes)[row, others] if right else np.full(len(others), 1 / len(others))
                after[row, others] += generator.multinomial(count, share)
            result = scores(after)
            assert found(result) == found(before) - 1
            assert result.combined < before.combined
            moved += 1
            for key in raised:
                raised[key] += getattr(result, key) > getattr(before, key)
    assert moved > 500
    assert all(raised.values()), raised  # what the others do not promise


def test_finding_more_classes_always_wins() -> None:
    generator = np.random.default_rng(6)
    truth = np.array([5000, 300, 40, 7])
    results = []
    for _ in range(300):
        shares = [generator.dirichlet(10 ** generator.uniform(-3, 1, 4)) for _ in truth]
        matrix = [generator.multinomial(n, share) for n, share in zip(truth, shares, strict=True)]
        results.append(scores(np.array(matrix)))
    assert {found(r) for r in results} >= {1, 2, 3, 4}
    for n in range(1, 4):
        fewer = [r.combined for r in results if found(r) <= n]
        more = [r.combined for r in results if found(r) > n]
        assert max(fewer) < min(more)


def test_mean_iou_can_rise_when_a_class_is_skipped() -> None:
    # Class 2 is found for half of its pixels, at the cost of most of class 1.
    honest = scores(np.array([[100, 0, 0], [0, 10, 90], [0, 1, 1]]))
    skipping = scores(np.array([[100, 0, 0], [0, 100, 0], [0, 2, 0]]))
    assert skipping.skipped == (2,)
    assert skipping.mean_iou > honest.mean_iou + 0.25
    assert skipping.combined < honest.combined


def test_one_right_pixel_does_not_make_up_for_a_class() -> None:
    def combined(right: int) -> float:
        return scores(np.array([[1000, 0, 0], [0, 1000, 0], [1000 - right, 0, right]])).combined

    values = [combined(right) for right in (0, 1, 10, 100, 1000)]
    assert values == sorted(values)
    assert values[1] < (2 + 0.1) / 3  # hardly more than the most that two classes can get
    assert values[-1] == 1


def brute_force_band(mask: np.ndarray, label: int, reach: int) -> np.ndarray:
    """The pixels of a label with another one, or the outside, in the window around them."""
    height, width = mask.shape
    band = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            ys, xs = range(y - reach, y + reach + 1), range(x - reach, x + reach + 1)
            band[y, x] = mask[y, x] == label and any(
                not (0 <= v < height and 0 <= u < width) or mask[v, u] != label for v in ys for u in xs
            )
    return band


@pytest.mark.parametrize(
    ("size", "width", "reach"),
    [((23, 31), 0.02, 1), ((23, 31), 0.06, 2), ((31, 17), 0.12, 4), ((9, 40), 0.13, 5), ((1, 1), 0.5, 1)],
)
def test_boundary_iou_is_that_of_bands(size: tuple[int, int], width: float, reach: int) -> None:
    generator = np.random.default_rng(7)
    classes = 4
    boundary = BoundaryIou(classes, width)
    intersection, union = np.zeros(classes, int), np.zeros(classes, int)
    for dtype in (np.uint8, np.uint16, np.uint8):
        blocks = generator.integers(0, classes, (-(-size[0] // 12), -(-size[1] // 12)))
        truth = np.kron(blocks, np.ones((12, 12), int))[: size[0], : size[1]].astype(dtype)
        prediction = np.roll(truth, (1, 2), (0, 1)).astype(np.uint8)
        truth[generator.random(size) < 0.02] = np.iinfo(dtype).max
        boundary.update(prediction, truth)
        open_ = truth == np.iinfo(dtype).max
        closed = [np.where(open_, -1, mask.astype(int)) for mask in (prediction, truth)]
        for k in range(classes):
            first, second = (brute_force_band(mask, k, reach) for mask in closed)
            intersection[k] += (first & second).sum()
            union[k] += (first | second).sum()
    assert boundary.images == 3
    assert boundary.intersection.tolist() == intersection.tolist()
    assert boundary.union.tolist() == union.tolist()
    present = union > 0
    assert boundary.iou[present] == pytest.approx(intersection[present] / union[present])
    assert np.isnan(boundary.iou[~present]).all()
    assert boundary.mean_iou == pytest.approx((intersection[present] / union[present]).mean())


def test_a_prediction_that_is_right_where_it_can_be_has_boundary_iou_1() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    prediction = truth.copy()
    truth[8:32, 8:12] = 255  # the truth leaves a side of the object open
    prediction[8:32, 8:11] = 0
    boundary = BoundaryIou(2, 0.05)
    boundary.update(prediction, truth)
    assert boundary.iou.tolist() == [1, 1]


def test_boundary_iou_of_nothing() -> None:
    boundary = BoundaryIou(2, 0.05)
    boundary.update(mask([0, 1]), mask([255, 255]))
    assert math.isnan(boundary.mean_iou)
    with pytest.raises(ValueError, match=r"width: expected a number in \(0, 1\), got 1"):
        BoundaryIou(2, 1)
    with pytest.raises(ValueError, match="prediction: expected class ids 0 to 1, got 2"):
        boundary.update(mask([0, 2]), mask([0, 1]))


def test_masks_of_16_bits() -> None:
    # 300 classes: ids above 255, and 255 is one of them.
    confusion, boundary = ConfusionMatrix(300), BoundaryIou(300, 0.02)
    truth = np.array([[0, 255, 256, 299, 65535, 65535]], np.uint16)
    prediction = np.array([[0, 255, 299, 299, 256, 0]], np.uint16)
    for metric in (confusion, boundary):
        metric.update(prediction, truth)
    assert np.argwhere(confusion.counts).tolist() == [[0, 0], [255, 255], [256, 299], [299, 299]]
    assert confusion.scores().skipped == (256,)
    for iou in (confusion.scores().iou, boundary.iou):
        assert iou[[0, 255, 256, 299]].tolist() == [1, 1, 0, 0.5]
        assert np.isfinite(iou).sum() == 4
    # The types need not be the same: each has an ignore label of its own.
    mixed = BoundaryIou(300, 0.02)
    mixed.update(prediction, np.array([[0, 255, 9, 9, 9, 0]], np.uint8))
    assert np.flatnonzero(mixed.union).tolist() == [0, 9, 256, 299]
    with pytest.raises(ValueError, match=r"truth: expected class ids 0 to 299 or 65535 \(ignore\), got 300"):
        confusion.update(prediction, np.full((1, 6), 300, np.uint16))


def test_sweep_of_ids_above_255() -> None:
    sweep = ThresholdSweep(300, [0.5])
    truth = np.array([[0, 299, 65535, 299]], np.uint16)
    maps = np.array([[[0.1, 0.9, 0.9, 0.2]], [[0.2, 0.1, 0.1, 0.3]]])
    sweep.update(maps, np.array([299, 270]), truth)
    assert np.argwhere(sweep.counts[0]).tolist() == [[0, 0], [299, 0], [299, 299]]


def test_sweep_with_labels_of_another_rule() -> None:
    generator = np.random.default_rng(8)
    thresholds = [0.2, 0.5, 0.7]
    maps, classes = generator.random((2, 6, 5), np.float32), np.array([2, 3])
    truth = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), (6, 5))
    plain, labelled = ThresholdSweep(4, thresholds), ThresholdSweep(4, thresholds)
    plain.update(maps, classes, truth)
    winners = [np.concatenate([np.full((1, 6, 5), t, np.float32), maps]).argmax(axis=0) for t in thresholds]
    labelled.update_labels([np.array([0, 2, 3], np.uint8)[w] for w in winners], truth)
    assert labelled.counts.tolist() == plain.counts.tolist()
    assert labelled.images == 1
    with pytest.raises(ValueError, match="labels: expected 3 masks, one a threshold, got 1"):
        labelled.update_labels([truth], truth)


@pytest.mark.parametrize("wrong", [0, 4, -1])
def test_sweep_refuses_unknown_classes(wrong: int) -> None:
    sweep = ThresholdSweep(4, [0.5])
    with pytest.raises(ValueError, match=rf"classes: expected class ids 1 to 3, got {wrong}"):
        sweep.update(np.zeros((1, 1, 2)), np.array([wrong]), mask([0, 1]))
    assert sweep.images == 0


def test_confusion_is_that_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="needs the pipeline extra")
    from torchmetrics.classification import MulticlassConfusionMatrix

    generator = np.random.default_rng(9)
    ours = ConfusionMatrix(21)
    theirs = MulticlassConfusionMatrix(21, ignore_index=255)
    for _ in range(3):
        prediction = generator.integers(0, 21, (30, 40)).astype(np.uint8)
        truth = generator.integers(0, 21, (30, 40)).astype(np.uint8)
        truth[generator.random(truth.shape) < 0.1] = 255
        ours.update(prediction, truth)
        theirs.update(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    assert ours.counts.tolist() == theirs.compute().tolist()


def test_what_is_held_does_not_grow_with_the_images() -> None:
    generator = np.random.default_rng(10)
    classes, thresholds = 201, [0.05 * i for i in range(1, 15)]
    confusion, boundary = ConfusionMatrix(classes), BoundaryIou(classes, 0.02)
    sweep = ThresholdSweep(classes, thresholds)

    def held() -> int:
        return sum(len(pickle.dumps(metric)) for metric in (confusion, boundary, sweep))

    def feed(images: int) -> None:
        for _ in range(images):
            present = 1 + generator.choice(classes - 1, 3, replace=False)
            truth = np.array([0, *present, 255], np.uint8)[generator.integers(0, 5, (48, 64))]
            prediction = np.array([0, *present], np.uint8)[generator.integers(0, 4, (48, 64))]
            confusion.update(prediction, truth)
            boundary.update(prediction, truth)
            sweep.update(generator.random((3, 48, 64), np.float32), present, truth)

    feed(10)
    tracemalloc.start()
    feed(10)
    before = held(), tracemalloc.get_traced_memory()[0]
    feed(400)
    after = held(), tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert confusion.images == boundary.images == sweep.images == 420
    assert after[0] - before[0] < 100  # the digits of counters
    assert after[1] - before[1] < 20_000  # less than seven of the masks
    # All pixels are there: at each threshold as many as in the confusion matrix.
    assert (sweep.counts.sum(axis=(1, 2)) == confusion.counts.sum()).all()
    assert confusion.counts.sum() > 420 * 48 * 64 * 0.7
