"""Between activation maps and masks: the rules that several steps share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import Config, ConfigError, CrfConfig, Split
from wsss_fast.data.image_set import check_mask_values
from wsss_fast.files import DataError, PathLike, ignore_of, read_mask
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._map_files import check_size, read_maps


@dataclass(frozen=True)
class Cams:
    """The maps of one image, as make-cams wrote them."""

    classes: np.ndarray
    """Ids of the classes present, ``[K]`` int, ascending."""
    strided: Tensor
    """``[K,h,w]`` float32, every map divided by its maximum."""
    full: Tensor
    """``[K,H,W]`` float32, likewise."""


@dataclass(frozen=True)
class OwnThreshold:
    """Which maps of an image are of the class with a classifier of its own (``person``), and what holds for
    them in the pseudo-masks."""

    maps: tuple[bool, ...]
    """One entry a map; at least one is True."""
    threshold: float
    """Above it a pixel can be of this class; in (0, 1]."""
    apart: bool
    """Whether these maps have a maximum of their own, since they did not walk with the others."""


@dataclass(frozen=True)
class MaskFolder:
    """Reads the mask of a name from a folder of a run; passes to worker processes as it is.

    Raises `DataError` for labels that are neither of the so many ``classes`` nor those that take no part.
    """

    folder: Path
    classes: int
    """How many object classes the data set has; other ids would be out of a network's range."""

    def __call__(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.png"
        return check_mask_values(path, read_mask(path), self.classes)


@dataclass(frozen=True)
class SureMaskFolder:
    """As `MaskFolder`, of two thresholds: background by the higher one alone takes no part."""

    higher: MaskFolder
    lower: MaskFolder

    def __call__(self, name: str) -> np.ndarray:
        mask, lower = self.higher(name), self.lower(name)
        if mask.shape != lower.shape:
            raise DataError(
                self.lower.folder / f"{name}.png",
                f"expected a mask as large as that of the higher threshold, {list(mask.shape)}, "
                f"got {list(lower.shape)}",
            )
        mask[(mask == 0) & (lower != 0)] = ignore_of(mask.dtype)
        return mask


def read_cams(path: PathLike, classes: int, size: tuple[int, ...] | None = None) -> Cams:
    """The maps of one image of a data set of so many ``classes``.

    Raises `DataError` for a file that is none, or whose full maps are not of the image's ``size``.
    """
    arrays = read_maps(path, "strided", "full", classes=classes)
    if size is not None:
        check_size(path, "full", arrays["full"], size)
    return Cams(
        classes=arrays["classes"],
        strided=torch.from_numpy(arrays["strided"].astype(np.float32)),
        full=torch.from_numpy(arrays["full"].astype(np.float32)),
    )


def merged(cams: Cams, others: Cams) -> Cams:
    """The maps of both, of one image and of different classes, in the order of their ids."""
    common = set(cams.classes.tolist()) & set(others.classes.tolist())
    if common:
        raise ValueError(
            f"others: expected maps of classes that cams does not have, got {sorted(common)} too"
        )
    for name in ("strided", "full"):
        sizes = [list(getattr(side, name).shape[1:]) for side in (cams, others)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"others.{name}: expected maps of size {sizes[0]}, as those of cams, got {sizes[1]}"
            )
    classes = np.concatenate([cams.classes, others.classes])
    order = np.argsort(classes)
    place = torch.from_numpy(order)
    return Cams(
        classes=classes[order],
        strided=torch.cat([cams.strided, others.strided])[place],
        full=torch.cat([cams.full, others.full])[place],
    )


def read_person_cams(
    config: Config, split: Split, name: str, classes: int, size: tuple[int, ...] | None = None
) -> Cams:
    """The maps of the class with a classifier of its own: one, or none where the image does not have it."""
    return read_cams(Path(config.output) / "make-person-cams" / split / f"{name}.npz", classes, size)


def read_merged_cams(
    config: Config, split: Split, name: str, classes: int, size: tuple[int, ...] | None = None
) -> Cams:
    """The maps of an image that the CRF and the random walk take: those of make-cams, and with
    ``person.merge: before`` those of make-person-cams among them. Raises `DataError` as `read_cams` does."""
    path = Path(config.output) / "make-cams" / split / f"{name}.npz"
    cams = read_cams(path, classes, size)
    if config.person.merge != "before":
        return cams
    person = read_person_cams(config, split, name, classes, size)
    try:
        return merged(cams, person)
    except ValueError as error:
        raise DataError(path, f"expected maps that fit those of {config.person.name!r}: {error}") from None


def person_id(config: Config, classes: Sequence[str]) -> int | None:
    """The id of the class ``person.name`` among those of a data set, None without such a classifier."""
    if config.person.merge == "none":
        return None
    if config.person.name not in classes:
        raise ConfigError(f"person.name: expected one of {list(classes)}, got {config.person.name!r}")
    return 1 + list(classes).index(config.person.name)


def own_threshold(config: Config, classes: np.ndarray, person: int | None) -> OwnThreshold | None:
    """Which of the maps of ``classes`` (ids) are of the class ``person``; None if no one is."""
    maps = tuple(bool(c == person) for c in classes)
    if not any(maps):
        return None
    return OwnThreshold(maps, config.person.threshold, apart=config.person.merge == "after")


def relative(maps: Tensor, own: OwnThreshold | None = None) -> Tensor:
    """Maps ``[K,...]``, K > 0, divided by the maximum of all (of their own kind, if those of ``own`` stand
    apart)."""
    if own is None or not own.apart:
        return maps / (maps.max() + 1e-5)
    inside, outside = _parts(maps, own)
    return torch.where(_places(maps, own), inside / (inside.max() + 1e-5), outside / (outside.max() + 1e-5))


def with_background(maps: Tensor, threshold: float) -> Tensor:
    """``[K,H,W]`` -> ``[1+K,H,W]`` with a constant first map: the activation of the background."""
    return F.pad(maps, (0, 0, 0, 0, 1, 0), value=threshold)


def local_labels(maps: Tensor, threshold: float, own: OwnThreshold | None = None) -> Tensor:
    """``[K,H,W]`` -> ``[H,W]`` int64: 0 where the threshold wins, else 1 + the index of the strongest map.

    Maps of ``own`` are compared with the others in units of the thresholds: the class of a pixel is that of
    the greatest activation / threshold, and background where no one exceeds 1. Among equals the background
    wins, then the maps that are not of ``own``, then the first.
    """
    if own is None:
        return with_background(maps, threshold).argmax(0)
    inside, outside = _parts(maps, own)
    labels = with_background(outside, threshold).argmax(0)
    strongest, which = inside.max(0)
    # Multiplied out, so that a threshold of 0 is as good as any.
    stronger = (labels == 0) | (strongest * threshold > outside.amax(0) * own.threshold)
    return torch.where((strongest > own.threshold) & stronger, which + 1, labels)


def _places(maps: Tensor, own: OwnThreshold) -> Tensor:
    places = torch.tensor(own.maps).reshape(-1, *(1,) * (maps.dim() - 1))
    return to_device(places, maps.device)


def _parts(maps: Tensor, own: OwnThreshold) -> tuple[Tensor, Tensor]:
    """The maps of ``own`` and the others, each with -inf in the places of the rest."""
    places = _places(maps, own)
    return maps.masked_fill(~places, -torch.inf), maps.masked_fill(places, -torch.inf)


UNSURE = -1
"""The label, of those of one image, of pixels that take no part."""


def to_class_ids(labels: Tensor, classes: np.ndarray, dtype: np.typing.DTypeLike = np.uint8) -> np.ndarray:
    """Labels 0..K and ``UNSURE`` of one image, on the CPU -> class ids of the type of the masks (see
    `wsss_fast.files.mask_dtype`); 0 stays background, ``UNSURE`` becomes what the type has for it."""
    ignore = ignore_of(dtype)
    if len(classes) and max(classes) >= ignore:
        raise ValueError(f"classes: expected ids below {ignore} ({np.dtype(dtype)}), got {max(classes)}")
    ids = np.array([0, *classes, ignore], dtype)
    return ids[labels.numpy()]  # -1 is the last


def crf_labels(image: np.ndarray, labels: Tensor, classes: int, config: CrfConfig) -> Tensor:
    """Refine labels by the dense CRF, where they are.

    ``image`` uint8 ``[H,W,3]``; ``labels`` ``[M,H,W]`` with values 0..classes-1: M labellings of the same
    image, refined on one lattice. Returns ``[M,H,W]`` int64.
    """
    unaries = torch.stack([wsss_fast.unary_from_labels(x, classes, gt_prob=config.gt_prob) for x in labels])
    return dense_crf(torch.from_numpy(image), unaries, config)


def dense_crf(image: Tensor, unaries: Tensor, config: CrfConfig) -> Tensor:
    """Labels ``[M,H,W]`` int64 by the dense CRF, where ``unaries`` is.

    ``image`` uint8 ``[H,W,3]``; ``unaries`` ``[M,C,H,W]``: M of the same image, refined on one lattice.
    """
    pixels = to_device(image.permute(2, 0, 1).contiguous(), unaries.device)
    refined = wsss_fast.crf(
        pixels[None],
        unaries[None],
        iterations=config.iterations,
        gaussian=wsss_fast.Gaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat),
        bilateral=wsss_fast.Bilateral(
            sxy=config.bilateral_sxy, srgb=config.bilateral_srgb, compat=config.bilateral_compat
        ),
        output="labels",
    )
    return refined[0].long()
