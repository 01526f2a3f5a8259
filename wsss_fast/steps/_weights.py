"""Trained networks of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from wsss_fast import _checks
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
    wrong = _mismatch(tensors, model.state_dict())
    bad = _checks.not_finite(tensors)
    if wrong is None and bad is not None:
        wrong = f"values that are not finite in {bad}"
    if wrong is not None:
        raise DataError(path, f"expected the weights of this run's {type(model).__name__}, got {wrong}")
    model.load_state_dict(tensors)


def _mismatch(got: dict[str, Tensor], expected: dict[str, Tensor]) -> str | None:
    """In what tensors differ from those of a network, in one line; None where they are all there."""
    lacking = [name for name in expected if name not in got]
    unknown = [name for name in got if name not in expected]
    other = [name for name in expected if name in got and got[name].shape != expected[name].shape]
    parts = [
        f"{len(names)} {what} (the first: {names[0]})"
        for names, what in ((lacking, "tensors missing"), (unknown, "unknown"))
        if names
    ]
    if other:
        shapes = f"{list(got[other[0]].shape)} instead of {list(expected[other[0]].shape)}"
        parts.append(f"{len(other)} of another shape (the first: {other[0]}, {shapes})")
    return f"those of another network: {', '.join(parts)}" if parts else None
