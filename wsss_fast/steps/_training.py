"""The training loop that the three trainings share."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wsss_fast.config import Config, TrainingConfig
from wsss_fast.files import atomic_path, load_tensors, save_tensors
from wsss_fast.steps._device import seed_epoch
from wsss_fast.steps._progress import progress
from wsss_fast.steps._step import StepError

# What a loss function returns: the number to minimise, and numbers worth a column in history.csv.
LossParts = tuple[Tensor, dict[str, Tensor]]


def fit(
    config: Config,
    training: TrainingConfig,
    fabric: Fabric,
    model: nn.Module,
    groups: list[dict[str, Any]],
    batches: Callable[[torch.Generator], Iterable[Any]],
    steps_per_epoch: int,
    loss: Callable[[nn.Module, Any], LossParts],
    folder: Path,
    after_epoch: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Train ``model`` and leave ``weights.safetensors`` and ``history.csv`` in ``folder``.

    ``groups``: parameter groups with their peak ``lr``. ``batches(generator)``: the batches of one epoch in
    the order that the generator draws. ``loss(model, batch)``: the loss and its parts.
    ``after_epoch(model)``: more columns for the history. After every epoch a checkpoint is written; a
    training that was stopped goes on after its last finished epoch, with the same result as one that was not.
    """
    optimizer = _optimizer(training, groups)
    checkpoint = folder / "checkpoint.safetensors"
    history: list[dict[str, float]] = []
    average = _average(training, model)
    result = model if average is None else average.module
    if checkpoint.exists():
        history = _resume(checkpoint, model, optimizer, average)
    bare = model
    model, optimizer = fabric.setup(model, optimizer)
    total = training.epochs * steps_per_epoch
    for epoch in range(len(history), training.epochs):
        model.train()
        generator = seed_epoch(config, folder.name, epoch)
        sums: dict[str, float] = {}
        seen = 0
        with progress(steps_per_epoch, f"{folder.name} {epoch + 1}/{training.epochs}") as bar:
            for index, batch in enumerate(batches(generator)):
                _set_learning_rates(optimizer, training, (epoch * steps_per_epoch + index) / total)
                optimizer.zero_grad(set_to_none=True)
                value, parts = loss(model, batch)
                fabric.backward(value)
                optimizer.step()
                if average is not None:
                    average.update_parameters(bare)
                seen += 1
                for key, part in {"loss": value, **parts}.items():
                    sums[key] = sums.get(key, 0.0) + float(part.detach())
                if not math.isfinite(sums["loss"]):
                    raise StepError(
                        f"{folder.name}: the loss became {sums['loss']} in epoch {epoch + 1}; "
                        "try a lower learning rate"
                    )
                bar.update()
                bar.set_postfix(loss=f"{sums['loss'] / seen:.3f}")
        if not seen:
            raise StepError(f"{folder.name}: expected training images, got none that can be read")
        row = {"epoch": epoch + 1.0, **{key: value / seen for key, value in sums.items()}}
        if after_epoch is not None:
            result.eval()
            row.update(after_epoch(result))
        history.append(row)
        _write_history(folder / "history.csv", history)
        _save_checkpoint(checkpoint, bare, optimizer, average, history)
    save_tensors(folder / "weights.safetensors", result.state_dict())
    checkpoint.unlink(missing_ok=True)


def _average(training: TrainingConfig, model: nn.Module) -> AveragedModel | None:
    """The running average of the weights, statistics of batch norms included, if there is to be one."""
    if training.ema == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.ema), use_buffers=True)


def _optimizer(training: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    groups = [{**group, "peak": group["lr"]} for group in groups]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=training.weight_decay, lr=0.1)


def _set_learning_rates(optimizer: torch.optim.Optimizer, training: TrainingConfig, progress: float) -> None:
    """Linear warm-up, then polynomial decay, for ``progress`` from 0 to 1 over the whole training."""
    if progress < training.warmup:
        factor = (progress + 1e-3) / (training.warmup + 1e-3)
    else:
        factor = (1 - (progress - training.warmup) / max(1 - training.warmup, 1e-9)) ** training.poly_power
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        for row in history:
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def _save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    history: list[dict[str, float]],
) -> None:
    """Model and optimizer as plain tensors: a checkpoint is no pickle."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    if average is not None:
        tensors.update({f"average.{key}": value for key, value in average.state_dict().items()})
    save_tensors(path, tensors, {"history": json.dumps(history)})


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedModel | None
) -> list[dict[str, float]]:
    """Load what :func:`_save_checkpoint` wrote; returns the history."""
    tensors, metadata = load_tensors(path)
    model.load_state_dict(_part(tensors, "model."))
    if average is not None:
        average.load_state_dict(_part(tensors, "average."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    history: list[dict[str, float]] = json.loads(metadata["history"])
    return history


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
