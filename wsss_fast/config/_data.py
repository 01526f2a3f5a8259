"""Where images and labels come from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from wsss_fast.config._checks import check, check_at_least, check_distinct, check_types, check_within

Split = Literal["train", "val"]


@dataclass
class ShapesConfig:
    """The generated data set (``data.reader: shapes``)."""

    train: int = 600
    """How many training images, at most a million."""
    val: int = 100
    """How many validation images."""
    size: int = 128
    """Height and width of an image, in pixels: 32 to 4096."""
    classes: int = 6
    """How many object classes, 2 to 6."""
    seed: int = 0
    """Another seed gives other images of the same kind; not negative."""

    def __post_init__(self) -> None:
        check_types("data.shapes", self)
        check_within("data.shapes", self, 1, 1_000_000, "train", "val")
        check_within("data.shapes", self, 32, 4096, "size")
        check_at_least("data.shapes", self, 0, "seed")
        check(2 <= self.classes <= 6, "data.shapes.classes", "an integer in [2, 6]", self.classes)


@dataclass
class DataConfig:
    """Where images and labels come from."""

    reader: Literal["folder", "voc", "prepared", "shapes"] = "shapes"
    """``folder``: images/, labels.csv, optional masks/. ``voc``: the layout of PASCAL VOC. ``prepared``: what
    `wsss-fast prepare` wrote. ``shapes``: made on the fly."""
    root: str | None = None
    """The folder of the data set (``~`` is your home); unused by ``shapes``."""
    images_root: str | None = None
    """Where the images lie if they have moved since `wsss-fast prepare` (``prepared`` only)."""
    classes: list[str] = field(default_factory=list)
    """Names of the object classes in the order of their ids 1, 2, ...; empty: as the data set names them."""
    train_split: str = "train"
    """Name of the training split: a list in ImageSets/Segmentation (voc), a value of the column ``split`` in
    labels.csv (folder) or an index file without its suffix (prepared)."""
    val_split: str = "val"
    """Name of the validation split, likewise."""
    workers: int = 2
    """Processes that read images, at most 1024: for each process of a run (torchrun), so four GPUs with 8
    have 32."""
    strict: bool = False
    """Stop at the first image or label that cannot be read, instead of listing and skipping it."""
    shapes: ShapesConfig = field(default_factory=ShapesConfig)

    def __post_init__(self) -> None:
        check_types("data", self)
        check_within("data", self, 0, 1024, "workers")
        self.root = None if self.root is None else os.path.expanduser(self.root)
        self.images_root = None if self.images_root is None else os.path.expanduser(self.images_root)
        check(
            self.reader == "shapes" or bool(self.root),
            "data.root",
            f"the folder of the data set (reader {self.reader!r})",
            self.root,
        )
        check(
            self.reader == "prepared" or self.images_root is None,
            "data.images_root",
            f"nothing (reader {self.reader!r}; it is for 'prepared')",
            self.images_root,
        )
        check_distinct("data.classes", self.classes)
