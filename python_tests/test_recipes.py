"""The recipes in configs/: their published values, and a run of each at a tiny size.

A run keeps every value of its recipe but sizes: networks, crops, batches, epochs, and how many images there
are. The images are made up, with the classes of the recipe, in the layout of its reader; for index files they
are made as a folder, and `wsss-fast prepare` does the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.ablation.grid import cells_of, grid
from wsss_fast.ablation.table import PUBLISHED
from wsss_fast.cli import main, parse_config
from wsss_fast.config import Config
from wsss_fast.config_file import flat
from wsss_fast.data import open_images
from wsss_fast.data.voc import VOC_CLASSES
from wsss_fast.files import read_json, read_mask, write_image, write_mask
from wsss_fast.steps._graph import graph
from wsss_fast.steps.run import run

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))

CRF = {
    "crf.iterations": 10,
    "crf.gaussian_sxy": 3,
    "crf.gaussian_compat": 3,
    "crf.bilateral_sxy": 50,
    "crf.bilateral_srgb": 5,
    "crf.bilateral_compat": 10,
    "crf.gt_prob": 0.7,
}
WALK = {"irnet.radius": 10, "pseudo_masks.radius": 5, "pseudo_masks.beta": 10, "pseudo_masks.exp_times": 8}
SEGMENTER = {
    "segmenter.image_size": 352,
    "segmenter.batch_size": 12,
    "segmenter.optimizer": "sgd",
    "segmenter.lr_backbone": 0.001,
    "segmenter.lr_head": 0.01,
    "segmenter.weight_decay": 1e-6,
    "segmenter.epochs": 40,
    "segmenter.schedule": "poly",
    "segmenter.poly_power": 0.9,
    "segmenter.warmup": 0,
    "predict.scales": [0.5, 1, 2],
    "predict.hflip": True,
    "predict.tta": True,
}
AHN = {
    "classifier.image_size": 512,
    "classifier.epochs": 5,
    "classifier.batch_size": 16,
    "classifier.optimizer": "sgd",
    "classifier.lr_backbone": 0.1,
    "classifier.weight_decay": 1e-4,
    "classifier.warmup": 0,
    "cams.scales": [1, 0.5, 1.5, 2],
    "cams.hflip": True,
    "ir_labels.foreground_threshold": 0.30,
    "ir_labels.background_threshold": 0.05,
    "irnet.image_size": 512,
    "irnet.epochs": 3,
    "irnet.batch_size": 32,
    "irnet.optimizer": "sgd",
    "irnet.lr_boundary": 0.1,
    "irnet.weight_decay": 1e-4,
    "irnet.warmup": 0,
    "pseudo_masks.thresholds": [0.25],
}


def adam_of_lid(section: str) -> dict[str, object]:
    values: dict[str, object] = {
        "image_size": 352,
        "optimizer": "adam",
        "lr_backbone": 1e-4,
        "lr_head": 1e-3,
        "schedule": "step",
        "step_epochs": 3,
        "step_factor": 0.2,
        "warmup": 0,
    }
    return {f"{section}.{key}": value for key, value in values.items()}


PUBLISHED_VALUES: dict[str, dict[str, object]] = {
    "lid": {
        **adam_of_lid("classifier"),
        **adam_of_lid("person.classifier"),
        "classifier.exclude": ["person"],
        "cams.scales": [1, 0.5, 0.75, 2],
        "cams.hflip": True,
        **CRF,
        "ir_labels.foreground_threshold": 0.24,
        "ir_labels.background_threshold": 0.0075,
        "irnet.image_size": 512,
        "irnet.batch_size": 32,
        "irnet.optimizer": "sgd",
        "irnet.lr_boundary": 0.005,
        "irnet.lr_displacement": 0.05,
        "irnet.weight_decay": 1e-4,
        "irnet.epochs": 20,
        "irnet.schedule": "poly",
        "irnet.poly_power": 0.9,
        "irnet.warmup": 0,
        **WALK,
        "pseudo_masks.thresholds": [0.3, 0.5],
        **SEGMENTER,
        "segmenter.backbone.output_stride": 8,
        "person.name": "person",
        "ablate.thresholds": [0.3, 0.5],
        "ablate.tta": [False, True],
        "ablate.person": [False, True],
    },
    "voc12": {**AHN, **CRF, **WALK, "data.classes": list(VOC_CLASSES)},
    "coco": {**AHN, **CRF, **WALK},
}
"""What is published of each method, by the keys of the config."""

CLASSES = {
    "lid": [*(f"class {k:03}" for k in range(1, 124)), "person", *(f"class {k:03}" for k in range(125, 201))],
    "catdogperson": ["cat", "dog", "person"],
}
"""Of recipes that leave the classes to the data set."""

SIZE = (64, 80)
TRAIN, VALIDATION = 6, 3


def parsed(name: str, *arguments: str) -> Config:
    config = parse_config("run", ["--config", str(CONFIGS / f"{name}.yaml"), *arguments])
    assert config is not None
    return config


def tiny(name: str, output: Path, data: Path) -> Config:
    """The recipe with other sizes."""
    arguments = {
        "output": str(output),
        "device": "cpu",
        "data.workers": 0,
        "data.shapes.train": TRAIN,
        "data.shapes.val": VALIDATION,
        "data.shapes.size": 64,
        "irnet.radius": 4,  # of 16 x 16 cells
        "report.images": 2,
    }
    for section in ("classifier", "person.classifier", "irnet", "segmenter"):
        arguments[f"{section}.backbone.name"] = "test_resnet"
        arguments[f"{section}.backbone.weights"] = "none"
        arguments[f"{section}.epochs"] = 1
        arguments[f"{section}.batch_size"] = 4
        arguments[f"{section}.image_size"] = 64
    recipe = parsed(name)
    for section, classifier in (
        ("classifier", recipe.classifier),
        ("person.classifier", recipe.person.classifier),
    ):
        if classifier.balance_target is not None:
            arguments[f"{section}.balance_target"] = 2
    if recipe.data.reader != "shapes":
        arguments["data.root"] = str(data)
    return parsed(name, *(f"--{key}={value}" for key, value in arguments.items()))


def make_up_data(config: Config, classes: Sequence[str], everywhere: Sequence[str]) -> None:
    """Images with one or two coloured boxes each, and masks, as the reader of the config wants them."""
    assert config.data.root is not None
    prepared, voc = config.data.reader == "prepared", config.data.reader == "voc"
    root = Path(config.data.root) / "source" if prepared else Path(config.data.root)
    splits: list[tuple[Literal["train", "val"], str, int]] = [
        ("train", config.data.train_split, TRAIN),
        ("val", config.data.val_split, VALIDATION),
    ]
    random = np.random.default_rng(0)
    table = [",".join(["name", "split", *classes])]
    for role, split, count in splits:
        names = [f"{role}_{i}" for i in range(count)]
        for place, name in enumerate(names):
            pixels = random.integers(60, 120, (*SIZE, 3), dtype=np.uint8)
            mask = np.zeros(SIZE, np.uint8)
            present = {place % len(classes), (7 * place + 3) % len(classes)}
            present |= {classes.index(name) for name in everywhere if place % 2 == 0}
            for row, k in enumerate(sorted(present)):
                box = np.s_[4 + 18 * row : 20 + 18 * row, 10:60]
                pixels[box] = (40 * k % 256, 250 - 60 * k % 200, 200)
                mask[box] = 1 + k
            write_image(root / ("JPEGImages" if voc else "images") / f"{name}.jpg", pixels)
            write_mask(root / ("SegmentationClass" if voc else "masks") / f"{name}.png", mask)
            table.append(",".join([name, split, *(str(int(k in present)) for k in range(len(classes)))]))
        if voc:
            write_text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(names) + "\n")
    write_text(root / "labels.csv", "\n".join(table) + "\n")
    if prepared:
        arguments = ["--source", str(root), "--destination", config.data.root, "--workers", "0", "--strict"]
        assert main(["prepare", "folder", *arguments]) == 0


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_recipes_that_are_promised() -> None:
    assert set(RECIPES) >= {"demo", "shapes", "catdogperson", "voc12", "coco", "lid"}


@pytest.mark.parametrize("name", PUBLISHED_VALUES)
def test_published_values(name: str) -> None:
    values: dict[str, Any] = dict(flat(dataclasses.asdict(parsed(name))))
    assert {key: values[key] for key in PUBLISHED_VALUES[name]} == PUBLISHED_VALUES[name]


def test_lid_lays_out_the_published_table() -> None:
    settings = grid(parsed("lid"))
    rows = [(s.cell.encoder, s.cell.threshold, s.tta, s.cell.person) for s in settings]
    assert [row for row in rows if row in PUBLISHED] == list(PUBLISHED)
    assert {s.cell.config.segmenter.backbone.output_stride for s in settings} == {8}


def test_shapes_lays_out_the_table_of_the_issue() -> None:
    settings = grid(parsed("shapes"))
    assert len(settings) == 8
    assert len(cells_of(settings)) == 4


def test_coco_has_its_80_classes() -> None:
    classes = parsed("coco").data.classes
    assert len(set(classes)) == 80
    assert (classes[0], classes[11], classes[12], classes[79]) == (
        "person",
        "stop sign",  # with COCO's number 13
        "parking meter",
        "toothbrush",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_tiny_run_of_every_recipe(name: str, tmp_path: Path) -> None:
    config = tiny(name, tmp_path / "run", tmp_path / "data")
    if config.data.reader != "shapes":
        make_up_data(config, CLASSES.get(name) or config.data.classes, config.classifier.exclude)
    images = open_images(config.data, "val")
    assert len(images) == VALIDATION

    page = run(config)

    assert page.exists()
    root = Path(config.output)
    for step in graph(config):
        state = read_json(root / step / "step.json")
        assert (state["done"], state["skipped"]) == (True, []), step
    metrics = read_json(root / "evaluate" / "metrics.json")
    assert metrics["classes"] == ["background", *images.classes]
    stages = metrics["splits"]["val"]["stages"]
    for key in ("cam", "cam_crf", "random_walk", "segmenter", "segmenter_tta"):
        assert stages[key]["images"] == VALIDATION, key
        assert 0 <= stages[key]["mean_iou"] <= 1, key
    for index in range(len(images)):
        shape = images.image(index).shape[:2]
        for mode in ("single", "tta"):
            mask = read_mask(root / "predict" / "val" / mode / f"{images.name(index)}.png")
            assert mask.shape == shape
            assert mask.max() <= len(images.classes)
        for threshold in config.pseudo_masks.thresholds:
            folder = root / "make-pseudo-masks" / "val" / f"{threshold:g}"
            mask = read_mask(folder / f"{images.name(index)}.png")
            allowed = {0, *(1 + np.flatnonzero(images.labels(index))).tolist()}
            assert mask.shape == shape
            assert set(np.unique(mask).tolist()) <= allowed
