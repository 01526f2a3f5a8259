"""Which images an epoch is made of, where some classes have many more than others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch

Mode: TypeAlias = Literal["none", "down", "up", "both"]

MAX_REPEATS = 10
"""No image comes more often in an epoch."""

_BLOCK = 65536
"""Images whose labels are looked at together."""


class EveryImage:
    """Epochs of all images once each."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def draw(self, generator: torch.Generator | None = None) -> np.ndarray:
        """The images of an epoch, in their order: int64 ``[n]``."""
        order: np.ndarray = torch.randperm(self.images, generator=generator).numpy()
        return order


class Balanced:
    """Epochs with more of the rare classes, fewer of the common ones, or both.

    An image goes by the rarest of its classes (of equally rare ones the first), since it cannot be drawn for
    one class and not for the others; images without any count as a class of their own. A class that no image
    goes by gets one of its own, unless each is the only one of another class. Of the m images that go by a
    class with n images in all, an epoch has ``round(m * rate)``, but at least one:

    - ``down``: rate = target / n, at most 1: common classes are seen in part.
    - ``up``: rate = target / n, at least 1 and at most `MAX_REPEATS`: images of rare classes repeat.
    - ``both``: rate = target / n, at most `MAX_REPEATS`.
    - ``none``: rate = 1.

    All m come equally often, but for a rest that is drawn anew every epoch. So epochs are equally long and
    every class is in each; with one class an image, exactly ``target`` images of every class that the mode
    and the limit let reach it. With several, a common class that comes along with rare ones is seen more
    often than ``target``.

    ``labels``: bool ``[N,K]``. ``target``: by default the median of the images a class, rounded down, over
    the classes that have any (images without a class are one of them).

    >>> import numpy as np, torch
    >>> from wsss_fast.data.balance import Balanced
    >>> labels = np.repeat(np.eye(2, dtype=bool), [6, 2], axis=0)
    >>> np.sort(Balanced(labels, "both", target=4).draw(torch.Generator().manual_seed(0))).tolist()[-4:]
    [6, 6, 7, 7]
    """

    def __init__(self, labels: np.ndarray, mode: Mode, target: int | None = None) -> None:
        if labels.ndim != 2 or labels.dtype != np.bool_:
            raise ValueError(f"labels: expected bool [N,K], got {labels.dtype} {list(labels.shape)}")
        if target is not None and target < 1:
            raise ValueError(f"target: expected an integer >= 1, got {target}")
        none: np.ndarray = np.logical_not(labels.any(1))
        counts = np.append(_counts(labels), none.sum())
        if target is None:
            target = int(np.median(counts[counts > 0])) if len(labels) else 1
        self._groups: list[tuple[np.ndarray, int]] = []
        goes_by = _rarest(labels, none, counts)
        for group in range(len(counts)):
            members = np.flatnonzero(goes_by == group)
            if len(members):
                rate = _rate(mode, target / counts[group])
                self._groups.append((members, max(1, int(len(members) * rate + 0.5))))

    def __len__(self) -> int:
        return sum(count for _, count in self._groups)

    def draw(self, generator: torch.Generator | None = None) -> np.ndarray:
        """The images of an epoch, in their order: int64 ``[n]``."""
        chosen: list[np.ndarray] = []
        for members, count in self._groups:
            times, rest = divmod(count, len(members))
            drawn = torch.randperm(len(members), generator=generator)[:rest].numpy()
            chosen += [members] * times + [members[drawn]]
        images = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
        order: np.ndarray = images[torch.randperm(len(images), generator=generator).numpy()]
        return order


def _rate(mode: Mode, rate: float) -> float:
    if mode == "none":
        return 1.0
    low = 1.0 if mode == "up" else 0.0
    high = 1.0 if mode == "down" else float(MAX_REPEATS)
    return min(max(rate, low), high)


def _entries(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Blocks of images: the first one, and row (from there on, ascending) and column of what is True.

    Few classes are in an image, so this is much less than all labels; blocks bound it where it is not.
    """
    for start in range(0, len(labels), _BLOCK):
        block = labels[start : start + _BLOCK]
        where = np.flatnonzero(block)
        yield start, *np.divmod(where, max(1, block.shape[1]))


def _counts(labels: np.ndarray) -> np.ndarray:
    """Images of each class: int ``[K]``."""
    counts = np.zeros(labels.shape[1], np.int64)
    for _, _, columns in _entries(labels):
        counts += np.bincount(columns, minlength=len(counts))
    return counts


def _rarest(labels: np.ndarray, none: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The class that each image goes by, K for those without any: int ``[N]``."""
    rarest_first = np.argsort(counts[:-1], kind="stable")
    rank = np.empty_like(rarest_first)
    rank[rarest_first] = np.arange(len(rank))
    goes_by = np.full(len(labels), labels.shape[1])
    for start, rows, columns in _entries(labels):
        images, first = np.unique(rows, return_index=True)
        if len(images):
            goes_by[start + images] = rarest_first[np.minimum.reduceat(rank[columns], first)]
    sizes = np.bincount(goes_by, minlength=len(counts))
    for group in np.flatnonzero((sizes == 0) & (counts > 0)):
        members = np.flatnonzero(none if group == labels.shape[1] else labels[:, group])
        of_sizes = sizes[goes_by[members]]
        if of_sizes.max() > 1:  # else each of them is drawn whatever happens
            moved = members[of_sizes.argmax()]
            sizes[goes_by[moved]] -= 1
            sizes[group] += 1
            goes_by[moved] = group
    return goes_by
