"""Data sets: images with image-level labels.

``open_images(config, split)`` gives an `ImageSet` by the reader that the config names: `folder`, `voc`,
`prepared` or `shapes`. `transforms` and the loaders turn it into batches.
"""

from __future__ import annotations

from typing import get_args

from wsss_fast.config import DataConfig, Split
from wsss_fast.config._types import shown
from wsss_fast.data.image_set import ImageSet
from wsss_fast.files import DataError

__all__ = ["DataError", "ImageSet", "open_images"]


def open_images(config: DataConfig, split: Split) -> ImageSet:
    """The images of a split: ``"train"`` or ``"val"``, whatever the data set calls it.

    Raises `DataError` for a data set that is not laid out as its reader expects, `ValueError` for another
    split. Images are not read yet.
    """
    if not isinstance(config, DataConfig):
        raise TypeError(f"config: expected a DataConfig, got a {type(config).__name__}")
    if split not in get_args(Split):
        raise ValueError(f"split: expected 'train' or 'val', got {shown(split)}")
    if config.reader == "shapes":
        from wsss_fast.data.shapes import Shapes

        return Shapes(config.shapes, split, classes=config.classes)
    name = config.train_split if split == "train" else config.val_split
    assert config.root is not None  # DataConfig sees to it
    if config.reader == "voc":
        from wsss_fast.data.voc import Voc

        return Voc(config.root, name, classes=config.classes)
    if config.reader == "prepared":
        from wsss_fast.data.prepared import Prepared

        return Prepared(config.root, name, classes=config.classes, images_root=config.images_root)
    from wsss_fast.data.folder import Folder

    return Folder(config.root, name, classes=config.classes)
