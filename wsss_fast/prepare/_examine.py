"""One image of a data set: is it there, whole, labelled, and does its mask fit?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from wsss_fast.data import ImageSet
from wsss_fast.data.annotations import read_object_names
from wsss_fast.data.decode import decode_image
from wsss_fast.data.image_set import check_mask
from wsss_fast.files import DataError, read_bytes, read_mask

Check = Literal["content", "files"]

MISSING_IMAGE, CORRUPT_IMAGE = "missing image", "corrupt image"
MISSING_ANNOTATION, CORRUPT_ANNOTATION = "missing annotation", "corrupt annotation"
UNKNOWN_CLASS = "unknown class"
MISSING_MASK, CORRUPT_MASK = "missing mask", "corrupt mask"
UNLABELLED, DUPLICATE = "unlabelled", "duplicate"

USELESS = {MISSING_IMAGE, CORRUPT_IMAGE, MISSING_ANNOTATION, CORRUPT_ANNOTATION}
"""What keeps an image out of the index."""

MASKLESS = {MISSING_MASK, CORRUPT_MASK}
"""What leaves an image without its mask."""


class Problem(NamedTuple):
    kind: str
    file: str
    reason: str


class Examined(NamedTuple):
    """What was seen of an image."""

    labels: tuple[int, ...]
    """Positions of the classes, ascending."""
    digest: str
    """Of the bytes of the image; empty where they were not read."""
    problems: tuple[Problem, ...]

    def has(self, *kinds: str) -> bool:
        return any(problem.kind in kinds for problem in self.problems)


class Job(NamedTuple):
    """An image as a data set lists it."""

    name: str
    image: str
    """Path relative to the images' root, or absolute."""
    mask: str = ""
    """Path relative to the masks' root, or absolute; empty: there is none to expect."""
    annotation: str = ""
    """Path of an XML file with its objects; empty: there is none to expect."""
    needs_annotation: bool = True
    """Whether it is a fault if that file is missing."""
    labels: tuple[int, ...] = ()
    """Positions of classes that are known to be in it."""


@dataclass(frozen=True)
class Examiner:
    """Looks at jobs."""

    images_root: Path
    masks_root: Path
    positions: Mapping[str, int]
    """From the name of an object in an annotation to the position of its class."""
    classes: int
    check: Check
    """``files``: whether files are there; ``content``: decode them in full."""

    def files(self, job: Job) -> list[Path]:
        """The files that the outcome depends on."""
        mask = [self.masks_root / job.mask] if job.mask else []
        annotation = [Path(job.annotation)] if job.annotation else []
        return [self.images_root / job.image, *mask, *annotation]

    def identity(self, job: Job) -> str:
        """What else it depends on."""
        return f"{self._settings} {job!r}"

    @cached_property
    def _settings(self) -> str:
        text = repr((self.classes, self.check, sorted(self.positions.items())))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def __call__(self, job: Job) -> Examined:
        problems: list[Problem] = []
        labels = {*job.labels, *self._annotated(job, problems)}
        image, digest = examine_image(self.images_root / job.image, self.check, problems)
        if job.mask:
            examine_mask(self.masks_root / job.mask, image, self.classes, self.check, problems)
        return Examined(tuple(sorted(labels)), digest, tuple(problems))

    def _annotated(self, job: Job, problems: list[Problem]) -> set[int]:
        if not job.annotation or (not job.needs_annotation and not os.path.exists(job.annotation)):
            return set()
        try:
            names = set(read_object_names(job.annotation))
        except DataError as error:
            there = os.path.exists(job.annotation)
            kind = CORRUPT_ANNOTATION if there else MISSING_ANNOTATION
            problems.append(Problem(kind, error.file, error.reason))
            return set()
        unknown = sorted(names - set(self.positions))
        if unknown:
            reason = f"expected objects of known classes, got {', '.join(map(repr, unknown[:5]))}"
            problems.append(Problem(UNKNOWN_CLASS, job.annotation, reason))
        return {self.positions[name] for name in names if name in self.positions}


@dataclass(frozen=True)
class SetExaminer:
    """Looks at the images of a set, asked for by their index."""

    images: ImageSet
    check: Check

    def files(self, index: int) -> list[Path]:
        mask = self.images.mask_source(index)
        return [Path(self.images.source(index)), *([Path(mask)] if mask else [])]

    def identity(self, index: int) -> str:
        """The labels are part of it: they may come from a table that all images share."""
        try:
            labels = np.flatnonzero(self.images.labels(index)).tolist()
        except DataError:
            labels = None
        return repr((self.images.name(index), labels, len(self.images.classes), self.check))

    def __call__(self, index: int) -> Examined:
        problems: list[Problem] = []
        labels: list[int] = []
        try:
            labels = np.flatnonzero(self.images.labels(index)).tolist()
        except DataError as error:
            kind = CORRUPT_ANNOTATION if os.path.exists(error.file) else MISSING_ANNOTATION
            problems.append(Problem(kind, error.file, error.reason))
        image, digest = examine_image(Path(self.images.source(index)), self.check, problems)
        mask = self.images.mask_source(index)
        if mask is not None:
            examine_mask(Path(mask), image, len(self.images.classes), self.check, problems)
        return Examined(tuple(labels), digest, tuple(problems))


def examine_image(path: Path, check: Check, problems: list[Problem]) -> tuple[np.ndarray | None, str]:
    """The image, if it was decoded, and a digest of its bytes."""
    digest = ""
    try:
        if check == "files" and os.path.isfile(path):
            return None, ""
        content = read_bytes(path, "an image")
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        return decode_image(content, path), digest
    except DataError as error:
        kind = CORRUPT_IMAGE if os.path.exists(path) else MISSING_IMAGE
        problems.append(Problem(kind, error.file, error.reason))
        return None, digest


def examine_mask(
    path: Path, image: np.ndarray | None, classes: int, check: Check, problems: list[Problem]
) -> None:
    """``image`` None: its size is not known, and the mask's is not looked at."""
    try:
        if check == "files" and os.path.isfile(path):
            return
        mask = read_mask(path)
        check_mask(path, mask, mask if image is None else image, classes)
    except DataError as error:
        kind = CORRUPT_MASK if os.path.exists(path) else MISSING_MASK
        problems.append(Problem(kind, error.file, error.reason))
