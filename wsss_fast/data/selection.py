"""A part of an image set: some of its images, some of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss_fast.data.image_set import ImageSet


class Selection(ImageSet):
    """Some images of a set, with the labels of some classes; for training on labels, so without masks.

    ``classes``: positions in ``images.classes``; entry k of `labels` is for the k-th of them. ``indices``:
    the images, by default all.
    """

    def __init__(
        self, images: ImageSet, classes: Sequence[int], indices: Sequence[int] | None = None
    ) -> None:
        self.images = images
        self.columns = list(classes)
        self.classes = tuple(images.classes[k] for k in self.columns)
        self.indices = list(range(len(images)) if indices is None else indices)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.images.name(self.indices[index])

    def source(self, index: int) -> str:
        return self.images.source(self.indices[index])

    def image(self, index: int) -> np.ndarray:
        return self.images.image(self.indices[index])

    def labels(self, index: int) -> np.ndarray:
        return self.images.labels(self.indices[index])[self.columns]

    def mask(self, index: int) -> np.ndarray | None:
        return None
