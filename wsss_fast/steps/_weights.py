"""Weights of a trained network in a run folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from wsss_fast.config import CLASSIFIER_WEIGHTS, BackboneConfig, Config
from wsss_fast.files import DataError, load_tensors
from wsss_fast.models.backbone import State


def load_weights(model: nn.Module, config: Config, step_name: str) -> None:
    """Fill the model with ``<output>/<step>/weights.safetensors``."""
    path = Path(config.output) / step_name / "weights.safetensors"
    tensors, _ = load_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        expected = f"the weights of this run's {type(model).__name__}"
        raise DataError(path, f"expected {expected}, got: {error}") from error


def first_weights(config: Config, backbone: BackboneConfig) -> State | None:
    """What a backbone starts from if that is this run's classifier; None if ``backbone.weights`` tells."""
    if backbone.weights != CLASSIFIER_WEIGHTS:
        return None
    tensors, _ = load_tensors(Path(config.output) / "train-classifier" / "weights.safetensors")
    prefix = "backbone."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
