"""The data of the LID challenge (Learning from Imperfect Data, track 1): ILSVRC DET and masks of its own.

What is read of ``--source``, the folder ILSVRC of the DET archive (2015 or later):

- ``ImageSets/DET/train_<k>.txt``, one for each class k: a line an image, ``<id> <1, 0 or -1>``. 1: all
  objects of the class are annotated, 0: some are (both count as the class being there), -1: it is not there.
  Without any such list, all images below ``Data/DET/train`` are the training images.
- ``Data/DET/train/<id>.JPEG``. An id has its folder: ``ILSVRC2013_train/n00007846/n00007846_100``,
  ``ILSVRC2013_train_extra0/ILSVRC2013_train_00000001``, ``ILSVRC2014_train_0000/ILSVRC2014_train_00000001``.
- ``Annotations/DET/train/<id>.xml``: each object's name is the WordNet id of its class. The labels of an
  image are the classes of its objects and those that the lists have it for. An image without objects may have
  no such file.
- ``Data/DET/val/<name>.JPEG`` and ``Annotations/DET/val/<name>.xml``, which every validation image has.

``--val-masks`` is the folder of the challenge's masks (``track1_val_annotations_raw``): ``<name>.png`` with 0
for the background, the ids 1 to 200, and 255 to ignore. Its files are the list of the validation images.
Without it, that is ``ImageSets/DET/val.txt`` (``<name> <number>`` a line), and no image has a mask.

The classes and their ids are the 200 of ``map_det.txt``, or those of ``--classes-file`` in its format:
``<WordNet id> <id> <name>`` a line.

An image is named after its file; where several folders have a file of that name, after its path, with ``--``
for each slash.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from wsss_fast.config import ConfigError
from wsss_fast.data.decode import SUFFIXES, find_images
from wsss_fast.data.image_set import check_classes
from wsss_fast.data.name_lists import check_names, read_lines
from wsss_fast.files import DataError
from wsss_fast.prepare._det_synsets import DET_SYNSETS
from wsss_fast.prepare._examine import Examiner, Job
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings, prepare_split

_IMAGES = Path("Data/DET")
_ANNOTATIONS = Path("Annotations/DET")
_LISTS = Path("ImageSets/DET")


def prepare_lid(
    source: Path, settings: Settings, *, val_masks: Path | None = None, classes_file: Path | None = None
) -> Report:
    """Write ``train.index`` and ``val.index``; see the module for what is read.

    >>> from pathlib import Path
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.lid import prepare_lid
    >>> settings = Settings(Path("data/lid"), workers=0, check="content", unlabelled="leave-out")
    >>> report = prepare_lid(Path("ILSVRC"), settings)
    >>> len(report.classes), (settings.destination / "train.index").exists()
    (200, True)
    """
    for needed in (_ANNOTATIONS, _IMAGES):
        if not (source / needed).is_dir():
            raise ConfigError(
                f"--source: expected a folder with {needed} (ILSVRC of the DET archive), got {source} "
                "without it"
            )
    if val_masks is not None and not val_masks.is_dir():
        raise ConfigError(f"--val-masks: expected a folder of PNGs, got {val_masks}, which is none")
    synsets = DET_SYNSETS if classes_file is None else read_classes(classes_file)
    classes = check_classes(classes_file or "lid", tuple(synsets.values()))
    report = Report("lid", str(source), classes)
    positions = {synset: k for k, synset in enumerate(synsets)}

    def split(name: str, jobs: list[Job]) -> None:
        masks = val_masks if name == "val" and val_masks is not None else source
        examiner = Examiner(source, masks, positions, len(classes), settings.check)
        prepare_split(name, jobs, examiner, settings, report)

    split("train", _train_jobs(source, len(classes)))
    split("val", _val_jobs(source, val_masks))
    report.write(settings.destination)
    return report


def read_classes(path: Path) -> dict[str, str]:
    """A file in the format of map_det.txt: from the WordNet id to the name, in the order of the ids."""
    rows: dict[int, tuple[str, str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        parts = line.split(None, 2)
        if len(parts) != 3 or not parts[1].isdecimal():
            raise DataError(path, f"line {number}: expected '<WordNet id> <id> <name>', got {line!r}")
        if int(parts[1]) in rows:
            raise DataError(path, f"line {number}: expected distinct ids, got {parts[1]} again")
        rows[int(parts[1])] = (parts[0], parts[2])
    if sorted(rows) != list(range(1, len(rows) + 1)):
        raise DataError(path, f"expected the ids 1 to {len(rows)}, got {sorted(rows)[:5]} ...")
    synsets = dict(rows[k] for k in sorted(rows))
    if len(synsets) != len(rows):
        raise DataError(path, "expected distinct WordNet ids, got one more than once")
    return synsets


def _train_jobs(source: Path, classes: int) -> list[Job]:
    listed = _listed(source, classes)
    if listed is None:
        paths = _walk(source / _IMAGES / "train")
        listed = {os.path.splitext(path)[0]: [] for path in paths}
    else:
        paths = [f"{image}.JPEG" for image in listed]
    if not listed:
        raise DataError(source / _IMAGES / "train", "expected training images, got none")
    names = _distinct(listed)
    annotations = source / _ANNOTATIONS / "train"
    return [
        Job(
            name=names[image],
            image=str(_IMAGES / "train" / path),
            annotation=str(annotations / f"{image}.xml"),
            needs_annotation=False,
            labels=tuple(labels),
        )
        for path, (image, labels) in zip(paths, listed.items(), strict=True)
    ]


def _listed(source: Path, classes: int) -> dict[str, list[int]] | None:
    """From each image of the lists to the classes that they have it for; None without lists."""
    lists = [source / _LISTS / f"train_{k}.txt" for k in range(1, classes + 1)]
    there = sum(path.is_file() for path in lists)
    if not there:
        return None
    if there != classes:
        raise DataError(
            source / _LISTS, f"expected train_1.txt to train_{classes}.txt or none of them, got {there}"
        )
    images: dict[str, list[int]] = {}
    for position, path in enumerate(lists):
        for number, line in enumerate(read_lines(path), start=1):
            parts = line.split()
            if len(parts) != 2 or parts[1] not in ("1", "0", "-1"):
                raise DataError(path, f"line {number}: expected '<id> <1, 0 or -1>', got {line!r}")
            labels = images.setdefault(parts[0], [])
            if parts[1] != "-1" and position not in labels:
                labels.append(position)
    return images


def _val_jobs(source: Path, val_masks: Path | None) -> list[Job]:
    if val_masks is not None:
        masks = {name: paths[0].name for name, paths in find_images(val_masks).items()}
        masks = {name: file for name, file in masks.items() if file.lower().endswith(".png")}
        if not masks:
            raise DataError(val_masks, "expected masks (PNGs), got none")
    else:
        path = source / _LISTS / "val.txt"
        masks = dict.fromkeys(check_names(path, [line.split()[0] for line in read_lines(path)]), "")
    return [
        Job(
            name=name,
            image=str(_IMAGES / "val" / f"{name}.JPEG"),
            mask=mask,
            annotation=str(source / _ANNOTATIONS / "val" / f"{name}.xml"),
        )
        for name, mask in masks.items()
    ]


def _distinct(images: Iterable[str]) -> dict[str, str]:
    """From the path of each image, without its suffix, to a name that no other has."""
    counts = Counter(image.rpartition("/")[2] for image in images)
    return {
        image: stem if counts[stem := image.rpartition("/")[2]] == 1 else image.replace("/", "--")
        for image in images
    }


def _walk(folder: Path) -> list[str]:
    """The images below a folder, by their paths from there."""
    found: list[str] = []
    for where, folders, files in os.walk(folder):
        folders.sort()
        below = Path(where).relative_to(folder)
        found += [
            (below / file).as_posix() for file in sorted(files) if Path(file).suffix.lower() in SUFFIXES
        ]
    return found
