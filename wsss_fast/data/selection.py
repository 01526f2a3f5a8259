"""A part of an image set: some of its images, some of its classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wsss_fast.data.image_set import ImageSet
from wsss_fast.files import DataError


class Selection(ImageSet):
    """Some images of a set, with the labels of some classes; for training on labels, so without masks.

    ``classes``: positions in ``images.classes``; entry k of `labels` is for the k-th of them. ``indices``:
    the images, by default all; a range or an array.
    """

    def __init__(
        self,
        images: ImageSet,
        classes: Sequence[int],
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self.images = images
        self.columns = list(classes)
        self.classes = tuple(images.classes[k] for k in self.columns)
        # A million images are 8 MB as an array, and a list of them 36.
        self.indices = range(len(images)) if indices is None else np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.images.name(int(self.indices[index]))

    def source(self, index: int) -> str:
        return self.images.source(int(self.indices[index]))

    def image(self, index: int) -> np.ndarray:
        return self.images.image(int(self.indices[index]))

    def labels(self, index: int) -> np.ndarray:
        return self.images.labels(int(self.indices[index]))[self.columns]

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        if unreadable is not None:  # which is told of positions in this set
            return super().label_matrix(indices, unreadable)
        chosen = self.indices if indices is None else np.asarray(self.indices)[np.asarray(indices, np.int64)]
        return self.images.label_matrix(chosen)[:, self.columns]
