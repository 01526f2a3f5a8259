"""How a run is carried out and watched: none of it changes what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_fast.config._checks import check_at_least, check_types


@dataclass
class CheckpointsConfig:
    """What a training writes so that it can be stopped at any time."""

    every: int = 500
    """Steps of the optimizer between two checkpoints; one comes after every epoch too."""
    keep: int = 2
    """How many are kept, the last ones. Where one cannot be read, the one before is taken."""

    def __post_init__(self) -> None:
        check_types("checkpoints", self)
        check_at_least("checkpoints", self, 1, "every", "keep")


@dataclass
class LogsConfig:
    """What a training tells while it runs."""

    every: int = 20
    """Steps of the optimizer between two rows of steps.csv (and two points in TensorBoard)."""
    tensorboard: bool = False
    """Write events for TensorBoard too; needs `pip install 'wsss_fast[tensorboard]'`."""

    def __post_init__(self) -> None:
        check_types("logs", self)
        check_at_least("logs", self, 1, "every")
