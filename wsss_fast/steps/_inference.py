"""Going through the images of a split: what is finished is left out, what is broken is noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss_fast.config import Config
from wsss_fast.data import ImageSet
from wsss_fast.data.inference_loader import Loaded, read_images
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._progress import progress
from wsss_fast.steps._step import Step

# Pixels of one batch. Enough to keep a few cores busy; a larger batch only leaves the caches (a network at
# twice the scale took three times as long an image with four times as many).
_BATCH_PIXELS = 2**17


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

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]


def each_image(
    config: Config,
    this: Step,
    images: ImageSet,
    label: str,
    folder: Path | None = None,
    suffix: str = "",
    *,
    labels: bool = True,
) -> Iterator[Loaded]:
    """The images whose output ``folder/<name><suffix>`` is not there yet (all, without a folder).

    Shows a progress bar named after the step and ``label``. Unreadable images are noted in the step, or stop
    it when ``data.strict`` is set; so are images with unreadable labels, unless a step has no use for
    ``labels``.
    """
    todo = list(range(len(images)))
    if folder is not None:
        todo = [i for i in todo if not (folder / f"{images.name(i)}{suffix}").exists()]
    with progress(len(images), f"{this.name} {label}", done=len(images) - len(todo)) as bar:
        for item in read_images(
            images,
            todo,
            workers=config.data.workers,
            labels=labels,
            strict=config.data.strict,
            skip=this.skip,
        ):
            yield item
            bar.update()
            if folder is not None:
                this.items += 1


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
    """As :func:`each_image`, in batches of consecutive images of one size."""
    waiting: list[Loaded] = []
    for item in each_image(config, this, images, label, folder, suffix, labels=labels):
        height, width = item.image.shape[:2]
        limit = max(1, _BATCH_PIXELS // (height * width))
        if waiting and (waiting[0].image.shape != item.image.shape or len(waiting) >= limit):
            yield _batch(waiting)
            waiting = []
        waiting.append(item)
    if waiting:
        yield _batch(waiting)


def _batch(items: list[Loaded]) -> ImageBatch:
    return ImageBatch(
        indices=[int(item[0]) for item in items],
        names=[item.name for item in items],
        images=torch.from_numpy(np.stack([item.image for item in items])),
    )
