"""Step 2 with class ids that masks of 8 bits do not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.config import Config, DataConfig
from wsss_fast.files import read_json, read_mask, read_npz, write_json, write_npz
from wsss_fast.steps._graph import relevant_config
from wsss_fast.steps.make_instance_masks import make_instance_masks
from wsss_fast.steps.make_ir_labels import make_ir_labels
from wsss_fast.steps.make_pseudo_masks import make_pseudo_masks
from wsss_fast.steps.train_irnet import train_irnet

IDS = {"a": [255], "b": [256, 1000], "c": [7, 255], "d": []}
SIZE = 64
CLASSES = 1000


def _folder(root: Path) -> None:
    """Four images; those of each class are a coloured half on grey, the second class on the left."""
    (root / "images").mkdir(parents=True)
    header = ["name", *(f"c{i}" for i in range(1, CLASSES + 1)), "split"]
    lines = [",".join(header)]
    for name, ids in IDS.items():
        image = np.full((SIZE, SIZE, 3), 90, np.uint8)
        for place, _ in enumerate(ids):
            image[:, _columns(place)] = (220, 40 + 120 * place, 30)
        cv2.imwrite(str(root / "images" / f"{name}.png"), image)
        row = ["1" if i in ids else "0" for i in range(1, CLASSES + 1)]
        lines.append(",".join([name, *row, "val" if name == "d" else "train"]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def _columns(place: int) -> slice:
    return slice(40, 60) if place == 0 else slice(4, 24)


def _cams(config: Config) -> None:
    """As make-cams writes them: 0.9 where the objects are, and 0.15, of which nobody knows, beside them."""
    for name, ids in IDS.items():
        full = np.zeros((len(ids), SIZE, SIZE), np.float32)
        for place in range(len(ids)):
            columns = _columns(place)
            full[place, :, columns.start - 3 : columns.stop + 3] = 0.15
            full[place, :, columns] = 0.9
        path = Path(config.output) / "make-cams" / ("val" if name == "d" else "train") / f"{name}.npz"
        write_npz(
            path, classes=np.array(ids, np.int16), strided=full[:, 2::4, 2::4], full=full.astype(np.float16)
        )
    for step in ("train-classifier", "make-cams"):
        about = {
            "config": relevant_config(config, step),
            "done": True,
            "seconds": 1.0,
            "items": 4,
            "skipped": [],
        }
        write_json(Path(config.output) / step / "step.json", {"step": step, **about})


@pytest.mark.slow
def test_ids_above_255_go_through_step_2(make_config: Callable[..., Config], tmp_path: Path) -> None:
    _folder(tmp_path / "data")
    config = make_config(DataConfig(reader="folder", root=str(tmp_path / "data"), workers=0))
    _cams(config)
    for step in (make_ir_labels, train_irnet, make_pseudo_masks, make_instance_masks):
        step(config)
    root = Path(config.output)
    for name, ids in IDS.items():
        split = "val" if name == "d" else "train"
        regions = read_mask(root / "make-ir-labels" / split / f"{name}.png")
        mask = read_mask(root / "make-pseudo-masks" / split / "0.25" / f"{name}.png")
        assert regions.dtype == mask.dtype == np.uint16
        for place, class_id in enumerate(ids):
            columns = _columns(place)
            middle = slice(columns.start + 3, columns.stop - 3)
            assert (regions[:, middle] == class_id).all()
            assert class_id in mask
        assert set(np.unique(regions).tolist()) <= {0, 65535, *ids}
        assert set(np.unique(mask).tolist()) <= {0, *ids}
        walk = read_npz(root / "make-pseudo-masks" / split / f"{name}.npz")
        assert walk["classes"].tolist() == ids
        results = read_json(root / "make-instance-masks" / split / f"{name}.json")
        assert {x["category_id"] for x in results} == set(ids)
    history = (root / "train-irnet/history.csv").read_text().splitlines()[-1].split(",")
    positive, negative = float(history[2]), float(history[3])
    assert positive > 0
    assert negative > 0  # pairs of different label were seen
