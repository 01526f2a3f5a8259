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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss_fast.data.decode import find_images, stem_of
from wsss_fast.data.image_files import ImageFiles
from wsss_fast.data.image_set import check_name
from wsss_fast.data.labels_csv import read_labels, some
from wsss_fast.files import DataError, PathLike


class Folder(ImageFiles):
    """The images of one split of a folder; see the module for the layout."""

    def __init__(self, root: PathLike, split: str, *, classes: Sequence[str] = ()) -> None:
        self.root = Path(root)
        table = self.root / "labels.csv"
        files = find_images(self.root / "images")
        content = read_labels(table, classes)
        self.classes = content.classes

        by_file_name = {path.name: path for paths in files.values() for path in paths}
        labelled: dict[str, str] = {}
        chosen: list[tuple[str, Path, int]] = []
        for row, name in enumerate(content.names):
            path = by_file_name.get(name) or self._by_stem(table, files, name)
            stem = check_name(table, stem_of(path.name))
            if stem in labelled:
                raise DataError(
                    table,
                    "expected names that differ in more than the suffix, "
                    f"got {labelled[stem]!r} and {name!r}",
                )
            labelled[stem] = name
            if content.splits is None or content.splits[row] == split:
                chosen.append((stem, path, row))
        unlabelled = [paths[0].name for stem, paths in files.items() if stem not in labelled]
        if unlabelled:
            raise DataError(
                table, f"expected a row for every image in images/, got none for {some(unlabelled)}"
            )
        if not chosen:
            if content.splits is None:
                raise DataError(table, "expected at least one row, got none")
            raise DataError(
                table,
                f"expected rows with {split!r} in the column 'split', got only {sorted(set(content.splits))}",
            )
        self._names = [stem for stem, _, _ in chosen]
        self._paths = [path for _, path, _ in chosen]
        self._masks = self.root / "masks"
        self._labels = content.labels[[row for _, _, row in chosen]]

    def _by_stem(self, table: Path, files: dict[str, list[Path]], name: str) -> Path:
        paths = files.get(name, [])
        if len(paths) > 1:
            raise DataError(
                table,
                f"expected a name with its suffix where files differ in nothing else, got {name!r} "
                f"for {some([path.name for path in paths])}",
            )
        return paths[0] if paths else self.root / "images" / check_name(table, name)

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        return self._labels.copy() if indices is None else self._labels[np.asarray(indices, np.int64)]

    def labels(self, index: int) -> np.ndarray:
        return self._labels[index].copy()
