"""A stream of images for inference, read by worker processes; `_workers` says what happens to unreadable
files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from wsss_fast.data._workers import Skip, Skipped, start_worker
from wsss_fast.data.image_set import ImageSet
from wsss_fast.files import DataError


class Loaded(NamedTuple):
    """An image as it was read."""

    i: int
    name: str
    image: np.ndarray
    """uint8 ``[H,W,3]``, RGB."""
    labels: np.ndarray | None
    """bool ``[K]``; None unless asked for."""


class _InferenceSet(Dataset[Any]):
    def __init__(self, images: ImageSet, labels: bool) -> None:
        self.images = images
        self.labels = labels

    def __getitem__(self, index: int) -> Loaded | Skipped:
        name = self.images.name(index)
        try:
            labels = self.images.labels(index) if self.labels else None
            return Loaded(index, name, self.images.image(index), labels)
        except DataError as error:
            return Skipped(name, error.file, error.reason)


def read_images(
    images: ImageSet,
    indices: Iterable[int] | None = None,
    *,
    workers: int = 0,
    labels: bool = False,
    strict: bool = False,
    skip: Skip | None = None,
) -> Iterator[Loaded]:
    """The images of a set one after another, read ahead by ``workers`` processes.

    ``indices``: which ones, in this order (by default all). They are asked for one after another, only so
    far ahead as the workers read: what finds out which ones are due need not do so for all of a million
    images before the first is read. ``labels``: read the image-level labels too, and
    take unreadable ones for an unreadable image. An image that cannot be read is told to
    ``skip(name, file, reason)`` and left out, or raises `DataError` with ``strict=True``.
    """
    due = iter(range(len(images)) if indices is None else indices)
    first = list(islice(due, max(1, workers)))
    if not first:
        return
    loader: DataLoader[Any] = DataLoader(
        _InferenceSet(images, labels),
        batch_size=None,
        sampler=chain(first, due),
        num_workers=min(workers, len(first)),
        collate_fn=_as_it_is,
        worker_init_fn=start_worker,
    )
    failure: Skipped
    for item in loader:
        if isinstance(item, Loaded):
            yield item
        elif strict:
            failure = item
            break
        elif skip is not None:
            skip(*item)
    else:
        return
    raise DataError(failure.file, failure.reason)  # here, where the loop has let the workers go


def _as_it_is(item: Any) -> Any:
    return item
