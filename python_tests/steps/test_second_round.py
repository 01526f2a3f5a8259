"""The second round of the segmenter: its own masks, refined, and a training that goes on on them."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("wsss_fast.steps", reason="needs the pipeline extra")


from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.files import load_tensors, read_json, read_mask, save_tensors
from wsss_fast.steps._graph import graph, upstream
from wsss_fast.steps._layout import refined_masks
from wsss_fast.steps.retrain_segmenter import retrain_segmenter


def test_the_second_round_stands_between_the_first_and_the_prediction() -> None:
    config = Config()
    assert "retrain-segmenter" not in graph(config)
    config.segmenter = dataclasses.replace(config.segmenter, rounds=2)
    last = ["train-segmenter", "refine-pseudo-masks", "retrain-segmenter", "predict"]
    assert upstream(config, "predict")[-4:] == last


@pytest.mark.parametrize("split", ["train", "val"])
def test_its_masks_keep_to_the_image_labels(finished_run: Config, split: str) -> None:
    images = open_images(finished_run.data, split)  # type: ignore[arg-type]
    for i in range(len(images)):
        mask = read_mask(refined_masks(finished_run, split) / f"{images.name(i)}.png")  # type: ignore[arg-type]
        assert mask.shape == images.image(i).shape[:2]
        assert set(np.unique(mask)) <= {0, *(1 + np.flatnonzero(images.labels(i)))}


def test_it_is_measured(finished_run: Config) -> None:
    metrics = read_json(Path(finished_run.output) / "evaluate" / "metrics.json")
    stages = list(metrics["splits"]["val"]["stages"])
    assert stages[stages.index("random_walk") :] == ["random_walk", "refined", "segmenter", "segmenter_tta"]


@pytest.mark.slow
def test_it_goes_on_from_the_weights_of_the_first(finished_run: Config, tmp_path: Path) -> None:
    for step in upstream(finished_run, "refine-pseudo-masks"):
        shutil.copytree(Path(finished_run.output) / step, tmp_path / step)
    path = tmp_path / "train-segmenter" / "weights.safetensors"
    tensors, _ = load_tensors(path)
    ruined = {
        key: value.fill_(1e30) if value.is_floating_point() else value for key, value in tensors.items()
    }
    save_tensors(path, ruined)
    with pytest.raises(RuntimeError, match="the loss became nan"):
        retrain_segmenter(dataclasses.replace(finished_run, output=str(tmp_path)))
    with (Path(finished_run.output) / "retrain-segmenter" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == finished_run.segmenter.epochs
