"""The log of a training: rows of some steps, and what an earlier process wrote of later ones is dropped."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsss_fast.config import LogsConfig
from wsss_fast.steps._log import TrainingLog, write_history


def test_every_so_many_steps_a_row(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, LogsConfig(every=3), start=0) as log:
        for step in range(1, 8):
            log.step(step, {"loss": 1 / step}, learning_rate=0.1)
        log.write()
    expected = ["step,learning_rate,loss", "3,0.1,0.333333", "6,0.1,0.166667"]
    assert (tmp_path / "steps.csv").read_text().split() == expected


def test_steps_that_are_done_again_are_not_there_twice(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, LogsConfig(every=1), start=0) as log:
        for step in range(1, 6):
            log.step(step, {"loss": 1.0}, learning_rate=0.1)
        log.write()
    before = (tmp_path / "steps.csv").read_bytes()
    with TrainingLog(tmp_path, LogsConfig(every=1), start=3) as log:
        log.write()
        assert (tmp_path / "steps.csv").read_bytes() == before[: before.index(b"4,")]
        for step in (4, 5):
            log.step(step, {"loss": 1.0}, learning_rate=0.1)
        log.write()
    assert (tmp_path / "steps.csv").read_bytes() == before


def test_without_a_row_there_is_no_table(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, LogsConfig(every=9), start=0) as log:
        log.step(1, {"loss": 1.0}, learning_rate=0.1)
        log.write()
    assert list(tmp_path.iterdir()) == []


def test_a_row_an_epoch(tmp_path: Path) -> None:
    write_history(tmp_path, [{"epoch": 1.0, "loss": 1 / 3}, {"epoch": 2.0, "loss": 1e-9}])
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,loss", "1,0.333333", "2,1e-09"]


def test_events_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            told.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, at: int) -> None:
            told.append((name, value, at))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            told.append(("closed",))

    module = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with TrainingLog(tmp_path, LogsConfig(every=2, tensorboard=True), start=4) as log:
        log.step(5, {"loss": 0.5}, learning_rate=0.1)
        log.step(6, {"loss": 0.25}, learning_rate=0.1)
        log.epoch(2, {"epoch": 2.0, "val_map": 0.75})
    assert told == [
        ("tensorboard", 5),
        ("step/learning_rate", 0.1, 6),
        ("step/loss", 0.25, 6),
        ("epoch/val_map", 0.75, 2),
        ("closed",),
    ]
