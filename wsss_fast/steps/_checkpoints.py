"""Checkpoints of a training: all that it needs to go on as if it had not been stopped."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss_fast.files import DataError, load_tensors, save_tensors

_FORMAT = 1


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    """Steps of the optimizer that are done."""
    epoch: int = 0
    """The epoch under way, from 0."""
    position: int = 0
    """Steps of this epoch that are done: where the sampler is, whose order follows from the epoch."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of the losses of these steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row for every epoch that is done."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """Images that could not be read, of all processes."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """How losses are scaled (``precision: 16-mixed``)."""


@dataclass
class Restored:
    """What a checkpoint holds beside the weights."""

    progress: Progress
    random_states: list[dict[str, Tensor]]
    """Of torch's generators, one dict a process."""


class Checkpoints:
    """The folder ``checkpoints/`` of a training: ``step-00000500.safetensors`` and so on, the last ``keep``.

    Plain tensors and JSON: a checkpoint is no pickle. Only one process writes.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder / "checkpoints"
        self._keep = keep

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        random_states: list[dict[str, Tensor]],
    ) -> None:
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        for rank, states in enumerate(random_states):
            tensors.update({f"random.{rank}.{kind}": state for kind, state in states.items()})
        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        metadata = {
            "format": str(_FORMAT),
            "progress": json.dumps(asdict(progress)),
            "checksum": str(_checksum(tensors)),
        }
        save_tensors(self._folder / f"step-{progress.step:08d}.safetensors", tensors, metadata)
        # Later ones could not be read, or the training would not be here.
        later = [path for path in self.paths() if _step_of(path) > progress.step]
        for path in [*later, *self.paths()[len(later) + self._keep :]]:
            path.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """The newest first."""
        found = [p for p in self._folder.glob("step-*.safetensors") if re.fullmatch(r"step-\d+", p.stem)]
        return sorted(found, key=_step_of, reverse=True)

    def newest(self, tell: Callable[[str], object]) -> Path | None:
        """The newest that can be read, or None where there is none; ``tell`` gets a line for each other.

        Raises `DataError` if there are some and none can be read.
        """
        broken: DataError | None = None
        for path in self.paths():
            try:
                _read(path)
                return path
            except DataError as error:
                tell(f"{error}; taking the checkpoint before it")
                broken = error
        if broken is not None:
            raise DataError(
                self._folder,
                f"expected a checkpoint that can be read, got none ({broken.reason}); without this folder "
                "the training starts anew",
            )
        return None

    def clear(self) -> None:
        """Remove them, and what a process that was killed has left beside them."""
        if self._folder.exists():
            shutil.rmtree(self._folder)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Restored:
    """Give model and optimizer what a checkpoint holds of them, and return the rest.

    Raises `DataError` for a file that is none, is damaged, or is of another training.
    """
    tensors, metadata = _read(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
    for key, value in tensors.items():
        kind, name = key.split(".", 1)
        parts[kind][name] = value
    try:
        model.load_state_dict(parts["model"])
        _restore_optimizer(optimizer, parts["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(path, f"expected a checkpoint of this training, got: {error}") from error
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["random"].items():
        rank, kind = key.split(".")
        states.setdefault(int(rank), {})[kind] = value
    return Restored(
        Progress(**json.loads(metadata["progress"])), [states[rank] for rank in range(len(states))]
    )


def _restore_optimizer(optimizer: torch.optim.Optimizer, values: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in values.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        if value.shape == like.shape:  # in the layout that it had, that of the parameter
            value = torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state() -> dict[str, Tensor]:
    """Of the generators that a training on this process draws from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != str(_FORMAT):
        raise DataError(path, f"expected a checkpoint of format {_FORMAT}, got {metadata.get('format')}")
    if metadata["checksum"] != str(_checksum(tensors)):
        raise DataError(path, "expected a checkpoint, got one whose content has changed")
    return tensors, metadata


def _checksum(tensors: dict[str, Tensor]) -> int:
    """Of what is in a file, which after a loss of power may be as long as it was and empty."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        if tensors[name].numel():
            total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total
