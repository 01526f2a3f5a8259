"""Soft labels: for every pixel, probabilities of the few classes that its image has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_fast._bilinear import bilinear


class SoftLabels(NamedTuple):
    """Of one image; of a batch, with a leading N. Only of classes present, never of all of the data set."""

    ids: Tensor
    """int64 ``[M]``: 0, the background, and ids of classes. In a batch those of an image with fewer than M
    end in zeros, whose probabilities are 0."""
    probs: Tensor
    """float16 ``[M,S,S]``, of sum 1 (to the precision of the type), or all 0 at pixels that take no part."""


@dataclass(frozen=True)
class SoftMaps:
    """The maps of an image after the random walk, and the thresholds that make labels of them.

    Hard labels measure each map in units of its class's threshold; the greatest wins, the background where
    none exceeds 1. Soft labels share a pixel out by the same measure:

        p_k = m_k * (t / t_k) / s,   p_background = t / s,   s = t + sum over k of m_k * (t / t_k)

    with m_k the map of class k, resampled bilinearly to the image and divided by the image's maximum, t_k the
    threshold of class k, and t that of all classes that have none of their own (which may be 0). Where all
    would be 0, the pixel is background.
    """

    classes: np.ndarray
    """Ids of the classes present, int ``[K]``."""
    maps: np.ndarray
    """``[K,h,w]`` floating, 0 or more."""
    threshold: float
    """Constant activation of the background, in [0, 1]."""
    own: np.ndarray
    """The threshold of each class, ``[K]``, above 0 wherever it is not ``threshold``."""

    @property
    def ids(self) -> np.ndarray:
        """int64 ``[1+K]``: the background and the classes."""
        return np.concatenate([[0], self.classes]).astype(np.int64)

    def probabilities(self, size: tuple[int, int]) -> np.ndarray:
        """float32 ``[1+K,H,W]``, of sum 1 at every pixel: the background, then the classes."""
        if len(self.maps) == 0:
            return np.ones((1, *size), np.float32)
        maps = torch.from_numpy(self.maps.astype(np.float32))
        if maps.shape[1:] != size:
            maps = bilinear(maps, size)
        maps /= maps.max() + 1e-5
        units = [1.0 if own == self.threshold else self.threshold / own for own in self.own.tolist()]
        shares = F.pad(maps * torch.tensor(units).view(-1, 1, 1), (0, 0, 0, 0, 1, 0), value=self.threshold)
        shares[0].masked_fill_(shares.sum(0) == 0, 1.0)
        return (shares / shares.sum(0)).numpy()


def padded(items: Sequence[SoftLabels]) -> SoftLabels:
    """A batch ``[N,M]`` and ``[N,M,S,S]``, M being the most that an image has."""
    most = max(len(item.ids) for item in items)
    return SoftLabels(
        ids=torch.stack([F.pad(item.ids, (0, most - len(item.ids))) for item in items]),
        probs=torch.stack([F.pad(item.probs, (0, 0, 0, 0, 0, most - len(item.ids))) for item in items]),
    )
