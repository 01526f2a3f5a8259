"""``prepared``: what ``wsss-fast prepare`` left in a folder.

``data.root`` is that folder, ``data.train_split`` and ``data.val_split`` name its index files
(``<root>/train.index``; see `wsss_fast.data.index_file` for their format). The images and most masks stay
where the data set has them: the index file names their folder. If that has moved, ``data.images_root`` says
where it is now; masks that lie inside it move along, those in the prepared folder move with that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss_fast.data.decode import read_image
from wsss_fast.data.image_set import ImageSet, check_name
from wsss_fast.data.index_file import SUFFIX, IndexFile
from wsss_fast.files import DataError, PathLike


class Prepared(ImageSet):
    """The images of one index file.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import write_image
    >>> root = Path(tempfile.mkdtemp())
    >>> write_image(root / "images" / "rex.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> write_image(root / "images" / "tom.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> table = "name,cat,dog,split\\nrex,0,1,train\\ntom,1,0,val\\n"
    >>> _ = (root / "labels.csv").write_text(table)
    >>> from wsss_fast.data.prepared import Prepared
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.folder import prepare_folder
    >>> settings = Settings(root / "prepared", workers=0, check="content", unlabelled="leave-out")
    >>> report = prepare_folder(root, settings)
    >>> images = Prepared(root / "prepared", "train")
    >>> images.name(0), images.labels(0).tolist(), images.image(0).shape
    ('rex', [False, True], (40, 60, 3))
    """

    def __init__(
        self,
        root: PathLike,
        split: str,
        *,
        classes: Sequence[str] = (),
        images_root: PathLike | None = None,
    ) -> None:
        if not Path(root).is_dir():
            raise DataError(root, "expected a folder made by `wsss-fast prepare`, got no such folder")
        self.index = IndexFile(Path(root) / f"{check_name('data', split)}{SUFFIX}")
        if not len(self.index):
            raise DataError(self.index.path, "expected at least one image, got none")
        self.classes = self.index.classes
        if classes and tuple(classes) != self.classes:
            raise DataError(
                self.index.path,
                "expected the classes of data.classes in their order (or leave that empty), got "
                f"{list(self.classes)}",
            )
        folder = self.index.path.parent
        written = folder / self.index.images_root
        self._images = written if images_root is None else Path(images_root)
        if images_root is not None and not self._images.is_dir():
            raise DataError(self._images, "expected the folder of the images, got no such folder")
        self._masks = folder / self.index.masks_root
        if images_root is not None and self._masks.is_relative_to(written):
            self._masks = self._images / self._masks.relative_to(written)

    def __len__(self) -> int:
        return len(self.index)

    def name(self, index: int) -> str:
        return self.index.entry(index).name

    def source(self, index: int) -> str:
        return str(self._images / self.index.entry(index).image)

    def image(self, index: int) -> np.ndarray:
        return read_image(self.source(index))

    def labels(self, index: int) -> np.ndarray:
        return self.index.labels(index)

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        return self.index.label_matrix(indices)

    def mask_source(self, index: int) -> str | None:
        mask = self.index.entry(index).mask
        return str(self._masks / mask) if mask else None
