"""``voc``: the layout of PASCAL VOC.

- ``JPEGImages/``: the images.
- ``ImageSets/Segmentation/<split>.txt`` (or ``ImageSets/Main/<split>.txt``): one name a line.
- The image-level labels: ``labels.csv`` at the root if there is one (the columns ``name`` and one a class
  with 0 or 1; its columns are the classes), else ``Annotations/<name>.xml``, where a class is present if an
  object of it is, a difficult or truncated one too (the classes are then VOC's 20 unless others are given).
- ``SegmentationClass/<name>.png`` (may be missing for some images): masks for evaluation, 255 = ignore (65535
  in a PNG of 16 bits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss_fast.data.annotations import read_object_names
from wsss_fast.data.decode import find_images, stem_of
from wsss_fast.data.image_files import ImageFiles
from wsss_fast.data.image_set import check_classes, check_name
from wsss_fast.data.labels_csv import read_labels, some
from wsss_fast.data.name_lists import check_names, read_lines
from wsss_fast.files import DataError, PathLike

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


class Voc(ImageFiles):
    """The images of one list; see the module for the layout.

    >>> from wsss_fast.data.voc import Voc
    >>> images = Voc("VOCdevkit/VOC2012", "train")
    >>> len(images.classes), images.image(0).shape[2], images.labels(0).shape
    (20, 3, (20,))
    """

    def __init__(self, root: PathLike, split: str, *, classes: Sequence[str] = ()) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(self.root, "expected a folder in the layout of PASCAL VOC, got no such folder")
        list_file = self._list_file(split)
        self._names = check_names(list_file, read_lines(list_file))
        files = find_images(self.root / "JPEGImages")
        self._masks = self.root / "SegmentationClass"
        self._paths = []
        for name in self._names:
            paths = files.get(name, [])
            if len(paths) > 1:
                raise DataError(
                    list_file,
                    f"expected one image called {name!r}, got {some([path.name for path in paths])}",
                )
            self._paths.append(paths[0] if paths else self.root / "JPEGImages" / f"{name}.jpg")

        self._labels: np.ndarray | None = None
        table = self.root / "labels.csv"
        if table.exists():
            content = read_labels(table, classes)
            rows = {stem_of(name): row for row, name in enumerate(content.names)}
            rows |= {name: row for row, name in enumerate(content.names)}
            lacking = [name for name in self._names if name not in rows]
            if lacking:
                raise DataError(
                    table, f"expected a row for every name in {list_file}, got none for {some(lacking)}"
                )
            self.classes = content.classes
            self._labels = content.labels[[rows[name] for name in self._names]]
        else:
            if not (self.root / "Annotations").is_dir():
                raise DataError(self.root, "expected labels.csv or the folder Annotations, got neither")
            self.classes = check_classes("data.classes", classes or VOC_CLASSES)

    def _list_file(self, split: str) -> Path:
        candidates = [
            self.root / "ImageSets" / kind / f"{check_name('data', split)}.txt"
            for kind in ("Segmentation", "Main")
        ]
        for path in candidates:
            if path.is_file():
                return path
        raise DataError(
            candidates[0], f"expected a list of names there or in {candidates[1]}, got no such file"
        )

    def label_matrix(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        unreadable: Callable[[int, DataError], None] | None = None,
    ) -> np.ndarray:
        if self._labels is None:
            return super().label_matrix(indices, unreadable)
        return self._labels.copy() if indices is None else self._labels[np.asarray(indices, np.int64)]

    def labels(self, index: int) -> np.ndarray:
        if self._labels is not None:
            return self._labels[index].copy()
        return _read_annotation(self.root / "Annotations" / f"{self._names[index]}.xml", self.classes)


def _read_annotation(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Which classes an annotation names: bool ``[K]``."""
    present = np.zeros(len(classes), bool)
    for name in read_object_names(path):
        if name not in classes:
            raise DataError(path, f"expected objects of the classes {list(classes)}, got {name!r}")
        present[classes.index(name)] = True
    return present
