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

    >>> from wsss_fast.config import DataConfig, ShapesConfig
    >>> from wsss_fast.data import open_images
    >>> images = open_images(DataConfig(shapes=ShapesConfig(train=3, val=2, size=64)), "val")
    >>> len(images), images.name(0), images.image(0).shape, images.image(0).dtype
    (2, 'val_00000', (64, 64, 3), dtype('uint8'))
    >>> len(images.classes), images.labels(0).shape, images.mask(0).shape
    (6, (6,), (64, 64))
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
