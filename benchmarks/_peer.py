"""The peer, pydensecrf: a dense CRF, and the construction of its lattices, as its users write them."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from wsss_fast import Bilateral

# Of the package index; the package installs the module `pydensecrf`.
DISTRIBUTION = "pydensecrf2"


def _module() -> Any:
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ModuleNotFoundError as error:
        message = f"pydensecrf: not installed; pip install {DISTRIBUTION}, or '.[bench]' from this checkout"
        raise ModuleNotFoundError(message, name=error.name) from error


def model(height: int, width: int, classes: int) -> Any:
    return _module().DenseCRF2D(width, height, classes)


def construct(model: Any, image: np.ndarray, bilateral: Bilateral) -> None:
    """Both lattices of an image [H,W,3], and their normalisation: one filter of ones each."""
    model.addPairwiseGaussian(sxy=3, compat=3)
    model.addPairwiseBilateral(sxy=bilateral.sxy, srgb=bilateral.srgb, rgbim=image, compat=bilateral.compat)


def crf(image: np.ndarray, unary: np.ndarray, bilateral: Bilateral) -> np.ndarray:
    """Q [C,HW] of an image [H,W,3] and a unary [C,HW], not copied out of the memory it was computed in."""
    height, width, _ = image.shape
    crf = model(height, width, unary.shape[0])
    crf.setUnaryEnergy(unary)
    construct(crf, image, bilateral)
    return np.asarray(crf.inference(10))
