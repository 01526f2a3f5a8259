"""Going through the images of a split: what is finished is left out, what is broken is noted.

Several processes share a split without knowing of each other: the list of its images is cut into chunks, and
those of a rank are every so many. Batches are made within a chunk, from all of its images, so that what an
image is computed together with depends on no process, worker or earlier call, and the outputs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss_fast.config import Config
from wsss_fast.data import ImageSet
from wsss_fast.data.inference_loader import Loaded, read_images
from wsss_fast.files import DataError
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._progress import Bar, progress
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._step import Step

# Pixels of one batch. Enough to keep a few cores busy; a larger batch only leaves the caches (a network at
# twice the scale took three times as long an image with four times as many).
_BATCH_PIXELS = 2**17

_CHUNK = 16
"""The fewest images that a rank takes at a time."""


class Normalize:
    """uint8 images ``[B,H,W,3]`` -> normalised float32 ``[B,3,H,W]`` on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.mean = 255 * torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self.std = 255 * torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        pixels = to_device(images, self.mean.device).permute(0, 3, 1, 2).float()
        return ((pixels - self.mean) / self.std).contiguous()


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size."""

    indices: list[int]
    names: list[str]
    images: Tensor
    """uint8 ``[B,H,W,3]``."""
    due: list[bool]
    """Whose output is not there yet. The others are in it for what they do to the arithmetic of the rest."""

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]


def each_image(
    config: Config, this: Step, images: ImageSet, label: str, folder: Path, suffix: str
) -> Iterator[Loaded]:
    """This rank's images whose output ``folder/<name><suffix>`` is not there yet.

    Shows a progress bar named after the step and ``label``. Unreadable images, or such with unreadable
    labels, are noted in the step, or stop it when ``data.strict`` is set.
    """
    share = _Share(this, images, label, _CHUNK, folder, suffix)
    with share.progress() as bar:
        for item in _read(config, this, images, share.due(bar), labels=True):
            yield item
            bar.update()
            this.items += 1
            this.write_now_and_then()


def equal_size_batches(
    config: Config,
    this: Step,
    images: ImageSet,
    label: str,
    folder: Path | None = None,
    suffix: str = "",
    *,
    labels: bool = True,
) -> Iterator[ImageBatch]:
    """As :func:`each_image`, in batches of consecutive images of one size; those without a due image are left
    out, and the time it takes to get one counts as ``read`` in the step's profile. Without a folder these are
    all images, whatever the rank.

    ``labels``: whether images with unreadable labels are unreadable.
    """
    if folder is None:
        return _all_batches(config, this, images, label, labels=labels)
    batches = _due_batches(config, this, images, label, folder, suffix, labels=labels)
    return this.profile.waiting(batches, "read")


def _all_batches(
    config: Config, this: Step, images: ImageSet, label: str, *, labels: bool
) -> Iterator[ImageBatch]:
    with progress(len(images), f"{this.name} {label}", unit="image") as bar:
        waiting: list[Loaded] = []
        for item in _read(config, this, images, range(len(images)), labels=labels):
            if waiting and not _fits(waiting, item):
                yield _batch(waiting)
                bar.update(len(waiting))
                waiting = []
            waiting.append(item)
        if waiting:
            yield _batch(waiting)
            bar.update(len(waiting))


def _due_batches(
    config: Config, this: Step, images: ImageSet, label: str, folder: Path, suffix: str, *, labels: bool
) -> Iterator[ImageBatch]:
    share = _Share(this, images, label, _chunk_of_batches(images), folder, suffix)

    def finished(items: list[Loaded]) -> Iterator[ImageBatch]:
        batch = _batch(items, [item.i in share.missing for item in items])
        count = sum(batch.due)
        if count:
            yield batch
        this.items += count
        bar.update(count)
        this.write_now_and_then()
        share.missing.difference_update(batch.indices)

    with share.progress() as bar:
        waiting: list[Loaded] = []
        for item in _read(config, this, images, share.whole_chunks(bar), labels=labels):
            if waiting and not (_fits(waiting, item) and share.together(waiting[0].i, item.i)):
                yield from finished(waiting)
                waiting = []
            waiting.append(item)
        if waiting:
            yield from finished(waiting)


class _Share:
    """The chunks of this rank, looked at one after another as the loader asks for images."""

    def __init__(
        self, this: Step, images: ImageSet, label: str, length: int, folder: Path, suffix: str
    ) -> None:
        self.missing: set[int] = set()
        """Images without output, of the chunks that are under way."""
        self._this = this
        self._images = images
        self._label = label
        self._length = length
        self._folder = folder
        self._suffix = suffix
        of = ranks()
        starts = range(of.rank * length, len(images), of.world * length)
        self._chunks = (range(start, min(start + length, len(images))) for start in starts)
        self._total = sum(min(length, len(images) - start) for start in starts)
        this.chunks[label] = length

    def progress(self) -> Bar:
        return progress(self._total, f"{self._this.name} {self._label}", unit="image", shared=True)

    def together(self, first: int, second: int) -> bool:
        """Whether two images are of one chunk."""
        return first // self._length == second // self._length

    def due(self, bar: Bar) -> Iterator[int]:
        """The images without output."""
        for _, missing in self._unfinished(bar):
            yield from missing

    def whole_chunks(self, bar: Bar) -> Iterator[int]:
        """All images of the chunks in which one has no output."""
        for chunk, missing in self._unfinished(bar):
            self.missing.update(missing)
            yield from chunk

    def _unfinished(self, bar: Bar) -> Iterator[tuple[range, list[int]]]:
        for chunk in self._chunks:
            missing = [i for i in chunk if not self._output(i).exists()]
            bar.catch_up(len(chunk) - len(missing))
            self._this.items += len(chunk) - len(missing)
            if missing:
                yield chunk, missing

    def _output(self, index: int) -> Path:
        return self._folder / f"{self._images.name(index)}{self._suffix}"


def _chunk_of_batches(images: ImageSet) -> int:
    """How many images a chunk has: full batches, where all images are as large as the first that can be
    read, so that no batch is smaller than it would be without chunks."""
    for index in range(min(_CHUNK, len(images))):
        try:
            limit = _limit(images.image(index))
        except DataError:
            continue
        return limit * -(-_CHUNK // limit)
    return _CHUNK


def _read(
    config: Config, this: Step, images: ImageSet, indices: Iterable[int], *, labels: bool
) -> Iterator[Loaded]:
    return read_images(
        images,
        indices,
        workers=config.data.workers,
        labels=labels,
        strict=config.data.strict,
        skip=this.skip,
    )


def _fits(waiting: list[Loaded], item: Loaded) -> bool:
    """Whether the image can be of one batch with those."""
    return waiting[0].image.shape == item.image.shape and len(waiting) < _limit(item.image)


def _limit(image: np.ndarray) -> int:
    """Images of this size in a batch."""
    height, width = image.shape[:2]
    return max(1, _BATCH_PIXELS // (height * width))


def _batch(items: list[Loaded], due: list[bool] | None = None) -> ImageBatch:
    return ImageBatch(
        indices=[int(item.i) for item in items],
        names=[item.name for item in items],
        images=torch.from_numpy(np.stack([item.image for item in items])),
        due=[True] * len(items) if due is None else due,
    )
