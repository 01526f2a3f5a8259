"""The second round of the segmenter: its own masks, refined, and a training that goes on on them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.files import load_tensors, read_json, read_mask
from wsss_fast.steps._graph import graph, upstream
from wsss_fast.steps._layout import refined_masks
from wsss_fast.steps.evaluate import evaluate
from wsss_fast.steps.predict import predict
from wsss_fast.steps.refine_pseudo_masks import refine_pseudo_masks
from wsss_fast.steps.retrain_segmenter import retrain_segmenter


def second_round(config: Config, output: Path) -> Config:
    segmenter = dataclasses.replace(config.segmenter, rounds=2)
    return dataclasses.replace(config, output=str(output), segmenter=segmenter)


def test_the_second_round_stands_between_the_first_and_the_prediction() -> None:
    config = second_round(Config(), Path("nowhere"))
    assert upstream(config, "predict")[-4:] == [
        "train-segmenter",
        "refine-pseudo-masks",
        "retrain-segmenter",
        "predict",
    ]
    assert "retrain-segmenter" not in graph(Config())


@pytest.mark.slow
def test_a_second_round(finished_run: Config, tmp_path: Path) -> None:
    config = second_round(finished_run, tmp_path)
    first = Path(finished_run.output)
    for step in upstream(finished_run, "train-segmenter"):
        shutil.copytree(first / step, tmp_path / step)
    # The first round is that of a run with one round: only the record says how many there are.
    state = (tmp_path / "train-segmenter" / "step.json").read_text()
    (tmp_path / "train-segmenter" / "step.json").write_text(state.replace('"rounds": 1', '"rounds": 2'))

    refine_pseudo_masks(config)
    images = open_images(config.data, "train")
    for i in range(len(images)):
        mask = read_mask(refined_masks(config, "train") / f"{images.name(i)}.png")
        assert mask.shape == images.image(i).shape[:2]
        assert set(np.unique(mask)) <= {0, *(1 + np.flatnonzero(images.labels(i)))}

    retrain_segmenter(config)
    before, _ = load_tensors(tmp_path / "train-segmenter" / "weights.safetensors")
    after, _ = load_tensors(tmp_path / "retrain-segmenter" / "weights.safetensors")
    moved = [(after[key] - before[key]).abs().max() for key in before if key.endswith("conv1.0.weight")]
    apart = [(after[key] - torch.randn_like(after[key])).abs().max() for key in before if "conv1.0.w" in key]
    assert 0 < max(moved) < min(apart)  # it went on, from where the first round was

    predict(config)
    stages = (read_json(tmp_path / "evaluate" / "metrics.json") if evaluate(config) else {})["splits"]["val"]
    assert list(stages["stages"])[-3:] == ["refined", "segmenter", "segmenter_tta"]
