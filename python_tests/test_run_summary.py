"""run.json: one file a machine can read about a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

import torch
from made_up_run import make_up_run

from wsss_fast.config import Config
from wsss_fast.files import read_json, write_json
from wsss_fast.run_summary import write_run_summary


def test_what_is_in_it(tmp_path: Path) -> None:
    config = Config(output=str(tmp_path), seed=7)
    make_up_run(config)
    state = read_json(tmp_path / "make-cams" / "step.json")
    write_json(tmp_path / "make-cams" / "step.json", {**state, "profile": {"read": 1.5}})
    metrics = {"splits": {"val": {"stages": {"cam": {"mean_iou": 0.25, "threshold": 0.3}}}}}
    write_json(tmp_path / "evaluate" / "metrics.json", metrics)
    write_run_summary(config, "evaluate")
    summary = read_json(tmp_path / "run.json")
    assert summary["command"] == "evaluate"
    assert summary["seed"] == 7
    assert summary["config"] == dataclasses.asdict(config)
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["machine"]["processes"] == 1
    cams = summary["steps"]["make-cams"]
    assert cams["done"] is True
    assert cams["seconds"] == state["seconds"]
    assert cams["items_per_second"] == pytest.approx(12 / state["seconds"])
    assert cams["skipped"] == 1
    assert cams["profile"] == {"read": 1.5}
    assert "skipped" in summary["steps"]["predict"]
    assert "profile" not in summary["steps"]["predict"]
    assert summary["metrics"] == {"val": {"cam": 0.25}}


def test_before_anything_was_done(tmp_path: Path) -> None:
    write_run_summary(Config(output=str(tmp_path)), "make-cams")
    summary = read_json(tmp_path / "run.json")
    assert summary["steps"] == {}
    assert summary["metrics"] is None
