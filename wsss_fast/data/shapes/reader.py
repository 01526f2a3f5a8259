"""The data set: which image an index stands for, and what of it is kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from wsss_fast.config import ShapesConfig, Split
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.shapes.kinds import KINDS
from wsss_fast.data.shapes.layout import lay_out, visible_mask
from wsss_fast.data.shapes.painting import paint
from wsss_fast.files import IGNORE, DataError

VISIBLE = 0.01
"""A class is in the labels if its pixels are at least this fraction of the image; if it shows in fewer, these
pixels are 255 in the mask, so that labels and mask always name the same classes."""

_SPLITS = {"train": 0, "val": 1}


class _Memory:
    """What was generated, kept for the next epoch and the next step of the same process.

    When the budget is spent nothing more is kept; a training goes round all images, so making room for the
    newest would only throw out what is needed next.
    """

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.kept: dict[tuple[object, ...], np.ndarray] = {}

    def get(self, key: tuple[object, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        value = self.kept.get(key)
        if value is None:
            value = make()
            if value.nbytes <= self.left:
                self.left -= value.nbytes
                self.kept[key] = value
        return value.copy()  # the caller may write to it


_memory = _Memory(256 * 2**20)


class Shapes(ImageSet):
    """The generated data set; see the package for what is in it. About 10 ms an image of 128 pixels.

    >>> from wsss_fast.config import ShapesConfig
    >>> from wsss_fast.data.shapes import Shapes
    >>> images = Shapes(ShapesConfig(train=3, val=2, size=64), "train")
    >>> images.image(0).shape, images.labels(0).shape, images.mask(0).shape, images.classes[0]
    ((64, 64, 3), (6,), (64, 64), 'pebble')
    """

    def __init__(self, config: ShapesConfig, split: Split, *, classes: Sequence[str] = ()) -> None:
        self.config = config
        self.split = split
        self.classes = tuple(kind.name for kind in KINDS[: config.classes])
        if classes and tuple(classes) != self.classes:
            raise DataError(
                "data.classes", f"expected {list(self.classes)} or nothing (shapes), got {list(classes)}"
            )

    def __len__(self) -> int:
        return self.config.train if self.split == "train" else self.config.val

    def name(self, index: int) -> str:
        return f"{self.split}_{self._checked(index):05d}"

    def source(self, index: int) -> str:
        return f"shapes/{self.name(index)}"

    def image(self, index: int) -> np.ndarray:
        return self._remembered("image", index, self._make_image)

    def labels(self, index: int) -> np.ndarray:
        mask = self.mask(index)
        return np.bincount(mask.ravel(), minlength=256)[1 : len(self.classes) + 1] > 0

    def mask(self, index: int) -> np.ndarray:
        return self._remembered("mask", index, self._make_mask)

    def _remembered(self, kind: str, index: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
        config = self.config
        key = (kind, config.seed, config.size, config.classes, self.split, self._checked(index))
        return _memory.get(key, lambda: make(index))

    def _make_image(self, index: int) -> np.ndarray:
        layout, look = self._random(index)
        return paint(lay_out(layout, self.config.size, self.config.classes), self.config.size, look)

    def _make_mask(self, index: int) -> np.ndarray:
        layout, _ = self._random(index)
        mask = visible_mask(lay_out(layout, self.config.size, self.config.classes), self.config.size)
        pixels = np.bincount(mask.ravel(), minlength=256)
        for label in np.flatnonzero(pixels[1:] < VISIBLE * mask.size) + 1:
            mask[mask == label] = IGNORE
        return mask

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected an integer in [0, {len(self) - 1}], got {index}")
        return index

    def _random(self, index: int) -> tuple[Generator, Generator]:
        """One generator for where things are (the mask) and one for what they look like."""
        seed = np.random.SeedSequence([self.config.seed, _SPLITS[self.split], self._checked(index)])
        layout, look = seed.spawn(2)
        return np.random.default_rng(layout), np.random.default_rng(look)
