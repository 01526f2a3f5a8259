"""The log of a training: rows of some steps, and what an earlier process wrote of later ones is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("wsss_fast.steps", reason="needs the pipeline extra")


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


def test_events_for_tensorboard(tmp_path: Path) -> None:
    """As TensorBoard itself reads them, after a process that was killed and one that went on from step 4."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = LogsConfig(every=2, tensorboard=True)
    with TrainingLog(tmp_path, config, start=0) as log:
        for step in range(1, 8):
            log.step(step, {"loss": 1 / step}, learning_rate=0.125)
    with TrainingLog(tmp_path, config, start=4) as log:
        for step in range(5, 9):
            log.step(step, {"loss": 2.0}, learning_rate=0.125)
        log.epoch(2, {"epoch": 2.0, "val_map": 0.75})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["epoch/val_map", "step/learning_rate", "step/loss"]
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(2, 0.5), (4, 0.25), (6, 2), (8, 2)]
    assert [(e.step, e.value) for e in events.Scalars("epoch/val_map")] == [(2, 0.75)]
