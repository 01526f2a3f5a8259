"""Soft labels by hand-computed cases, and against the rule that makes hard ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import close

pytest.importorskip("torchvision", reason="needs the pipeline extra")

from wsss_fast.data.soft_labels import SoftLabels, SoftMaps, padded
from wsss_fast.data.transforms import segmenter_transform


def soft(
    maps: list[list[float]], threshold: float, own: dict[int, float] | None = None, apart: bool = False
) -> SoftMaps:
    """One row of pixels a map; classes 3, 4, ..."""
    values = np.array(maps, np.float64)[:, None]
    return SoftMaps(np.arange(3, 3 + len(maps)), values, threshold, own or {}, apart)


def test_probabilities_go_with_maps_and_threshold() -> None:
    found = soft([[1.0, 0.5, 0.0], [0.0, 0.25, 0.0]], 0.25).probabilities((1, 3))
    assert found.dtype == np.float32
    # m / (m + t), of maps divided by 1 + 1e-5
    expected = [[0.2, 0.25, 1.0], [0.8, 0.5, 0.0], [0.0, 0.25, 0.0]]
    close(torch.from_numpy(found[:, 0]), torch.tensor(expected), atol=1e-5)
    assert soft([[1.0, 0.5, 0.0], [0.0, 0.25, 0.0]], 0.25).ids.tolist() == [0, 3, 4]


def test_a_class_with_a_threshold_of_its_own_is_measured_by_it() -> None:
    # In units of their thresholds: 1 and 2 (of 0.5), 2 and 1 (of 0.25); the background is 1.
    found = soft([[0.5, 1.0], [0.5, 0.25]], 0.5, {4: 0.25}).probabilities((1, 2))
    close(torch.from_numpy(found[:, 0]), torch.tensor([[0.25, 0.25], [0.25, 0.5], [0.5, 0.25]]), atol=1e-5)


def test_a_class_that_stands_apart_has_a_maximum_of_its_own() -> None:
    # The maxima are 0.5 (of two maps) and 0.2: relative to them the pixels have 1, 0, 1 and 0, 0.5, 0.5.
    maps = [[0.5, 0.0], [0.0, 0.25], [0.2, 0.1]]
    found = soft(maps, 0.5, {5: 0.5}, apart=True).probabilities((1, 2))
    expected = torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]]) / torch.tensor([5.0, 3.0])
    close(torch.from_numpy(found[:, 0]), expected, atol=2e-5)  # and the rounding of 1e-5 beside a maximum
    alone = soft(maps[2:], 0.5, {3: 0.5}, apart=True).probabilities((1, 2))
    close(torch.from_numpy(alone[:, 0]), torch.tensor([[1 / 3, 0.5], [2 / 3, 0.5]]), atol=2e-5)


def test_a_background_at_zero() -> None:
    maps = [[1.0, 0.0, 0.0], [0.5, 0.0, 0.8]]
    found = soft(maps, 0.0, {4: 0.4}).probabilities((1, 3))
    # The second class is nothing beside one that any activation will do for. Where that one has none, it is
    # measured by its own threshold: 2 to the background's 1.
    expected = torch.tensor([[0.0, 1.0, 1 / 3], [1.0, 0.0, 0.0], [0.0, 0.0, 2 / 3]])
    close(torch.from_numpy(found[:, 0]), expected, atol=1e-5)


def test_no_class_is_all_background() -> None:
    found = SoftMaps(np.zeros(0, np.int16), np.zeros((0, 2, 2), np.float16), 0.3)
    assert found.ids.tolist() == [0]
    assert (found.probabilities((3, 4)) == np.ones((1, 3, 4))).all()


@pytest.mark.parametrize("size", [(6, 8), (24, 31), (5, 5)])
def test_the_most_probable_label_is_the_hard_one(size: tuple[int, int]) -> None:
    maps = torch.rand(3, 6, 8)
    maps[0, :3] *= 0.1
    found = SoftMaps(np.array([2, 5, 9]), maps.numpy(), 0.4).probabilities(size)
    assert found.shape == (4, *size)
    assert found.min() >= 0
    close(torch.from_numpy(found).sum(0), torch.ones(size))
    resampled = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    resampled = resampled / (resampled.max() + 1e-5)
    hard = torch.cat([torch.full((1, *size), 0.4), resampled]).argmax(0)
    assert torch.equal(torch.from_numpy(found).argmax(0), hard)


def test_same_bits_at_any_thread_count(threads: Callable[[int], None]) -> None:
    maps = SoftMaps(np.array([1, 2]), torch.rand(2, 47, 63).numpy(), 0.3)
    transform = segmenter_transform(image_size=160, min_scale=0.5, max_scale=2, mean=(0.5,) * 3)
    image = np.zeros((187, 251, 3), np.uint8)
    results = []
    for count in (1, 2, 4):
        threads(count)
        probs = maps.probabilities((187, 251))
        torch.manual_seed(2)
        results.append((torch.from_numpy(probs), transform(image, probs)[1]))
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0])
        assert torch.equal(other[1], results[0][1])  # type: ignore[arg-type]


def test_a_batch_holds_no_more_than_the_classes_of_its_images() -> None:
    # Of 201 classes or 65,535: the images name one, three and two.
    items = [
        SoftLabels(torch.tensor(ids), torch.full((len(ids), 4, 4), 1 / len(ids), dtype=torch.float16))
        for ids in ([0], [0, 200, 65534], [0, 255])
    ]
    ids, probs = padded(items)
    assert ids.tolist() == [[0, 0, 0], [0, 200, 65534], [0, 255, 0]]
    assert (probs.shape, probs.dtype) == ((3, 3, 4, 4), torch.float16)
    assert probs[:, :, 0, 0].tolist() == torch.tensor([[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]]).half().tolist()
