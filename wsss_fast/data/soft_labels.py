"""Soft labels: for every pixel, probabilities of the few classes that its image has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

        p_k = (m_k / t_k) / s,   p_background = 1 / s,   s = 1 + sum over k of m_k / t_k

    with m_k the map of class k, resampled bilinearly to the image and divided by the image's maximum, and t_k
    the threshold of class k. For a threshold of 0 this is the limit of ever smaller ones.
    """

    classes: np.ndarray
    """Ids of the classes present, int ``[K]``."""
    maps: np.ndarray
    """``[K,h,w]`` floating, 0 or more."""
    threshold: float
    """That of all classes but those in ``own``, in [0, 1]."""
    own: Mapping[int, float] = field(default_factory=dict)
    """Thresholds of classes, by id, that have one of their own, above 0."""
    apart: bool = False
    """Whether their maps are divided by a maximum of their own."""

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
        own = torch.tensor([int(label) in self.own for label in self.classes])
        for kind in (own, ~own) if self.apart else (torch.ones_like(own),):
            if kind.any():
                maps[kind] /= maps[kind].max() + 1e-5
        thresholds = torch.tensor([self.own.get(int(label), self.threshold) for label in self.classes])
        # Times the common threshold, which may be 0: all but classes of their own are then as they are.
        units = torch.where(own, self.threshold / thresholds, 1.0)
        shares = F.pad(maps * units.view(-1, 1, 1), (0, 0, 0, 0, 1, 0), value=self.threshold)
        if self.threshold == 0:
            units = torch.where(own, 1 / thresholds, 0.0)
            others = F.pad(maps * units.view(-1, 1, 1), (0, 0, 0, 0, 1, 0), value=1.0)
            shares = torch.where(shares.sum(0) == 0, others, shares)
        return (shares / shares.sum(0)).numpy()


def padded(items: Sequence[SoftLabels]) -> SoftLabels:
    """A batch ``[N,M]`` and ``[N,M,S,S]``, M being the most that an image has."""
    most = max(len(item.ids) for item in items)
    return SoftLabels(
        ids=torch.stack([F.pad(item.ids, (0, most - len(item.ids))) for item in items]),
        probs=torch.stack([F.pad(item.probs, (0, 0, 0, 0, 0, most - len(item.ids))) for item in items]),
    )
