"""Predictions: the CRF afterwards, and class ids that 8 bits do not hold."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

import wsss_fast
from wsss_fast.config import Config, CrfConfig, DataConfig
from wsss_fast.files import (
    load_tensors,
    read_json,
    read_mask,
    save_tensors,
    write_image,
    write_json,
    write_mask,
)
from wsss_fast.models.segmenter import segmenter
from wsss_fast.steps._device import seed_first_weights
from wsss_fast.steps._graph import relevant_config, upstream
from wsss_fast.steps._layout import pseudo_masks
from wsss_fast.steps._refine import refined_labels, worth_refining
from wsss_fast.steps.predict import predict
from wsss_fast.steps.train_segmenter import train_segmenter


def test_classes_that_the_crf_considers() -> None:
    # Six classes; three pixels. 0 is the best of two pixels, 4 of one; 1 comes near 1 %, 2 reaches it.
    probs = torch.tensor(
        [
            [0.8, 0.9, 0.1],
            [0.009, 0.0, 0.0],
            [0.011, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [0.18, 0.1, 0.9],
            [0.0, 0.0, 0.0],
        ]
    )
    two = torch.stack([probs, probs.flip(0)])[:, :, None]
    seen = worth_refining(two, two.argmax(1))
    assert seen.int().tolist() == [[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]
    # A class that is the best without reaching 1 % counts.
    flat = torch.full((1, 300, 1, 2), 1 / 300)
    flat[0, 299, 0, 1] += 1e-4
    assert worth_refining(flat, flat.argmax(1))[0].nonzero().flatten().tolist() == [0, 299]


def test_refined_labels_are_those_of_the_crf_on_all_classes() -> None:
    # A noisy prediction of an image of two flat halves; classes between are never worth a thought.
    image = np.zeros((20, 24, 3), np.uint8)
    image[:, 12:] = (200, 180, 60)
    right = torch.rand(20, 24) < 0.2
    right[:, 12:] = ~right[:, 12:]
    probs = torch.full((300, 20, 24), 1e-6)
    probs[3] = torch.where(right, 0.3, 0.69)
    probs[299] = 0.99 - probs[3]
    config = CrfConfig(iterations=5, bilateral_sxy=10)
    found = refined_labels(torch.from_numpy(image), probs, np.array([3, 299]), config)
    assert found.dtype == torch.int64
    assert (found[:, :12] == 3).all()
    assert (found[:, 12:] == 299).all()
    everything = wsss_fast.crf(
        torch.from_numpy(image).permute(2, 0, 1),
        wsss_fast.unary_from_probs(probs),
        iterations=5,
        gaussian=wsss_fast.Gaussian(sxy=3, compat=3),
        bilateral=wsss_fast.Bilateral(sxy=10, srgb=5, compat=10),
        output="labels",
    )
    assert torch.equal(everything.long(), found)


def of_a_run(finished_run: Config, output: Path, **changes: object) -> Config:
    for before in upstream(finished_run, "predict")[:-1]:
        shutil.copytree(Path(finished_run.output) / before, output / before)
    prediction = replace(finished_run.predict, **changes)  # type: ignore[arg-type]
    return replace(finished_run, output=str(output), predict=prediction)


@pytest.mark.slow
@pytest.mark.parametrize("tta", [True, False])
def test_the_crf_comes_on_top(finished_run: Config, tmp_path: Path, tta: bool) -> None:
    config = of_a_run(finished_run, tmp_path, crf=True, tta=tta)
    predict(config)
    assert read_json(tmp_path / "predict/step.json")["config"]["crf"]["iterations"] == 10
    folders = sorted(path.name for path in (tmp_path / "predict/val").iterdir())
    assert folders == (["crf", "single", "tta"] if tta else ["crf", "single"])
    for mode in folders:
        files = sorted((tmp_path / "predict/val" / mode).iterdir())
        assert len(files) == 4
        for path in files:
            if mode == "crf":
                assert read_mask(path).shape == (64, 64)
            else:  # the same bits as without the CRF
                assert (
                    path.read_bytes()
                    == (Path(finished_run.output) / "predict/val" / mode / path.name).read_bytes()
                )


@pytest.mark.slow
def test_a_stopped_prediction_goes_on_at_the_crf(finished_run: Config, tmp_path: Path) -> None:
    config = of_a_run(finished_run, tmp_path, crf=True)
    predict(config)
    state = read_json(tmp_path / "predict/step.json")
    write_json(tmp_path / "predict/step.json", {**state, "done": False})
    folder = tmp_path / "predict/val/crf"
    missing = sorted(folder.iterdir())[2]
    expected = missing.read_bytes()
    missing.unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    predict(config)
    assert missing.read_bytes() == expected
    assert before == {p: p.stat().st_mtime_ns for p in folder.iterdir() if p != missing}


# --- 300 classes ---------------------------------------------------------------------------------------

CLASSES = [f"c{i}" for i in range(1, 301)]
IDS = [255, 256, 300, 7]


def folder_of_300_classes(root: Path) -> None:
    """Four training images, whose only class is one of `IDS`, and two for validation."""
    lines = [",".join(["name", *CLASSES, "split"])]
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        write_image(root / f"images/i{i}.png", pixels)
        row = ["0"] * 300
        row[IDS[i % 4] - 1] = "1"
        lines.append(",".join([f"i{i}", *row, "train" if i < 4 else "val"]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_300_classes_are_trained_on_and_predicted(make_config: Callable[..., Config], tmp_path: Path) -> None:
    folder_of_300_classes(tmp_path / "data")
    config = make_config(DataConfig(reader="folder", root=str(tmp_path / "data"), workers=0))
    config.predict.crf = True
    root = Path(config.output)
    for name in upstream(config, "train-segmenter")[:-1]:
        state = {"step": name, "config": relevant_config(config, name), "done": True, "seconds": 1.0}
        write_json(root / name / "step.json", {**state, "items": 4, "skipped": []})
    for i, label in enumerate(IDS):
        mask = np.zeros((64, 64), np.uint16)
        mask[:, 16:] = label
        mask[:, 60:] = 65535
        write_mask(pseudo_masks(config, "train") / f"i{i}.png", mask)
    train_segmenter(config)
    with (root / "train-segmenter/history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert 0 < float(row["loss"]) < 20

    # The step of the one batch raised the biases of the labels that occur, and lowered all others.
    path = root / "train-segmenter/weights.safetensors"
    weights, _ = load_tensors(path)
    bias = weights["segmentation_head.0.bias"]
    seed_first_weights(config, "train-segmenter")
    first = segmenter(config.segmenter.backbone, 301).state_dict()["segmentation_head.0.bias"]
    assert (bias > first).nonzero().flatten().tolist() == sorted([0, *IDS])
    assert (bias < first).sum() == 301 - 5
    bias[290] += 1000
    save_tensors(path, weights)
    predict(config)
    for mode in ("single", "tta", "crf"):
        for i in (4, 5):
            mask = read_mask(root / "predict/val" / mode / f"i{i}.png")
            assert mask.dtype == np.uint16
            assert mask.shape == (64, 64)
            assert (mask == 290).all()
