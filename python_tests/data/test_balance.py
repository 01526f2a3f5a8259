"""Balanced epochs: how many images of each class, and that none is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss_fast.data.balance import MAX_REPEATS, Balanced, EveryImage, Mode


def single(*counts: int, without: int = 0) -> np.ndarray:
    """One class an image: so many images of each, then so many of none."""
    labels = np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)
    return np.concatenate([labels, np.zeros((without, len(counts)), bool)])


def counts_of(labels: np.ndarray, mode: Mode, target: int | None = None, seed: int = 0) -> list[int]:
    """Images of each class in an epoch, then those without any."""
    drawn = labels[Balanced(labels, mode, target).draw(torch.Generator().manual_seed(seed))]
    return [*drawn.sum(0).tolist(), int((~drawn.any(1)).sum())]


@pytest.mark.parametrize(
    ("mode", "target", "expected"),
    [
        ("none", None, [1, 7, 20, 100, 0]),
        ("down", None, [1, 7, 13, 13, 0]),  # the median of 1, 7, 20, 100 is 13.5
        ("up", None, [10, 13, 20, 100, 0]),  # an image at most ten times
        ("both", None, [10, 13, 13, 13, 0]),
        ("down", 5, [1, 5, 5, 5, 0]),
        ("up", 50, [10, 50, 50, 100, 0]),
        ("both", 1000, [10, 70, 200, 1000, 0]),
        ("both", 1, [1, 1, 1, 1, 0]),
    ],
)
def test_counts_with_one_class_an_image_are_exact(
    mode: Mode, target: int | None, expected: list[int]
) -> None:
    assert counts_of(single(1, 7, 20, 100), mode, target) == expected


@pytest.mark.parametrize(
    ("mode", "expected"), [("none", [10, 90]), ("down", [10, 50]), ("up", [50, 90]), ("both", [50, 50])]
)
def test_images_without_the_only_class_are_a_class(mode: Mode, expected: list[int]) -> None:
    assert counts_of(single(10, without=90), mode) == expected


def test_an_image_goes_by_its_rarest_class() -> None:
    # Class 0 in all 20 images, class 1 in the last 5.
    labels = np.zeros((20, 2), bool)
    labels[:, 0] = labels[15:, 1] = True
    # Down to 5: 5 of 5 by class 1; of the 15 that go by class 0 (20 in all), 15 * 5 / 20 = 3.75.
    assert counts_of(labels, "down", 5) == [9, 5, 0]
    # Up to 10: those of class 1 twice; the others stay.
    assert counts_of(labels, "up", 10) == [25, 10, 0]


@pytest.mark.parametrize("mode", ["down", "up", "both"])
def test_all_of_a_class_come_equally_often(mode: Mode) -> None:
    labels = single(3, 40, 8)
    plan = Balanced(labels, mode, 10)
    times = np.bincount(plan.draw(torch.Generator().manual_seed(1)), minlength=len(labels))
    for k in range(3):
        of_class = times[labels[:, k]]
        assert of_class.max() - of_class.min() <= 1


@pytest.mark.parametrize("seed", range(20))
def test_no_class_is_lost_and_no_image_repeats_without_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((60, 12)) < rng.random(12) ** 3
    labels[rng.integers(60)] = True  # one image with all
    for mode in ("down", "up", "both"):
        for target in (1, 3, 1000, None):
            plan = Balanced(labels, mode, target)  # type: ignore[arg-type]
            drawn = plan.draw(torch.Generator().manual_seed(seed))
            assert len(drawn) == len(plan)
            assert (labels[drawn].any(0) == labels.any(0)).all()
            times = np.bincount(drawn, minlength=60)
            assert times.max() <= (1 if mode == "down" else MAX_REPEATS)
            if mode == "up":
                assert times.min() >= 1


def test_a_class_that_only_comes_with_rarer_ones_is_not_lost() -> None:
    # Class 2 has as many images as the others, five shared with each: no image would go by it.
    labels = np.zeros((20, 3), bool)
    labels[:10, 0] = labels[10:, 1] = True
    labels[[*range(5), *range(10, 15)], 2] = True
    for seed in range(30):
        counts = counts_of(labels, "down", 1, seed)
        assert min(counts[:3]) >= 1


def test_draws_follow_from_the_generator_and_differ_from_epoch_to_epoch() -> None:
    plan = Balanced(single(2, 50), "both", 10)
    first, again, other = (plan.draw(torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert first.tolist() == again.tolist()
    assert sorted(first) != sorted(other)
    assert len(first) == len(other) == len(plan) == 20


def test_every_image_is_drawn_as_a_plain_permutation() -> None:
    expected = torch.randperm(9, generator=torch.Generator().manual_seed(5))
    drawn = EveryImage(9).draw(torch.Generator().manual_seed(5))
    assert (drawn.dtype, drawn.tolist()) == (np.int64, expected.tolist())


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"labels: expected bool \[N,K\], got int64 \[3\]"):
        Balanced(np.zeros(3, np.int64), "up")
    with pytest.raises(ValueError, match="target: expected an integer >= 1, got 0"):
        Balanced(single(2), "up", 0)
