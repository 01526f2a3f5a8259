"""What every reader gives: images with image-level labels, and masks that only the evaluation looks at."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from wsss_fast.files import MAX_CLASSES, DataError, PathLike, ignore_of, mask_dtype, read_mask

_NAME_BYTES = 236
"""255, which file systems allow, without the longest suffix, that of the report's ``.prediction-crf.png``."""


class ImageSet(ABC):
    """Images of one split, in a fixed order, known by their index.

    An image set can be pickled and sent to a worker process; it opens files only when asked for their
    content. `image`, `labels` and `mask` raise `DataError` for what cannot be read.

    A reader of your own derives from it:

    >>> import numpy as np
    >>> from wsss_fast.data import ImageSet
    >>> class Squares(ImageSet):
    ...     classes = ("square",)
    ...
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def name(self, index):
    ...         return f"square-{index}"
    ...
    ...     def source(self, index):
    ...         return f"made up: {self.name(index)}"
    ...
    ...     def image(self, index):
    ...         image = np.zeros((40, 60, 3), np.uint8)
    ...         image[10:30, 10 + index : 30 + index] = (200, 40, 40)
    ...         return image
    ...
    ...     def labels(self, index):
    ...         return np.array([True])
    >>> images = Squares()
    >>> images.image(0).shape, images.labels(0).tolist(), images.label_matrix().shape
    ((40, 60, 3), [True], (3, 1))
    >>> images.source(0), images.mask_source(0), images.mask(0)
    ('made up: square-0', None, None)
    """

    classes: tuple[str, ...]
    """Names of the object classes with the ids 1, 2, ...; the background, 0, is not among them."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of an image: unique within the set and fit to be a file name (without suffix)."""

    @abstractmethod
    def source(self, index: int) -> str:
        """Where an image comes from, for messages: the path of its file."""

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """The image: uint8 ``[H,W,3]``, RGB."""

    @abstractmethod
    def labels(self, index: int) -> np.ndarray:
        """Which classes are in the image: bool ``[K]``, entry k for the class with id k+1."""

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        """The labels of some images, by default of all: bool ``[N,K]``.

        Labels that cannot be read raise `DataError`; with ``unreadable(index, error)`` that is called
        instead, and the row is False throughout. Readers that have all labels at hand do without a loop.
        """
        chosen = range(len(self)) if indices is None else indices
        matrix = np.zeros((len(chosen), len(self.classes)), bool)
        for row, index in enumerate(chosen):
            try:
                matrix[row] = self.labels(int(index))
            except DataError as error:
                if unreadable is None:
                    raise
                unreadable(int(index), error)
        return matrix

    def mask_source(self, index: int) -> str | None:
        """The path of the file that `mask` would read; None where there is none."""
        return None

    def mask(self, index: int) -> np.ndarray | None:
        """The true mask ``[H,W]``: class ids and the ignore label; None where there is none.

        uint8 with 255 for ignore, or uint16 with 65535 where there are more than 254 classes
        (`wsss_fast.files.mask_dtype`, `wsss_fast.files.ignore_of`).

        For evaluation only: the method learns from `labels`.
        """
        path = self.mask_source(index)
        if path is None:
            return None
        return check_mask(path, read_mask(path), self.image(index), len(self.classes))


def check_classes(file: PathLike, classes: Sequence[str]) -> tuple[str, ...]:
    """``classes`` as a tuple, if they can be the object classes of a data set; ``file`` is blamed if not."""
    if not classes:
        raise DataError(file, "expected at least one class, got none")
    if len(classes) > MAX_CLASSES:
        raise DataError(
            file, f"expected at most {MAX_CLASSES} classes (masks have 16 bits), got {len(classes)}"
        )
    if len(set(classes)) != len(classes):
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        raise DataError(file, f"expected distinct classes, got {', '.join(map(repr, twice))} more than once")
    for name in classes:
        if not name.strip():
            raise DataError(file, "expected a name for every class, got an empty one")
        if name.lower() == "background":
            raise DataError(file, f"expected object classes only, got {name!r}: every set has it as class 0")
    return tuple(classes)


def check_name(file: PathLike, name: str) -> str:
    """``name``, if it can be a file name in any folder, with what is added to it."""
    if not name or name in (".", "..") or set(name) & set("/\\\0") or len(os.fsencode(name)) > _NAME_BYTES:
        raise DataError(file, f"expected the name of an image, fit for a file name, got {name!r}")
    return name


def check_mask(file: PathLike, mask: np.ndarray, image: np.ndarray, classes: int) -> np.ndarray:
    """``mask`` in the type of the data set, if it is as large as the image and holds class ids only.

    A mask may have 8 or 16 bits whatever the number of classes. Pixels with the largest value of its type are
    ignored; in one of 16 bits, 255 is an ordinary class.
    """
    if mask.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise DataError(
            file,
            f"expected a mask as large as its image, {width}x{height}, got {mask.shape[1]}x{mask.shape[0]}",
        )
    check_mask_values(file, mask, classes)
    dtype = mask_dtype(classes)
    if mask.dtype == dtype:
        return mask
    return np.where(mask == ignore_of(mask.dtype), dtype(ignore_of(dtype)), mask.astype(dtype))


def check_mask_values(file: PathLike, mask: np.ndarray, classes: int) -> np.ndarray:
    """``mask``, uint8 or uint16, unless it holds other values than class ids and the largest of its type."""
    ignore = ignore_of(mask.dtype)
    wrong = mask > classes
    wrong &= mask != ignore
    if wrong.any():
        raise DataError(
            file,
            f"expected mask values 0 to {min(classes, ignore - 1)} and {ignore} ({8 * mask.itemsize} bits), "
            f"got {np.unique(mask[wrong])[:5].tolist()} in {np.count_nonzero(wrong)} of {mask.size} pixels",
        )
    return mask
