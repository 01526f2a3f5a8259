"""Boundary IoU: how well contours agree."""

from __future__ import annotations

import math

import cv2
import numpy as np

from wsss_fast import _checks
from wsss_fast.files import ignore_of
from wsss_fast.metrics._confusion import check_masks, check_n_classes


class BoundaryIou:
    """Boundary IoU (Cheng et al., CVPR 2021) of each class over any number of masks of any sizes.

    The band of a class are its pixels within ``width`` times the image's diagonal (rounded, at least one
    pixel; in the larger of the two distances, across and down) of one that is not of it; what lies outside
    the image is not of it either. The IoU of a class is that of its bands in prediction and truth,
    intersections and unions summed over the set.

    Pixels that the truth leaves open are in no band. They are left open in the prediction too, so that both
    bands follow the same contour there, and a prediction that is right wherever it can be is at 1.

    >>> import numpy as np
    >>> from wsss_fast.metrics import BoundaryIou
    >>> boundary = BoundaryIou(n_classes=2, width=0.02)
    >>> boundary.update(np.uint8([[0, 0, 1, 1]]), np.uint8([[0, 1, 1, 1]]))
    >>> boundary.iou.round(2).tolist(), round(boundary.mean_iou, 2)
    ([0.5, 0.67], 0.58)
    """

    def __init__(self, n_classes: int, width: float) -> None:
        self.n_classes = n_classes = check_n_classes(n_classes)
        expected = "a number in (0, 1)"
        if isinstance(width, bool) or not isinstance(width, (int, float)):
            raise TypeError(_checks.wrong("width", expected, width))
        if not 0 < width < 1:
            raise ValueError(_checks.wrong("width", expected, width))
        self.width = width
        self.images = 0
        """How many masks were counted."""
        self.intersection = np.zeros(n_classes, np.int64)
        """int64 [K+1]: pixels in both bands of a class."""
        self.union = np.zeros(n_classes, np.int64)
        """int64 [K+1]: pixels in either."""

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Count one image; uint8 or uint16 [H,W] each. Raises as `check_masks` does."""
        check_masks(prediction, truth, self.n_classes)
        dtype = np.promote_types(prediction.dtype, truth.dtype)
        open_ = truth == ignore_of(truth.dtype)
        masks = [np.where(open_, ignore_of(dtype), mask).astype(dtype) for mask in (prediction, truth)]
        reach = max(1, round(self.width * math.hypot(*truth.shape)))
        bands = [band(mask, reach) & ~open_ for mask in masks]
        both = bands[0] & bands[1] & (masks[0] == masks[1])
        first, second, shared = (
            np.bincount(mask[where], minlength=self.n_classes)
            for mask, where in zip((*masks, masks[1]), (*bands, both), strict=True)
        )
        self.intersection += shared
        self.union += first + second - shared
        self.images += 1

    @property
    def iou(self) -> np.ndarray:
        """float64 [K+1], background first; NaN for a class that no counted pixel has."""
        with np.errstate(invalid="ignore"):
            return self.intersection / self.union

    @property
    def mean_iou(self) -> float:
        """Mean of ``iou`` over the classes that occur in truth or prediction; NaN if none does."""
        occurs = self.union > 0
        return float(self.iou[occurs].mean()) if occurs.any() else float("nan")


def band(mask: np.ndarray, reach: int) -> np.ndarray:
    """bool [H,W]: the pixels of a mask with another label, or the outside, at most ``reach`` pixels away in
    both directions."""
    if 2 * reach >= min(mask.shape):
        return np.ones(mask.shape, bool)
    # All classes at once: where the window holds one label only, its least and its greatest are the pixel's.
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * reach + 1, 2 * reach + 1))
    inside = (cv2.erode(mask, window) == mask) & (cv2.dilate(mask, window) == mask)
    found = np.ones(mask.shape, bool)
    middle = slice(reach, -reach)
    found[middle, middle] = ~inside[middle, middle]
    return found
