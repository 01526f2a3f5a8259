"""Data sets as they are distributed, tiny and made up: for the tests, and for scripts/kill_test.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_fast.data.voc import VOC_CLASSES
from wsss_fast.files import write_image, write_mask

SIZE = (12, 16)
"""Height and width of every image."""

LION, PERSON, ZEBRA = "n02129165", "n00007846", "n02391049"

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]


def image(path: Path, seed: int) -> Path:
    """A photograph of noise; another seed gives other bytes."""
    draws = np.random.default_rng(seed)
    write_image(path.with_suffix(".jpg"), draws.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return path.with_suffix(".jpg").rename(path)


def annotation(path: Path, *names: str) -> None:
    objects = "".join(f"<object><name>{name}</name></object>" for name in names)
    text(path, f"<annotation>{objects}</annotation>")


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def voc(root: Path, train: Sequence[str], val: Sequence[str]) -> Path:
    """VOC2012 with a mask for every image; each has a class of its own (while there are some) and person."""
    for seed, name in enumerate([*train, *val]):
        label = seed % len(VOC_CLASSES)
        image(root / "JPEGImages" / f"{name}.jpg", seed)
        annotation(root / "Annotations" / f"{name}.xml", VOC_CLASSES[label], "person")
        mask = np.zeros(SIZE, np.uint8)
        mask[:4], mask[4:6] = label + 1, 255
        write_mask(root / "SegmentationClass" / f"{name}.png", mask)
    for split, names in (("train", train), ("val", val)):
        text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    return root


def lid(root: Path, train: Mapping[str, Sequence[str] | None], val: Sequence[str]) -> Path:
    """ILSVRC DET: the objects of each training image (None: it has no annotation), and a lion on each of
    validation."""
    for seed, (name, objects) in enumerate(train.items()):
        image(root / "Data" / "DET" / "train" / f"{name}.JPEG", seed)
        if objects is not None:
            annotation(root / "Annotations" / "DET" / "train" / f"{name}.xml", *objects)
    for seed, name in enumerate(val, start=len(train)):
        image(root / "Data" / "DET" / "val" / f"{name}.JPEG", seed)
        annotation(root / "Annotations" / "DET" / "val" / f"{name}.xml", LION)
    text(root / "ImageSets" / "DET" / "val.txt", "".join(f"{name} {i}\n" for i, name in enumerate(val, 1)))
    return root


def coco(
    root: Path,
    train: Sequence[str],
    train_annotations: Sequence[Mapping[str, Any]],
    val: Sequence[str],
    val_annotations: Sequence[Mapping[str, Any]],
) -> Path:
    """COCO 2017; the ids of the images of a split count from 100."""
    seed = 0
    for split, names, entries in (("train", train, train_annotations), ("val", val, val_annotations)):
        for name in names:
            image(root / f"{split}2017" / name, seed)
            seed += 1
        instances(root / "annotations" / f"instances_{split}2017.json", names, entries)
    return root


def instances(
    path: Path, names: Sequence[str], annotations: Sequence[Mapping[str, Any]], **changes: Any
) -> Path:
    """COCO's JSON of some images."""
    height, width = SIZE
    content = {
        "images": [
            {"id": 100 + i, "file_name": name, "height": height, "width": width}
            for i, name in enumerate(names)
        ],
        "annotations": [{"id": 1 + i, **entry} for i, entry in enumerate(annotations)],
        "categories": CATEGORIES,
        **changes,
    }
    return text(path, json.dumps(content))


def annotated(image_id: int, category: int, segmentation: Any, crowd: int = 0) -> dict[str, Any]:
    """An entry of it."""
    return {"image_id": image_id, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """A polygon that covers these columns and rows, the last ones excluded."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def folder(root: Path, rows: Mapping[str, str], header: str = "name,split,cat,dog") -> Path:
    """A folder with images, and a labels.csv: from the file of each image to the rest of its row."""
    for seed, name in enumerate(rows):
        image(root / "images" / name, seed)
    text(root / "labels.csv", "".join(f"{line}\n" for line in (header, *map(",".join, rows.items()))))
    return root
