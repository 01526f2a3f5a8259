"""What a training tells while it runs: a table of its steps, and events for TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import TracebackType
from typing import Any

from wsss_fast.config import ConfigError, LogsConfig
from wsss_fast.files import atomic_path


class TrainingLog:
    """Write ``steps.csv`` and, if the config asks for it, ``tensorboard/`` into the folder of a training.

    ``start``: steps that are done already; what an earlier process wrote about later ones, which are now done
    again, is dropped. Only one process of a training has a log. Use it as a context manager.
    """

    def __init__(self, folder: Path, config: LogsConfig, start: int) -> None:
        self._every = config.every
        self._path = folder / "steps.csv"
        self._rows = [row for row in _read(self._path) if int(row["step"]) <= start]
        self._events = _events(folder / "tensorboard", start) if config.tensorboard else None

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            self._events.close()

    def step(self, step: int, values: dict[str, float], learning_rate: float) -> None:
        """After ``step`` steps of the optimizer: every so many, a row of the last one's values."""
        if step % self._every:
            return
        row = {"learning_rate": learning_rate, **values}
        self._rows.append({"step": str(step), **{key: f"{value:.6g}" for key, value in row.items()}})
        self._event(row, "step", step)

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """After an epoch: its row of history.csv."""
        self._event({key: value for key, value in row.items() if key != "epoch"}, "epoch", epoch)

    def write(self) -> None:
        """Write steps.csv: before a checkpoint, so that no step is missing in it that the checkpoint has."""
        if not self._rows:
            return
        with atomic_path(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self._rows[-1]), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)

    def _event(self, values: dict[str, float], prefix: str, at: int) -> None:
        if self._events is not None:
            for key, value in values.items():
                self._events.add_scalar(f"{prefix}/{key}", value, at)
            self._events.flush()


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: a row an epoch."""
    with atomic_path(folder / "history.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        for row in history:
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def check_tensorboard(config: LogsConfig) -> None:
    """Raise `ConfigError` if the config asks for TensorBoard and it is not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "logs.tensorboard: expected the package tensorboard to be installed, got none; "
            "pip install 'wsss_fast[tensorboard]'"
        )


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _events(folder: Path, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # Events of later steps, from a process that was killed, are hidden.
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
