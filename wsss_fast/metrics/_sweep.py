"""What becomes of activation maps at many background thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wsss_fast import _checks
from wsss_fast.files import ignore_of
from wsss_fast.metrics._confusion import (
    check_masks,
    check_n_classes,
    check_truth,
    ids_in,
    pair_counts,
)
from wsss_fast.metrics._scores import Scores, scores

_STRIPE = 1 << 15
"""Pixels that are counted at once: of a whole image, asking for memory would take longer than counting."""


class ThresholdSweep:
    """Confusion counts of the labels of activation maps at many background thresholds, in one pass.

    At threshold t a pixel has its strongest class where that activation is above t, else background. So a
    pixel changes once, and it is enough to count how many thresholds lie below its activation.

    >>> import numpy as np
    >>> from wsss_fast.metrics import ThresholdSweep
    >>> sweep = ThresholdSweep(n_classes=3, thresholds=[0.1, 0.3, 0.9])
    >>> maps = np.float32([[[0.2, 0.5, 1.0]]])  # one map of an image of 1 x 3 pixels ...
    >>> sweep.update(maps, classes=np.array([2]), truth=np.uint8([[0, 2, 2]]))  # ... that is of class 2
    >>> [round(s.mean_iou, 2) for s in sweep.scores()]
    [0.33, 1.0, 0.5]
    >>> sweep.thresholds[sweep.best()]
    0.3
    >>> sweep.update_labels([np.uint8([[0, 2, 2]])] * 3, truth=np.uint8([[0, 2, 2]]))
    >>> sweep.images
    2
    """

    def __init__(self, n_classes: int, thresholds: Sequence[float]) -> None:
        self.n_classes = n_classes = check_n_classes(n_classes)
        self.thresholds = sorted({_finite(f"thresholds[{i}]", t) for i, t in enumerate(thresholds)})
        if not self.thresholds:
            raise ValueError("thresholds: expected at least one number, got none")
        """Ascending, each once."""
        self.images = 0
        """How many images were counted."""
        self.counts = np.zeros((len(self.thresholds), n_classes, n_classes), np.int64)
        """int64 [T,K+1,K+1]: for each threshold, truth down and prediction across."""

    def update(self, maps: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> None:
        """Count one image: maps [M,H,W] of the classes present, their ids [M], the truth [H,W].

        Values are compared in float32. Raises `ValueError` for another size or number of maps, ids that are
        no (distinct) object classes of the set, values that are not finite, and a truth as `check_masks`
        does; `TypeError` for what is no array.
        """
        check_truth(truth, self.n_classes)
        ids = _checked_ids(classes, self.n_classes)
        if not isinstance(maps, np.ndarray) or maps.dtype.kind not in "fiu":
            raise TypeError(f"maps: expected an array [M,H,W] of numbers, got {_checks.describe(maps)}")
        if maps.ndim != 3 or len(maps) != len(ids):
            raise ValueError(f"maps: expected [{len(ids)},H,W], one a class, got {_checks.describe(maps)}")
        if maps.shape[1:] != truth.shape:
            height, width = truth.shape
            raise ValueError(
                f"maps: expected {height} x {width} pixels as the truth has, "
                f"got {maps.shape[1]} x {maps.shape[2]}"
            )
        true = ids_in(truth)
        maps = np.asarray(maps, np.float32)
        if truth.size == 0:
            self.images += 1
            return
        rows = max(1, _STRIPE // truth.shape[1])
        stripes = [slice(top, top + rows) for top in range(0, len(truth), rows)]
        counts = np.sum([self._by_level(maps[:, s], truth[s], true) for s in stripes], axis=0)
        counted = true != ignore_of(truth.dtype)
        true, counts = true[counted], counts[:, counted]
        # Threshold i: foreground are the pixels of levels above i.
        above = np.cumsum(counts[::-1], axis=0)[::-1]
        if len(ids):
            self.counts[:, true[:, None], ids] += above[1:]
        self.counts[:, true, 0] += (above[0] - above[1:]).sum(axis=2)
        self.images += 1

    def update_labels(self, labels: Sequence[np.ndarray], truth: np.ndarray) -> None:
        """Count one image whose masks [H,W] at each of ``thresholds`` follow another rule than that above."""
        if isinstance(labels, np.ndarray) or not isinstance(labels, Sequence):
            raise TypeError(f"labels: expected a list of masks, got {_checks.describe(labels)}")
        if len(labels) != len(self.thresholds):
            raise ValueError(
                f"labels: expected {len(self.thresholds)} masks, one a threshold, got {len(labels)}"
            )
        for mask in labels:
            check_masks(mask, truth, self.n_classes)
        for counts, mask in zip(self.counts, labels, strict=True):
            counts += pair_counts(mask, truth, self.n_classes)
        self.images += 1

    def _by_level(self, maps: np.ndarray, truth: np.ndarray, true: np.ndarray) -> np.ndarray:
        """int64 [T+1,len(true),max(M,1)]: pixels by how many thresholds lie below their activation, by the
        place of their label among the ids ``true``, and by their strongest map."""
        # Among the classes of this image only: all of 201 would be 600,000 bins.
        strongest, which = _strongest(maps)
        if not np.isfinite(strongest).all():
            raise ValueError("maps: expected finite values, got some that are not")
        level = np.zeros(truth.shape, np.min_scalar_type(len(self.thresholds)))
        for threshold in np.asarray(self.thresholds, np.float32):
            level += strongest > threshold
        shape = len(self.thresholds) + 1, len(true), max(len(maps), 1)
        place = np.zeros(int(true[-1]) + 1, np.int64)
        place[true] = shape[2] * np.arange(len(true))
        index = place[truth]
        index += np.multiply(level, shape[1] * shape[2], dtype=np.int64)
        index += which
        return np.bincount(index.ravel(), minlength=int(np.prod(shape))).reshape(shape)

    def scores(self) -> list[Scores]:
        """One for each of ``thresholds``."""
        return [scores(matrix) for matrix in self.counts]

    def best(self) -> int:
        """Index of the threshold with the highest mean IoU, the lowest such one."""
        means = [s.mean_iou for s in self.scores()]
        return int(np.argmax(np.nan_to_num(means, nan=-1.0)))


def _finite(name: str, value: object) -> float:
    if isinstance(value, (np.floating, np.integer)):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {_checks.describe(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return float(value)


def _checked_ids(classes: object, n_classes: int) -> np.ndarray:
    ids = np.asarray(classes)
    if ids.ndim != 1:
        raise ValueError(f"classes: expected ids [M], got {_checks.describe(ids)}")
    if len(ids) and ids.dtype.kind not in "iu":
        raise TypeError(f"classes: expected ids [M] of integers, got {_checks.describe(ids)}")
    wrong = ids[(ids < 1) | (ids >= n_classes)] if len(ids) else ids
    if len(wrong):
        raise ValueError(f"classes: expected class ids 1 to {n_classes - 1}, got {wrong[0]}")
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"classes: expected distinct ids, got {ids[:20].tolist()}")
    return ids.astype(np.int64)


def _strongest(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest activation float32 [H,W] and the place of the first map that has it; no maps, all 0."""
    if len(maps) == 0:
        return np.zeros(maps.shape[1:], np.float32), np.zeros(maps.shape[1:], np.uint8)
    # numpy's argmax over the first axis takes ten times as long.
    strongest, which = maps[0].copy(), np.zeros(maps.shape[1:], np.min_scalar_type(len(maps) - 1))
    for i in range(1, len(maps)):
        stronger = (maps[i] > strongest).astype(which.dtype)
        np.maximum(which, stronger * which.dtype.type(i), out=which)
        np.maximum(strongest, maps[i], out=strongest)
    return strongest, which
