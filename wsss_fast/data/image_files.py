"""What the readers of files share: images by name, and masks of the same names in a folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from wsss_fast.data.decode import read_image
from wsss_fast.data.image_set import ImageSet


class ImageFiles(ImageSet):
    """Images that are files. A subclass finds them, and knows their labels."""

    _names: list[str]
    _paths: list[Path]
    """The file of each name; it may be missing, which makes an unreadable image."""
    _masks: Path
    """The folder that may hold ``<name>.png``."""

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def source(self, index: int) -> str:
        return str(self._paths[index])

    def image(self, index: int) -> np.ndarray:
        return read_image(self._paths[index])

    def mask_source(self, index: int) -> str | None:
        path = self._masks / f"{self.name(index)}.png"
        return str(path) if os.path.lexists(path) else None
