"""What a confusion matrix says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says; all but ``skipped`` in [0, 1]. NaN stands for *there was nothing to
    measure*.

    Three means of the same IoUs differ in the classes that they are over. Of a class that no counted pixel
    has, neither in the truth nor in the prediction (it is *absent*), nothing can be measured.

    >>> import numpy as np
    >>> from wsss_fast.metrics import scores
    >>> found = scores(np.array([[8, 0, 2], [1, 9, 0], [0, 0, 0]]))  # nothing is of class 2
    >>> round(found.pixel_accuracy, 2), found.skipped
    (0.85, ())
    >>> found.mean_iou_present > found.mean_iou  # class 2 is predicted, with IoU 0
    True
    """

    mean_iou: float
    """Mean of ``iou`` over the classes that occur: in the truth, in the prediction or in both."""
    mean_iou_all: float
    """The same over all K+1 classes of the data set; an absent one counts as 0, so nothing is left out."""
    mean_iou_present: float
    """The same over the classes in the truth; one that is only predicted costs the others their pixels and
    nothing beyond."""
    frequency_weighted_iou: float
    """Mean of ``iou`` over the counted pixels, each with that of its true class."""
    pixel_accuracy: float
    """Fraction of the counted pixels that are right."""
    mean_class_accuracy: float
    """Mean of ``class_accuracy`` over the classes in the truth."""
    combined: float
    """A score that skipping classes cannot raise; see `scores`."""
    skipped: tuple[int, ...]
    """Ids of the classes that are in the truth and never predicted."""
    iou: np.ndarray
    """float64 [K+1]: intersection over union of each class, background first; NaN for an absent one."""
    class_accuracy: np.ndarray
    """float64 [K+1]: fraction of each class's pixels that are right; NaN for one that is not in the truth."""


def scores(matrix: np.ndarray) -> Scores:
    """Scores of a confusion matrix of counts [K+1,K+1], truth down and prediction across.

    A class that is only predicted has IoU 0, and so does one that is only in the truth.

    Mean IoU can rise if a model stops predicting a class that it is bad at, because the pixels go to classes
    that gain more. ``combined`` cannot. Of the n classes in the truth (the background among them), let f be
    those with IoU above 0, and g the geometric mean of their IoUs. Then::

        combined = (f - 1 + g) / n        (0 if f is 0)

    As 0 < g <= 1, it lies in ((f - 1) / n, f / n]: a model that finds fewer of the classes is below one that
    finds more, whatever their IoUs. Between models that find as many g decides, and g falls to near 0 with
    the IoU of a single class, so that one right pixel does not make a class found at no cost.

    Raises `ValueError` for another shape and counts that cannot be, `TypeError` for what are no numbers.

    >>> import numpy as np
    >>> from wsss_fast.metrics import scores
    >>> round(scores(np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])).mean_iou, 2)
    0.6
    """
    counts = _checked(matrix)
    right = np.diag(counts)
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    union = true + predicted - right
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        iou = right / union
        class_accuracy = right / true
        pixel_accuracy = right.sum() / counts.sum()
    in_truth = true > 0
    if not in_truth.any():
        nothing = float("nan")
        return Scores(nothing, nothing, nothing, nothing, nothing, nothing, nothing, (), iou, class_accuracy)
    return Scores(
        mean_iou=float(iou[union > 0].mean()),
        mean_iou_all=float(np.nan_to_num(iou).mean()),
        mean_iou_present=float(iou[in_truth].mean()),
        frequency_weighted_iou=float((iou[in_truth] * true[in_truth]).sum() / true.sum()),
        pixel_accuracy=float(pixel_accuracy),
        mean_class_accuracy=float(class_accuracy[in_truth].mean()),
        combined=_combined(iou[in_truth]),
        skipped=tuple(int(k) for k in np.flatnonzero(in_truth & (predicted == 0))),
        iou=iou,
        class_accuracy=class_accuracy,
    )


def _checked(matrix: np.ndarray) -> np.ndarray:
    counts = np.asarray(matrix)
    if counts.dtype.kind not in "iuf":
        raise TypeError(f"matrix: expected [K+1,K+1] numbers, got {list(counts.shape)} {counts.dtype}")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"matrix: expected [K+1,K+1] counts, got {list(counts.shape)} {counts.dtype}")
    if not (np.isfinite(counts).all() and counts.min() >= 0):
        raise ValueError("matrix: expected finite counts of 0 or more, got others")
    return counts.astype(np.float64)


def _combined(iou: np.ndarray) -> float:
    """Of the IoUs of the classes in the truth."""
    found = iou[iou > 0]
    if len(found) == 0:
        return 0.0
    return float((len(found) - 1 + np.exp(np.log(found).mean())) / len(iou))
