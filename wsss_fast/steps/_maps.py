"""Between activation maps and masks: the rules that several steps share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import CrfConfig
from wsss_fast.files import IGNORE, PathLike, read_mask, read_npz
from wsss_fast.steps._copies import to_device


@dataclass(frozen=True)
class Cams:
    """The maps of one image, as make-cams wrote them."""

    classes: np.ndarray
    """Ids of the classes present, ``[K]`` int, ascending."""
    strided: Tensor
    """``[K,h,w]`` float32, every map divided by its maximum."""
    full: Tensor
    """``[K,H,W]`` float32, likewise."""


@dataclass(frozen=True)
class MaskFolder:
    """Reads the mask of a name from a folder of a run; passes to worker processes as it is."""

    folder: Path

    def __call__(self, name: str) -> np.ndarray:
        return read_mask(self.folder / f"{name}.png")


def read_cams(path: PathLike) -> Cams:
    arrays = read_npz(path, "classes", "strided", "full")
    return Cams(
        classes=arrays["classes"].astype(np.int64),
        strided=torch.from_numpy(arrays["strided"].astype(np.float32)),
        full=torch.from_numpy(arrays["full"].astype(np.float32)),
    )


def with_background(maps: Tensor, threshold: float) -> Tensor:
    """``[K,H,W]`` -> ``[1+K,H,W]`` with a constant first map: the activation of the background."""
    return F.pad(maps, (0, 0, 0, 0, 1, 0), value=threshold)


def local_labels(maps: Tensor, threshold: float) -> Tensor:
    """``[K,H,W]`` -> ``[H,W]`` int64: 0 where the threshold wins, else 1 + the index of the strongest map."""
    return with_background(maps, threshold).argmax(0)


def to_class_ids(labels: Tensor, classes: np.ndarray) -> np.ndarray:
    """Labels 0..K of one image, on the CPU -> uint8 class ids; 0 stays background, and 255 what it is."""
    ids = np.full(IGNORE + 1, IGNORE, np.uint8)
    ids[: 1 + len(classes)] = [0, *classes]
    return ids[labels.numpy()]


def crf_labels(image: np.ndarray, labels: Tensor, classes: int, config: CrfConfig) -> Tensor:
    """Refine labels by the dense CRF, where they are.

    ``image`` uint8 ``[H,W,3]``; ``labels`` ``[M,H,W]`` with values 0..classes-1: M labellings of the same
    image, refined on one lattice. Returns ``[M,H,W]`` int64.
    """
    pixels = to_device(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), labels.device)
    unaries = torch.stack([wsss_fast.unary_from_labels(x, classes, gt_prob=config.gt_prob) for x in labels])
    refined = wsss_fast.crf(
        pixels[None],
        unaries[None],
        iterations=config.iterations,
        gaussian=wsss_fast.Gaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat),
        bilateral=wsss_fast.Bilateral(
            sxy=config.bilateral_sxy, srgb=config.bilateral_srgb, compat=config.bilateral_compat
        ),
        output="labels",
    )
    return refined[0].long()
