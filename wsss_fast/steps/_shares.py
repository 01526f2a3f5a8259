"""Whether the processes of a training can share its batches."""

from __future__ import annotations

from functools import reduce

from wsss_fast.config import Config, ConfigError, TrainingConfig
from wsss_fast.steps._ranks import ranks

_SECTIONS = {
    "train-classifier": "classifier",
    "train-person-classifier": "person.classifier",
    "train-irnet": "irnet",
    "train-segmenter": "segmenter",
    "retrain-segmenter": "segmenter",
}


def check_shares(config: Config, step_name: str) -> None:
    """Raise `ConfigError` for a batch size that the processes, and the parts of each, do not divide."""
    section = _SECTIONS[step_name]
    training = reduce(getattr, section.split("."), config)
    assert isinstance(training, TrainingConfig)
    world = ranks().world
    if training.batch_size % (world * training.accumulate):
        raise ConfigError(
            f"{section}.batch_size: expected a multiple of {world * training.accumulate} "
            f"({world} processes, accumulate {training.accumulate}), got {training.batch_size}"
        )
