"""Weights of a trained network in a run folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from wsss_fast.config import Config
from wsss_fast.files import DataError, load_tensors


def load_weights(model: nn.Module, config: Config, step_name: str) -> None:
    """Fill the model with ``<output>/<step>/weights.safetensors``."""
    path = Path(config.output) / step_name / "weights.safetensors"
    tensors, _ = load_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        expected = f"the weights of this run's {type(model).__name__}"
        raise DataError(path, f"expected {expected}, got: {error}") from error
