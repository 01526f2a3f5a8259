"""COCO, 2014 or 2017: image labels and masks from its JSON.

What is read of ``--source``:

- ``annotations/instances_train<year>.json`` and ``instances_val<year>.json``.
- ``train<year>/`` and ``val<year>/``, or the same two inside ``images/``: the images.

The classes are the categories in the order of their ids, which leave numbers out: COCO's 80 become 1 to 80.
An image has a class if it has an annotation of that category, a crowd too.

Masks are made of the validation images, and with ``--train-masks`` of the training images, and written to
``<destination>/masks/<split>/<name>.png``. Objects are laid over each other by their area in pixels, the
largest first, so that a smaller one lies on top (of equal ones that with the greater annotation id); pixels
of a crowd (``iscrowd``) that no object covers are 255, ignore; the rest is background. So a class that has
nothing but a crowd is in the labels of an image, and not in its mask.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from wsss_fast.config import ConfigError
from wsss_fast.data.decode import stem_of
from wsss_fast.data.image_set import check_classes
from wsss_fast.data.name_lists import check_names
from wsss_fast.files import (
    DataError,
    ignore_of,
    is_temporary,
    mask_dtype,
    read_bytes,
    read_json,
    remove_leftovers,
    write_json,
    write_mask,
)
from wsss_fast.prepare._examine import CORRUPT_MASK, UNKNOWN_CLASS, Examiner, Job
from wsss_fast.prepare._processes import in_processes
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings, prepare_split
from wsss_fast.steps._progress import progress

Year = Literal["2014", "2017"]


class Instance(NamedTuple):
    """An annotated object."""

    number: int
    """The id of the annotation."""
    label: int
    """The id of its class, from 1."""
    crowd: bool
    segmentation: Any
    """Polygons or a run-length encoding, as COCO writes them."""


class Picture(NamedTuple):
    """An image of the JSON."""

    file: str
    height: int
    width: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Annotations:
    """The content of an instances JSON."""

    path: Path
    digest: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    unknown: list[tuple[str, str]]
    """File and reason of annotations whose category or image is not in the JSON."""


def prepare_coco(
    source: Path, settings: Settings, *, year: Year | None = None, train_masks: bool = False
) -> Report:
    """Write ``train.index``, ``val.index`` and masks; see the module for what is read.

    >>> from pathlib import Path
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.coco import prepare_coco
    >>> settings = Settings(Path("data/coco"), workers=0, check="content", unlabelled="leave-out")
    >>> report = prepare_coco(Path("coco"), settings)
    >>> len(report.classes), (settings.destination / "train.index").exists()
    (3, True)
    """
    chosen = year or _year(source)
    report: Report | None = None
    for split in ("train", "val"):
        path = source / "annotations" / f"instances_{split}{chosen}.json"
        if not path.is_file():
            raise ConfigError(
                f"--source: expected a folder with {path.relative_to(source)}, got {source} without it"
            )
        images = _image_folder(source, f"{split}{chosen}")
        content = read_annotations(path)
        if report is None:
            report = Report(f"coco {chosen}", str(source), content.classes)
        elif report.classes != content.classes:
            raise DataError(path, "expected the categories of the training images, got others")
        masks = settings.destination / "masks" / split
        has_masks = split == "val" or train_masks
        if has_masks:
            failed = _make_masks(content, masks, settings.workers)
            for file, reason in failed.items():
                report.split(split).find(CORRUPT_MASK, stem_of(file), str(path), reason)
        else:
            failed = {}
        for file, reason in content.unknown:
            report.split(split).find(UNKNOWN_CLASS, stem_of(file), str(path), reason)
        jobs = [
            Job(
                name=stem_of(picture.file),
                image=f"{images.relative_to(source).as_posix()}/{picture.file}",
                mask=f"{stem_of(picture.file)}.png" if has_masks and picture.file not in failed else "",
                labels=tuple(sorted({instance.label - 1 for instance in picture.instances})),
            )
            for picture in content.pictures
        ]
        examiner = Examiner(source, masks, {}, len(content.classes), settings.check)
        prepare_split(split, jobs, examiner, settings, report, masks_root=f"masks/{split}")
    assert report is not None
    report.write(settings.destination)
    return report


def _year(source: Path) -> str:
    there = [
        year
        for year in ("2014", "2017")
        if (source / "annotations" / f"instances_train{year}.json").is_file()
    ]
    if len(there) != 1:
        got = "both" if there else f"{source} without either"
        raise ConfigError(
            "--source: expected a folder with annotations/instances_train2017.json or "
            f"instances_train2014.json (where both are there, --year says which), got {got}"
        )
    return there[0]


def _image_folder(source: Path, name: str) -> Path:
    for folder in (source / name, source / "images" / name):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"--source: expected a folder with {name} or images/{name}, got {source} without either"
    )


def read_annotations(path: Path) -> Annotations:
    """An instances JSON, read once; raises `DataError` for what is not one."""
    content = read_bytes(path, "a JSON file")
    try:
        values = json.loads(content)
        # By image, so that the plain lists can go.
        categories = {
            int(c["id"]): str(c["name"]) for c in sorted(values["categories"], key=lambda c: c["id"])
        }
        ids = {category: label for label, category in enumerate(categories, start=1)}
        files = {
            int(i["id"]): (str(i["file_name"]), int(i["height"]), int(i["width"])) for i in values["images"]
        }
        instances: dict[int, list[Instance]] = {number: [] for number in files}
        unknown: list[tuple[str, str]] = []
        for entry in values["annotations"]:
            image, category = int(entry["image_id"]), int(entry["category_id"])
            if image not in files:
                unknown.append((f"image {image}", f"annotation {entry['id']}: expected an image of the file"))
            elif category not in ids:
                reason = f"annotation {entry['id']}: expected a category of the file, got {category}"
                unknown.append((files[image][0], reason))
            else:
                instances[image].append(
                    Instance(
                        int(entry["id"]), ids[category], bool(entry.get("iscrowd", 0)), entry["segmentation"]
                    )
                )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(path, f"expected a JSON file, got: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            path, f"expected COCO's instances (images, annotations, categories), got: {error!r}"
        ) from error
    classes = check_classes(path, tuple(categories.values()))
    # Masks are called after them: none may lead out of their folder, and each needs a place of its own.
    check_names(path, [stem_of(file) for file, _, _ in files.values()])
    return Annotations(
        path=path,
        digest=hashlib.sha256(content).hexdigest(),
        classes=classes,
        pictures=[Picture(*files[number], tuple(instances[number])) for number in files],
        unknown=unknown,
    )


def paint(picture: Picture, classes: int) -> np.ndarray:
    """The mask of an image: uint8 or uint16 ``[H,W]``. `ValueError`: a segmentation that is none."""
    from pycocotools import mask as coco_mask

    size = (picture.height, picture.width)
    objects: list[tuple[int, Instance, np.ndarray]] = []
    dtype = mask_dtype(classes)
    mask = np.zeros(size, dtype)
    for instance in picture.instances:
        pixels = _pixels(coco_mask, instance, size)
        if instance.crowd:
            mask[pixels] = ignore_of(dtype)
        else:
            objects.append((int(pixels.sum()), instance, pixels))
    for _, instance, pixels in sorted(objects, key=lambda item: (-item[0], item[1].number)):
        mask[pixels] = instance.label
    return mask


def _pixels(coco_mask: Any, instance: Instance, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    shape = instance.segmentation
    try:
        if isinstance(shape, list):
            encoded = coco_mask.merge(coco_mask.frPyObjects(shape, height, width)) if shape else None
        elif isinstance(shape["counts"], list):
            encoded = coco_mask.frPyObjects(shape, height, width)
        else:
            encoded = shape
        pixels = np.zeros(size, bool) if encoded is None else coco_mask.decode(encoded).astype(bool)
    except Exception as error:  # pycocotools raises its own, and plain Exception
        raise ValueError(
            f"annotation {instance.number}: expected polygons or an RLE, got: {error}"
        ) from error
    if pixels.shape != size:
        got = "x".join(map(str, reversed(pixels.shape)))
        raise ValueError(f"annotation {instance.number}: expected an RLE of {width}x{height}, got {got}")
    return pixels


@dataclass(frozen=True)
class _Painter:
    folder: Path
    classes: int

    def __call__(self, picture: Picture) -> str:
        """Writes the mask; returns why it could not be made, or nothing."""
        try:
            write_mask(self.folder / f"{stem_of(picture.file)}.png", paint(picture, self.classes))
        except ValueError as error:
            return str(error)
        return ""


def _make_masks(content: Annotations, folder: Path, workers: int) -> dict[str, str]:
    """Masks of all images that have none yet; from the file of each that cannot be made to the reason."""
    made_from = folder / "made-from.json"
    if made_from.exists():
        if read_json(made_from).get("sha256") != content.digest:
            # Before the file that says what they are: without it, what a kill leaves would be somebody's.
            for path in folder.glob("*.png"):
                path.unlink()
    elif folder.exists() and any(not is_temporary(path) for path in folder.iterdir()):
        raise DataError(folder, f"expected masks made by this command, got others (no {made_from.name})")
    write_json(made_from, {"annotations": content.path, "sha256": content.digest})
    todo: Sequence[Picture] = [
        picture for picture in content.pictures if not (folder / f"{stem_of(picture.file)}.png").exists()
    ]
    failed: dict[str, str] = {}
    painter = _Painter(folder, len(content.classes))
    with progress(len(content.pictures), "masks", unit="mask") as bar:
        bar.catch_up(len(content.pictures) - len(todo))
        for picture, reason in in_processes(painter, todo, workers):
            if reason:
                failed[picture.file] = reason
            bar.update()
    # Processes that wrote for one that was killed may have been alive at the first write.
    remove_leftovers(folder)
    return failed
