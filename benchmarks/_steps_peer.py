"""Two steps of the method, an image at a time from file to file, written with the established packages.

The order of work is that of IRNet (Ahn et al., CVPR 2019): pydensecrf once for each threshold; the transition
matrix of the walk built in torch, and its products or its dense powers. Images, maps and masks are read and
written by the functions that ours has, so files cost both the same. What is here runs in processes of its
own too; the walk is in `_steps_cases`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import _peer
import numpy as np

from wsss_fast import Bilateral
from wsss_fast.data.decode import read_image
from wsss_fast.files import read_npz, write_mask

BILATERAL = Bilateral(sxy=50, srgb=5, compat=10)
GT_PROB = 0.7


def _unary(labels: np.ndarray, classes: int) -> np.ndarray:
    from pydensecrf.utils import unary_from_labels

    return np.asarray(unary_from_labels(labels, classes, gt_prob=GT_PROB, zero_unsure=False))


def _refined(image: np.ndarray, cams: np.ndarray, threshold: float) -> np.ndarray:
    background = np.full((1, *cams.shape[1:]), threshold, cams.dtype)
    labels = np.argmax(np.concatenate([background, cams]), 0)
    q = _peer.crf(image, _unary(labels, 1 + len(cams)), BILATERAL)
    return np.argmax(q, 0).reshape(labels.shape)


def ir_labels(image: Path, cams: Path, target: Path, foreground: float, background: float) -> None:
    arrays = read_npz(cams, "classes", "full")
    pixels = read_image(image)
    maps = arrays["full"].astype(np.float32)
    keys = np.concatenate([[0], arrays["classes"]]).astype(np.uint8)
    sure = keys[_refined(pixels, maps, foreground)]
    known = keys[_refined(pixels, maps, background)]
    regions = sure.copy()
    regions[(sure == 0) & (known != 0)] = 255
    write_mask(target, regions)


def warm_up() -> None:
    """For a worker process: loads what it needs."""
    image = np.zeros((8, 8, 3), np.uint8)
    _refined(image, np.ones((1, 8, 8), np.float32), 0.5)


def ir_labels_of(jobs: Sequence[tuple[Path, Path, Path, float, float]]) -> None:
    for job in jobs:
        ir_labels(*job)
