"""Unary energies and features for dense CRFs, with the interface of ``pydensecrf.utils``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import wsss_fast
from wsss_fast import _checks
from wsss_fast.compat.pydensecrf import _arguments
from wsss_fast.ops.lattice import MAX_DIMS

__all__ = [
    "compute_unary",
    "create_pairwise_bilateral",
    "create_pairwise_gaussian",
    "softmax_to_unary",
    "unary_from_labels",
    "unary_from_softmax",
]


def unary_from_labels(labels: Any, n_labels: int, gt_prob: float, zero_unsure: bool = True) -> np.ndarray:
    """Energies that trust a label map to ``gt_prob``; the other labels share the rest.

    Args:
        labels: integers of any shape, N in all.
        n_labels: how many labels, C.
        gt_prob: above 0 and below 1.
        zero_unsure: 0 means that nothing is known, and k stands for label k-1; then ``n_labels`` does not
            count the 0. Otherwise labels are 0 to C-1.

    Returns:
        ``[C,N]`` float32.

    Raises:
        TypeError: labels that are no integers.
        ValueError: a label that is not among the C, gt_prob or n_labels out of range.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.utils import unary_from_labels
    >>> np.exp(-unary_from_labels(np.array([[0, 1, 3]]), 3, gt_prob=0.5)).round(2)
    array([[0.33, 0.5 , 0.25],
           [0.33, 0.25, 0.25],
           [0.33, 0.25, 0.5 ]], dtype=float32)
    """
    expected = "an array of integers"
    flat = _arguments.array("labels", labels, expected)
    if not np.issubdtype(flat.dtype, np.integer):
        raise TypeError(_checks.wrong("labels", expected, flat))
    row = torch.from_numpy(flat.astype(np.int64).reshape(1, -1))
    gt_prob = _arguments.number("gt_prob", gt_prob, 0, exclusive=True, below=1)
    unsure = _arguments.truth("zero_unsure", zero_unsure)
    unary = wsss_fast.unary_from_labels(row, n_labels, gt_prob, zero_unsure=unsure)
    return unary.squeeze(1).numpy()


def compute_unary(labels: Any, M: int, GT_PROB: float = 0.5) -> np.ndarray:
    """The old name of :func:`unary_from_labels`, with 0 as unknown.

    >>> import warnings
    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.utils import compute_unary
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DeprecationWarning)
    ...     compute_unary(np.array([[0, 1, 3]]), 3).shape
    (3, 3)
    """
    warnings.warn("compute_unary: unary_from_labels has taken its place", DeprecationWarning, stacklevel=2)
    return unary_from_labels(labels, M, GT_PROB)


def unary_from_softmax(sm: Any, scale: float | None = None, clip: float | None = 1e-5) -> np.ndarray:
    """Energies of class probabilities: ``-log p``.

    Args:
        sm: ``[C, ...]``, N values for each class in any shape, such as the output of a softmax.
        scale: None; or how far to trust ``sm``, above 0 and up to 1: probabilities are mixed with
            ``1 - scale`` of the uniform ones.
        clip: the least probability, in [0, 1); lower ones are raised to it, and values above 1 count as 1.
            None changes nothing, and a probability of 0 then has the energy +inf.

    Returns:
        ``[C,N]`` float32.

    Raises:
        TypeError: no array of numbers.
        ValueError: no axis of classes; NaN, or (without a clip) a value below 0; scale or clip out of range.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.utils import unary_from_softmax
    >>> unary_from_softmax(np.array([[1.0, 0.5], [0.0, 0.5]])).round(2)
    array([[-0.  ,  0.69],
           [11.51,  0.69]], dtype=float32)
    """
    expected = "[C, ...], class probabilities"
    probs = _arguments.array("sm", sm, expected)
    if probs.ndim == 0 or probs.size == 0:
        raise ValueError(_checks.wrong("sm", expected, probs))
    if scale is not None:
        trust = _arguments.number("scale", scale, 0, exclusive=True)
        if trust > 1:
            raise ValueError(_checks.wrong("scale", "a number > 0 and <= 1", trust))
        probs = trust * probs.astype(np.float64) + (1 - trust) / len(probs)
    if clip is not None:
        probs = np.clip(probs, _arguments.number("clip", clip, 0, below=1), 1.0)
    low = probs.min()
    if not low >= 0:  # NaN, too
        raise ValueError(_checks.wrong("sm", "probabilities >= 0", float(low)))
    with np.errstate(divide="ignore"):
        energy = -np.log(probs)
    return energy.reshape(len(probs), -1).astype(np.float32, order="C")


def softmax_to_unary(sm: Any, GT_PROB: float | None = 1) -> np.ndarray:
    """The old name of :func:`unary_from_softmax`, without a clip.

    >>> import warnings
    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.utils import softmax_to_unary
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DeprecationWarning)
    ...     softmax_to_unary(np.full((4, 6, 8), 0.25)).shape
    (4, 48)
    """
    warnings.warn(
        "softmax_to_unary: unary_from_softmax has taken its place", DeprecationWarning, stacklevel=2
    )
    scale = None if GT_PROB is None else _arguments.number("GT_PROB", GT_PROB, 0, exclusive=True)
    if scale is not None and scale > 1:
        raise ValueError(_checks.wrong("GT_PROB", "a number > 0 and <= 1", scale))
    return unary_from_softmax(sm, None if scale == 1 else scale, clip=None)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Features for ``addPairwiseEnergy`` that are the positions in a grid of any number of axes.

    Args:
        sdims: a standard deviation for each axis.
        shape: the size of the grid, the slowest axis first; at most 16 axes.

    Returns:
        ``[axes,N]`` float32, N the product of ``shape``.

    Raises:
        TypeError: no numbers.
        ValueError: sizes below 1, too many axes, deviations that are not above 0 or not one for each axis.

    >>> from wsss_fast.compat.pydensecrf.utils import create_pairwise_gaussian
    >>> create_pairwise_gaussian(sdims=(2, 1), shape=(2, 3))
    array([[0. , 0. , 0. , 0.5, 0.5, 0.5],
           [0. , 1. , 2. , 0. , 1. , 2. ]], dtype=float32)
    """
    expected = f"1 to {MAX_DIMS} integers >= 1"
    try:
        given = tuple(shape)
    except TypeError:
        raise TypeError(_checks.wrong("shape", expected, shape)) from None
    if not 1 <= len(given) <= MAX_DIMS:
        raise ValueError(_checks.wrong("shape", expected, f"{len(given)} of them"))
    sizes = tuple(_checks.integer(f"shape[{i}]", n, 1, 2**31 - 1) for i, n in enumerate(given))
    _checks.storable("shape", (len(sizes), *sizes), torch.float32)
    return _grid(sdims, sizes, "shape").reshape(len(sizes), -1)


def create_pairwise_bilateral(sdims: Sequence[float], schan: Any, img: Any, chdim: int = -1) -> np.ndarray:
    """Features for ``addPairwiseEnergy`` that are positions and values of an image of any kind.

    Args:
        sdims: a standard deviation for each axis but that of the channels.
        schan: the standard deviation of the values, or one for each channel.
        img: numbers in any number of axes.
        chdim: which axis holds the channels; -1, the image has none.

    Returns:
        ``[axes + channels,N]`` float32, N the number of pixels or voxels.

    Raises:
        TypeError: no numbers.
        ValueError: no such axis, deviations that are not above 0 or not one for each axis or channel, values
            that are not finite in units of their deviation.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.utils import create_pairwise_bilateral
    >>> image = np.zeros((20, 30, 10), dtype=np.float32)  # a volume without channels
    >>> create_pairwise_bilateral(sdims=(5, 5, 5), schan=0.1, img=image).shape
    (4, 6000)
    """
    image = _arguments.array("img", img, "an array of numbers")
    if image.ndim == 0:
        raise ValueError(_checks.wrong("img", "at least one axis", image))
    chdim = _checks.integer("chdim", chdim, -image.ndim, image.ndim - 1)
    channels = image[np.newaxis] if chdim == -1 else np.moveaxis(image, chdim, 0)
    widths = _arguments.scales("schan", schan, len(channels))
    with np.errstate(over="ignore"):
        values = channels.astype(np.float32) / widths.reshape(-1, *[1] * (channels.ndim - 1))
    if values.size > 0:
        _arguments.finite("img", values)
    features = np.concatenate([_grid(sdims, channels.shape[1:], "img without its channels"), values])
    return features.reshape(len(features), -1)


def _grid(sdims: Any, sizes: tuple[int, ...], what: str) -> np.ndarray:
    """Positions in units of ``sdims``, [axes, *sizes]."""
    expected = f"{len(sizes)} numbers > 0 (the axes of {what})"
    widths = _arguments.array("sdims", sdims, expected)
    if widths.shape != (len(sizes),):
        raise ValueError(_checks.wrong("sdims", expected, widths))
    widths = _arguments.scales("sdims", widths, len(sizes))
    return np.indices(sizes, dtype=np.float32) / widths.reshape(-1, *[1] * len(sizes))
