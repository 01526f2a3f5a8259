"""A run folder as the steps leave it, made by hand in no time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np

from wsss_fast.config import Config, Split
from wsss_fast.data import ImageSet
from wsss_fast.files import write_json, write_mask, write_npz
from wsss_fast.steps import _layout
from wsss_fast.steps._graph import graph, relevant_config

CLASSES = ("cat", "dog", "sofa")
SIZE = (12, 16)


class MadeUpImages(ImageSet):
    """Six images; class 1 + i % 2 fills the left half of image i; image 1 has no mask."""

    classes = CLASSES

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return 6

    def name(self, index: int) -> str:
        return f"{self.split}_{index}"

    def source(self, index: int) -> str:
        return f"/made/up/{self.name(index)}.jpg"

    def image(self, index: int) -> np.ndarray:
        image = np.full((*SIZE, 3), 40, np.uint8)
        image[:, : SIZE[1] // 2] = (200, 60 + 20 * index, 30)
        return image

    def labels(self, index: int) -> np.ndarray:
        return np.arange(len(CLASSES)) == index % 2

    def mask(self, index: int) -> np.ndarray | None:
        return None if index == 1 else half(1 + index % 2)


def half(label: int, columns: int = SIZE[1] // 2) -> np.ndarray:
    """A mask whose first columns have the label."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :columns] = label
    return mask


def make_up_run(config: Config, steps: tuple[str, ...] = tuple(graph(Config()))) -> None:
    """Write the outputs of the steps.

    The object is 8 columns wide. By the CAMs it is 9 wide at thresholds below 0.2, 8 below 0.4, 7 below 0.8;
    by the random walk 7, by its maps (which fall from 1 to 0 between the columns 5 and 10) 10 wide below 0.1,
    9 below 0.3, 8 below 0.6; at other thresholds of the config the pseudo-masks are 5 wide; by the segmenter
    10, with augmentation 8, after the CRF 9.
    """
    root = Path(config.output)
    for number, step in enumerate(steps):
        write_json(
            root / step / "step.json",
            {
                "step": step,
                "config": relevant_config(config, step),
                "done": True,
                "seconds": 10.0 * number + 0.5,
                "items": 12,
                "skipped": [{"name": "bad", "file": "/made/up/bad.jpg", "reason": "expected an image"}]
                if step == "make-cams"
                else [],
            },
        )
        if step.startswith("train-"):
            lines = ["epoch,loss,val_map", *(f"{e},{1 / e},{0.5 + 0.1 * e}" for e in (1, 2, 3))]
            (root / step / "history.csv").write_text("\n".join(lines) + "\n")
    for split in get_args(Split):
        images = MadeUpImages(split)
        for index in range(len(images)):
            name, label = images.name(index), 1 + index % 2
            if "make-cams" in steps:
                full = np.zeros((1, *SIZE), np.float16)
                full[0, :, 8:9] = 0.2
                full[0, :, 7:8] = 0.4
                full[0, :, :7] = 0.8
                write_npz(
                    root / "make-cams" / split / f"{name}.npz",
                    classes=np.array([label], np.int16),
                    strided=full[:, ::4, ::4].astype(np.float32),
                    full=full,
                )
            if "make-ir-labels" in steps:
                regions = half(label, 6)
                regions[:, 6:10] = 255
                write_mask(root / "make-ir-labels" / split / f"{name}.png", regions)
            if "make-pseudo-masks" in steps:
                folder = _layout.walk_maps(config, split)
                write_npz(
                    folder / f"{name}.npz",
                    classes=np.array([label], np.int16),
                    walk=np.tile(np.array([0.5, 0.5, 0, 0], np.float16), (1, 3, 1)),
                    boundary=np.linspace(0, 1, 12, dtype=np.float16).reshape(3, 4),
                )
                for threshold in config.pseudo_masks.thresholds:
                    path = _layout.pseudo_masks(config, split, threshold) / f"{name}.png"
                    write_mask(path, half(label, 5))
                write_mask(_layout.pseudo_masks(config, split) / f"{name}.png", half(label, 7))
            if "predict" in steps:
                write_mask(root / "predict" / split / "single" / f"{name}.png", half(label, 10))
                if config.predict.tta:
                    write_mask(root / "predict" / split / "tta" / f"{name}.png", half(label, 8))
                if config.predict.crf:
                    write_mask(root / "predict" / split / "crf" / f"{name}.png", half(label, 9))


def made_up_config(output: Path, **changes: object) -> Config:
    """The config of such a run: no set of images but the one above, few thresholds."""
    config = Config(output=str(output))
    config.evaluate = dataclasses.replace(config.evaluate, thresholds=[0.1, 0.3, 0.6])
    config.predict = dataclasses.replace(config.predict, splits=["train", "val"])
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
