"""Batches for training, read by worker processes; `_workers` says what happens to unreadable files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wsss_fast.data._workers import Skip, Skipped, start_worker
from wsss_fast.data.balance import EveryImage
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.soft_labels import SoftLabels, SoftMaps, padded
from wsss_fast.data.transforms import Transform
from wsss_fast.files import DataError

ReadTarget: TypeAlias = "Callable[[str], np.ndarray] | Callable[[str], SoftMaps]"
"""From the name of an image to its mask, uint8 or uint16 ``[H,W]``, or to what gives its soft labels; it may
raise `DataError`."""


class _Fatal(NamedTuple):
    """A failure that must stop the loop, on its way to the main process."""

    file: str
    reason: str


class Item(NamedTuple):
    """One image, transformed, and what had to be passed over to get it."""

    i: int
    image: Tensor
    labels: Tensor | None
    mask: Tensor | None
    soft: SoftLabels | None
    skipped: tuple[Skipped, ...]


class Batch(NamedTuple):
    """N images: never none, and always equally many."""

    indices: Tensor
    """Which images of the set: int64 ``[N]``."""
    image: Tensor
    """uint8 ``[N,3,S,S]``."""
    labels: Tensor | None
    """Image-level labels, float32 ``[N,K]`` of 0 and 1; None where masks are trained on."""
    mask: Tensor | None
    """int64 ``[N,S,S]``: class ids, and -1 for pixels that take no part, whatever the type of the masks; None
    where no masks are trained on."""
    skipped: tuple[Skipped, ...]
    """Images that were to be in this batch and cannot be read."""
    soft: SoftLabels | None = None
    """Probabilities of a few labels an image, padded to the most in this batch; None unless they are trained
    on."""


class TrainingSet(Dataset[Any]):
    """Items for training, each with its own seed.

    An item is asked for by ``(index, seed)``; the seed fixes what the transform draws, so an item is the same
    in whichever process it is made. Where the image ``index`` cannot be read, others drawn at random take its
    place: batches stay full (batch normalisation needs more than one image) and epochs equally long.

    ``mask``: a function from an image's name to its mask, or to maps that soft labels are made of, such as
    one that reads the pseudo-masks of a run. Without it, items carry the image-level labels.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: Transform,
        *,
        mask: ReadTarget | None = None,
        strict: bool = False,
    ) -> None:
        self.images = images
        self.transform = transform
        self.mask = mask
        self.strict = strict
        self._bad: dict[int, Skipped] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: tuple[int, int]) -> Item | _Fatal:
        index, seed = draw
        passed: list[Skipped] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            while True:
                if index not in self._bad:
                    try:
                        return self._read(index, passed)
                    except DataError as error:
                        if self.strict:
                            return _Fatal(error.file, error.reason)
                        self._bad[index] = Skipped(self.images.name(index), error.file, error.reason)
                passed.append(self._bad[index])
                if len(self._bad) == len(self):
                    file, reason = self._bad[index][1:]
                    return _Fatal(file, f"{reason}; none of the {len(self)} images can be read")
                # Not from the good ones that are left: this process may not know all the bad ones yet, and
                # another would draw differently.
                index = int(torch.randint(len(self), ()))

    def _read(self, index: int, passed: Sequence[Skipped]) -> Item:
        image = self.images.image(index)
        if self.mask is None:
            labels = torch.from_numpy(self.images.labels(index)).float()
            pixels, _ = self.transform(image, None)
            return Item(index, pixels, labels, None, None, tuple(passed))
        target = self.mask(self.images.name(index))
        if isinstance(target, SoftMaps):
            height, width = image.shape[:2]
            pixels, probs = self.transform(image, target.probabilities((height, width)))
            assert probs is not None
            soft = SoftLabels(torch.from_numpy(target.ids), probs.half())
            return Item(index, pixels, None, None, soft, tuple(passed))
        if target.shape != image.shape[:2]:
            raise DataError(
                self.images.source(index),
                f"expected a label map of the image's size {list(image.shape[:2])}, got {list(target.shape)}",
            )
        pixels, mask = self.transform(image, target)
        return Item(index, pixels, None, mask, None, tuple(passed))


def collate(items: Sequence[Item | _Fatal]) -> Batch | _Fatal:
    """Items to a batch."""
    good: list[Item] = []
    for item in items:
        if isinstance(item, _Fatal):
            return item
        good.append(item)
    labels = [item.labels for item in good if item.labels is not None]
    masks = [item.mask for item in good if item.mask is not None]
    soft = [item.soft for item in good if item.soft is not None]
    return Batch(
        indices=torch.tensor([item.i for item in good]),
        image=torch.stack([item.image for item in good]),
        labels=torch.stack(labels) if labels else None,
        mask=torch.stack(masks).long() if masks else None,
        skipped=tuple(skipped for item in good for skipped in item.skipped),
        soft=padded(soft) if soft else None,
    )


class Epochs(Protocol):
    """Which images the epochs are made of; all are equally long."""

    def __len__(self) -> int: ...

    def draw(self, generator: torch.Generator | None = None) -> np.ndarray: ...


class _Draws(Sampler[tuple[int, int]]):
    """The (index, seed) pairs of one epoch, and of the start of another where that fills a batch.

    They are drawn for all processes; those of ``share``, this process and the number of all, are given.
    """

    def __init__(self, epochs: Epochs, batch_size: int, share: tuple[int, int]) -> None:
        self.epochs = epochs
        self.batches = -(-len(epochs) // batch_size)
        self._batch_size = batch_size
        self._share = share
        # Arrays: a million pairs as Python objects would take 200 MB.
        self._order = np.zeros(0, np.int64)
        self._seeds = np.zeros(0, np.int64)
        self._start = 0

    def shuffle(self, generator: torch.Generator | None, start: int) -> None:
        """Draw an epoch, of which the batches before ``start`` are left out."""
        total = self.batches * self._batch_size
        orders = [self.epochs.draw(generator)]
        while sum(map(len, orders)) < total:
            orders.append(self.epochs.draw(generator))
        self._order = np.concatenate(orders)[:total]
        self._seeds = torch.randint(2**62, (total,), generator=generator).numpy()
        self._start = start

    def __len__(self) -> int:
        return (self.batches - self._start) * self._batch_size // self._share[1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        place, of = self._share
        each = self._batch_size // of
        for batch in range(self._start, self.batches):
            first = batch * self._batch_size + place * each
            for at in range(first, first + each):
                yield int(self._order[at]), int(self._seeds[at])


class TrainingLoader:
    """Shuffled batches for training.

    ``loader.epoch(generator)`` gives the batches of one epoch; what is in them follows from the generator
    alone, however many ``workers`` read them. Every image comes once an epoch, or what ``epochs`` draws; the
    last batch is filled with images drawn once more. ``len(loader)`` is the number of batches of an epoch.
    ``mask``: see `TrainingSet`.
    ``skip(name, file, reason)`` is called for every unreadable image, once in the life of the loader.

    ``share``: of processes that train together, which one this is and how many there are. All draw the same
    batches of ``batch_size`` images, and each reads and gets its own part of them. ``parts``: in how many
    pieces, one after another, a batch comes.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: Transform,
        *,
        batch_size: int,
        workers: int = 0,
        mask: ReadTarget | None = None,
        strict: bool = False,
        skip: Skip | None = None,
        epochs: Epochs | None = None,
        share: tuple[int, int] = (0, 1),
        parts: int = 1,
    ) -> None:
        if not len(images):
            raise ValueError("images: expected at least one image, got none")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected an integer >= 1, got {batch_size}")
        if batch_size % (share[1] * parts):
            raise ValueError(f"batch_size: expected a multiple of {share[1] * parts}, got {batch_size}")
        self._skip = skip
        self._told: set[str] = set()
        self._draws = _Draws(epochs or EveryImage(len(images)), batch_size, share)
        self._items = TrainingSet(images, transform, mask=mask, strict=strict)
        self._workers = workers
        self._piece = batch_size // (share[1] * parts)
        self._loader = self._open()

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            self._items,
            batch_size=self._piece,
            sampler=self._draws,
            num_workers=self._workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            # Workers that stay know which images are bad, and a new epoch starts at once.
            persistent_workers=self._workers > 0,
            # Else it draws from torch's own whenever its workers start: each epoch without any, once with
            # workers that stay, so that what a network draws in training would depend on their number.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return self._draws.batches

    def epoch(self, generator: torch.Generator | None = None, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, in an order drawn from ``generator`` (by default torch's own).

        ``start``: how many batches are left out; they are drawn, but not read. Torch's own generator moves on
        by one number in every epoch, in this call, however many workers there are.
        """
        self._draws.shuffle(generator, start)
        torch.empty((), dtype=torch.int64).random_()  # what a DataLoader without workers would draw
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        fatal: _Fatal
        for batch in self._loader:
            if isinstance(batch, _Fatal):
                fatal = batch
                break
            for skipped in batch.skipped:
                if skipped.name not in self._told:
                    self._told.add(skipped.name)
                    if self._skip is not None:
                        self._skip(*skipped)
            yield batch
        else:
            return
        # Let the workers go before raising: held by the traceback, they would end much later, and slowly.
        self._loader = self._open()
        raise DataError(*fatal)
