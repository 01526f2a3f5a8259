"""``folder``: a folder of images with a table of labels.

- ``images/``: the images.
- ``labels.csv``: the column ``name`` (a file name, or one without its suffix), one column a class with 0 or
  1, and maybe a column ``split``. Every image in images/ must have a row. A row whose image is missing is an
  unreadable image.
- ``masks/`` (may be missing, or lack some images): ``<stem>.png``, palette or grey, for evaluation: 0
  background, 1 the first class and so on, 255 ignore (65535 in a PNG of 16 bits, which class ids above 254
  need).

With a column ``split``, its values say which images belong to which split (``data.train_split`` and
``data.val_split``; other values are left out). Without it, both splits are all images: the whole folder is
trained on, and gets predictions too. Masks do not take part in training, so figures on pseudo-masks keep
their meaning then; those of the segmenter are on images it has seen, and say nothing about new ones.

The table is read at every start, in every process. From some hundred thousand images on,
`wsss-fast prepare folder` makes index files of it, which open at once (reader ``prepared``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_fast.data.decode import find_images, stem_of
from wsss_fast.data.image_files import ImageFiles
from wsss_fast.data.image_set import check_name
from wsss_fast.data.labels_csv import read_labels, some
from wsss_fast.files import DataError, PathLike


@dataclass(frozen=True)
class FolderTable:
    """All rows of a folder's table, in their order."""

    path: Path
    classes: tuple[str, ...]
    names: list[str]
    """Without the suffixes of images."""
    images: list[Path]
    """Files in images/; one that does not exist is a row whose image is missing."""
    labels: np.ndarray
    """bool ``[N,K]``."""
    splits: tuple[str, ...] | None
    """The column ``split``, if there is one."""

    def rows_of(self, split: str) -> list[int]:
        """The rows of a split: all of them without a column ``split``. Raises `DataError` for none."""
        rows = [row for row in range(len(self.names)) if self.splits is None or self.splits[row] == split]
        if rows:
            return rows
        if self.splits is None:
            raise DataError(self.path, "expected at least one row, got none")
        raise DataError(
            self.path,
            f"expected rows with {split!r} in the column 'split', got only {sorted(set(self.splits))}",
        )


def read_folder(root: PathLike, classes: Sequence[str] = ()) -> FolderTable:
    """The table of a folder, with the image of each row.

    The classes are the columns in their order, or ``classes``, which must then be the same names. Raises
    `DataError` for a table that cannot be read, two rows of one name, or an image without a row.
    """
    folder = Path(root)
    table = folder / "labels.csv"
    files = find_images(folder / "images")
    content = read_labels(table, classes)
    by_file_name = {path.name: path for paths in files.values() for path in paths}
    labelled: dict[str, str] = {}
    images: list[Path] = []
    for name in content.names:
        path = by_file_name.get(name) or _by_stem(table, files, name)
        stem = check_name(table, stem_of(path.name))
        if stem in labelled:
            raise DataError(
                table,
                f"expected names that differ in more than the suffix, got {labelled[stem]!r} and {name!r}",
            )
        labelled[stem] = name
        images.append(path)
    unlabelled = [paths[0].name for stem, paths in files.items() if stem not in labelled]
    if unlabelled:
        raise DataError(table, f"expected a row for every image in images/, got none for {some(unlabelled)}")
    return FolderTable(table, content.classes, list(labelled), images, content.labels, content.splits)


def _by_stem(table: Path, files: dict[str, list[Path]], name: str) -> Path:
    paths = files.get(name, [])
    if len(paths) > 1:
        raise DataError(
            table,
            f"expected a name with its suffix where files differ in nothing else, got {name!r} "
            f"for {some([path.name for path in paths])}",
        )
    return paths[0] if paths else table.parent / "images" / check_name(table, name)


class Folder(ImageFiles):
    """The images of one split of a folder; see the module for the layout.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import write_image
    >>> root = Path(tempfile.mkdtemp())
    >>> write_image(root / "images" / "rex.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> write_image(root / "images" / "tom.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> table = "name,cat,dog,split\\nrex,0,1,train\\ntom,1,0,val\\n"
    >>> _ = (root / "labels.csv").write_text(table)
    >>> from wsss_fast.data.folder import Folder
    >>> images = Folder(root, "train")
    >>> images.classes, images.name(0), images.labels(0).tolist(), images.mask(0)
    (('cat', 'dog'), 'rex', [False, True], None)
    """

    def __init__(self, root: PathLike, split: str, *, classes: Sequence[str] = ()) -> None:
        self.root = Path(root)
        table = read_folder(root, classes)
        rows = table.rows_of(split)
        self.classes = table.classes
        self._names = [table.names[row] for row in rows]
        self._paths = [table.images[row] for row in rows]
        self._masks = self.root / "masks"
        self._labels = table.labels[rows]

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        return self._labels.copy() if indices is None else self._labels[np.asarray(indices, np.int64)]

    def labels(self, index: int) -> np.ndarray:
        return self._labels[index].copy()
