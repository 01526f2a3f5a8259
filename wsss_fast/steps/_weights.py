"""Trained networks of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from wsss_fast.config import Config
from wsss_fast.files import DataError, load_tensors
from wsss_fast.steps._device import channels_last

Network = TypeVar("Network", bound=nn.Module)


def trained(model: Network, config: Config, step_name: str, device: torch.device) -> Network:
    """The model with ``<output>/<step>/weights.safetensors``, on the device and ready for inference."""
    trained_state(model, config, step_name)
    return channels_last(model.to(device)).eval()


def trained_state(model: nn.Module, config: Config, step_name: str) -> None:
    """Give the model the weights ``<output>/<step>/weights.safetensors``."""
    path = Path(config.output) / step_name / "weights.safetensors"
    tensors, _ = load_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        expected = f"the weights of this run's {type(model).__name__}"
        raise DataError(path, f"expected {expected}, got: {error}") from error
