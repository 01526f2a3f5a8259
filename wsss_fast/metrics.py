"""Mean IoU and its relatives, counted image by image.

Ids are those of the masks: 0 background, 1..K the object classes, 255 in the truth takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from wsss_fast.files import IGNORE


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says. NaN stands for *there was nothing to measure*."""

    mean_iou: float
    """Mean of ``iou`` over the classes that occur, in [0, 1]."""
    pixel_accuracy: float
    """Fraction of the counted pixels that are right, in [0, 1]."""
    iou: np.ndarray
    """float64 [K+1]: intersection over union of each class, background first; NaN for an absent class."""


def scores(matrix: np.ndarray) -> Scores:
    """Scores of a confusion matrix of counts [K+1,K+1], truth down and prediction across.

    A class is *absent* if no counted pixel of the whole set has it, neither in the truth nor in the
    prediction. It has no IoU and is left out of the mean. A class that is only predicted counts with IoU 0,
    and so does one that is only in the truth.

    >>> scores(np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])).mean_iou
    0.6
    """
    counts = np.asarray(matrix, np.float64)
    right = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    with np.errstate(invalid="ignore"):
        iou = right / union  # 0 / 0 is NaN
        accuracy = right.sum() / counts.sum()
    occurs = union > 0
    mean = float(iou[occurs].mean()) if occurs.any() else float("nan")
    return Scores(mean_iou=mean, pixel_accuracy=float(accuracy), iou=iou)


def check_masks(prediction: np.ndarray, truth: np.ndarray, n_classes: int) -> None:
    """Raise `ValueError` unless both are uint8 [H,W] of one size with ids below ``n_classes``.

    The truth may hold 255 (takes no part), the prediction may not.
    """
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ValueError(f"{name}: expected a mask [H,W] uint8, got {list(mask.shape)} {mask.dtype}")
    if prediction.shape != truth.shape:
        height, width = truth.shape
        raise ValueError(
            f"prediction: expected {height} x {width} pixels as the truth has, "
            f"got {prediction.shape[0]} x {prediction.shape[1]}"
        )
    for name, mask, also in (("prediction", prediction, ""), ("truth", truth, f" or {IGNORE} (ignore)")):
        ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        wrong = [int(i) for i in ids if i >= n_classes and not (also and i == IGNORE)]
        if wrong:
            raise ValueError(f"{name}: expected class ids 0 to {n_classes - 1}{also}, got {wrong[0]}")


class ConfusionMatrix:
    """Confusion counts over any number of masks of any sizes.

    >>> confusion = ConfusionMatrix(n_classes=2)
    >>> confusion.update(np.uint8([[0, 1, 1]]), np.uint8([[0, 0, 1]]))
    >>> confusion.counts.tolist(), confusion.scores().mean_iou
    ([[1, 1], [0, 1]], 0.5)
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.images = 0
        """How many masks were counted."""
        self._metric = MulticlassConfusionMatrix(n_classes, validate_args=False)  # check_masks says more

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Count one image; uint8 [H,W] each. Raises as `check_masks` does."""
        check_masks(prediction, truth, self.n_classes)
        counted = truth != IGNORE  # left out here, it costs less than in the metric
        self._metric.update(
            *(torch.from_numpy(mask[counted].astype(np.int64)) for mask in (prediction, truth))
        )
        self.images += 1

    @property
    def counts(self) -> np.ndarray:
        """int64 [K+1,K+1], truth down and prediction across."""
        return self._metric.confmat.numpy()

    def scores(self) -> Scores:
        return scores(self.counts)


class ThresholdSweep:
    """Confusion counts of CAM labels at many background thresholds, in one pass over the maps.

    At threshold t a pixel has its strongest class where that activation is above t, else background. So a
    pixel changes once, and it is enough to count how many thresholds lie below its activation.
    """

    def __init__(self, n_classes: int, thresholds: Sequence[float]) -> None:
        self.n_classes = n_classes
        self.thresholds = sorted({float(t) for t in thresholds})
        """Ascending, each once."""
        self.images = 0
        # Compared as the maps are, in float32.
        self._edges = np.asarray(self.thresholds, np.float32)
        self._background = np.zeros((len(self.thresholds), n_classes), np.int64)
        self._foreground = np.zeros((len(self.thresholds), n_classes, n_classes), np.int64)

    def update(self, maps: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> None:
        """Count one image: maps [K,H,W] of the classes present, their ids [K], the truth uint8 [H,W]."""
        if maps.shape[1:] != truth.shape:
            height, width = truth.shape
            raise ValueError(
                f"maps: expected {height} x {width} pixels as the truth has, "
                f"got {maps.shape[1]} x {maps.shape[2]}"
            )
        strongest, label = _strongest(maps, classes)
        check_masks(label, truth, self.n_classes)
        counted = truth != IGNORE
        # 0: background at every threshold; i: foreground at the i lowest ones.
        level = np.searchsorted(self._edges, strongest[counted], side="left")
        n, levels = self.n_classes, len(self._edges) + 1
        index = (level * n + truth[counted]) * n + label[counted]
        count = np.bincount(index, minlength=levels * n * n).reshape(levels, n, n)
        # Threshold i: foreground are the pixels of levels above i.
        above = np.cumsum(count[::-1], axis=0)[::-1]
        self._foreground += above[1:]
        self._background += (above[0] - above[1:]).sum(axis=2)
        self.images += 1

    def scores(self) -> list[Scores]:
        """One for each of ``thresholds``."""
        matrices = self._foreground.copy()
        matrices[:, :, 0] += self._background
        return [scores(matrix) for matrix in matrices]

    def best(self) -> int:
        """Index of the threshold with the highest mean IoU, the lowest such one."""
        means = [s.mean_iou for s in self.scores()]
        return int(np.argmax(np.nan_to_num(means, nan=-1.0)))


def _strongest(maps: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest activation float32 [H,W] and the id uint8 [H,W] of the class that has it."""
    if len(classes) == 0:
        return np.zeros(maps.shape[1:], np.float32), np.zeros(maps.shape[1:], np.uint8)
    values = np.asarray(maps, np.float32)
    return values.max(axis=0), np.asarray(classes).astype(np.uint8)[values.argmax(axis=0)]
