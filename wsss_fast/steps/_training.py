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

from wsss_fast.config import Config, TrainingConfig
from wsss_fast.data import ImageSet
from wsss_fast.data.training_loader import Batch, Epochs, ReadTarget, TrainingLoader
from wsss_fast.data.transforms import Transform
from wsss_fast.files import atomic_path, load_tensors, save_tensors
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import channels_last, seed_epoch
from wsss_fast.steps._progress import progress
from wsss_fast.steps._step import Step, StepError

# What a loss function returns: the number to minimise, and numbers worth a column in history.csv.
LossParts = tuple[Tensor, dict[str, Tensor]]


def training_loader(
    config: Config,
    training: TrainingConfig,
    this: Step,
    images: ImageSet,
    transform: Transform,
    mask: ReadTarget | None = None,
    epochs: Epochs | None = None,
) -> TrainingLoader:
    """Batches of the images with their labels, or with their masks where ``mask`` reads them.

    ``epochs``: which images an epoch is made of, by default all once.
    """
    return TrainingLoader(
        images,
        transform,
        batch_size=training.batch_size,
        workers=config.data.workers,
        mask=mask,
        strict=config.data.strict,
        skip=this.skip,
        epochs=epochs,
    )


def fit(
    config: Config,
    training: TrainingConfig,
    fabric: Fabric,
    model: nn.Module,
    groups: list[dict[str, Any]],
    loader: TrainingLoader,
    loss: Callable[[nn.Module, Batch], LossParts],
    folder: Path,
    after_epoch: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Train ``model`` and leave ``weights.safetensors`` and ``history.csv`` in ``folder``.

    ``groups``: parameter groups with their peak ``lr``; parts of the model that nothing trains (see
    `with_backbone`) stay as in evaluation. ``loss(model, batch)``: the loss and its parts.
    ``after_epoch(model)``: more columns for the history. After every epoch a checkpoint is written; a
    training that was stopped goes on after its last finished epoch, with the same result as one that was not.
    """
    optimizer = _optimizer(training, groups)
    checkpoint = folder / "checkpoint.safetensors"
    history: list[dict[str, float]] = []
    if checkpoint.exists():
        history = _resume(checkpoint, model, optimizer)
    bare = channels_last(model)
    frozen = [module for module in model.children() if not _is_trained(module)]
    model, optimizer = fabric.setup(model, optimizer)
    total = training.epochs * len(loader)
    for epoch in range(len(history), training.epochs):
        model.train()
        for module in frozen:
            module.eval()  # batch norms keep the statistics of pretraining, nothing is dropped
        generator = seed_epoch(config, folder.name, epoch)
        sums: dict[str, float] = {}
        seen = 0
        with progress(len(loader), f"{folder.name} {epoch + 1}/{training.epochs}") as bar:
            for index, batch in enumerate(loader.epoch(generator)):
                _set_learning_rates(optimizer, training, (epoch * len(loader) + index) / total, epoch)
                optimizer.zero_grad(set_to_none=True)
                value, parts = loss(model, batch)
                fabric.backward(value)
                optimizer.step()
                seen += 1
                for key, number in _numbers({"loss": value, **parts}).items():
                    sums[key] = sums.get(key, 0.0) + number
                if not math.isfinite(sums["loss"]):
                    raise StepError(
                        f"{folder.name}: the loss became {sums['loss']} in epoch {epoch + 1}; "
                        "try a lower learning rate"
                    )
                bar.update()
                bar.set_postfix(loss=f"{sums['loss'] / seen:.3f}")
        row = {"epoch": epoch + 1.0, **{key: value / seen for key, value in sums.items()}}
        if after_epoch is not None:
            model.eval()
            row.update(after_epoch(model))
        history.append(row)
        _write_history(folder / "history.csv", history)
        _save_checkpoint(checkpoint, bare, optimizer, history)
    save_tensors(folder / "weights.safetensors", bare.state_dict())
    checkpoint.unlink(missing_ok=True)


def with_backbone(
    backbone: nn.Module, lr_backbone: float, rest: Iterable[nn.Parameter], lr_rest: float
) -> list[dict[str, Any]]:
    """Parameter groups of a pretrained part and the rest. At a rate of 0 the former is frozen: it gets no
    gradient, and `fit` keeps it as in evaluation."""
    groups: list[dict[str, Any]] = [{"params": list(rest), "lr": lr_rest}]
    if lr_backbone == 0:
        backbone.requires_grad_(False)
        return groups
    return [{"params": list(backbone.parameters()), "lr": lr_backbone}, *groups]


def _is_trained(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)


def _numbers(scalars: dict[str, Tensor]) -> dict[str, float]:
    """In one copy from the device."""
    (together,) = to_host([torch.stack([scalar.detach().double() for scalar in scalars.values()])])
    return dict(zip(scalars, together.tolist(), strict=True))


def _optimizer(training: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    groups = [{**group, "peak": group["lr"]} for group in groups]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    if training.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=training.weight_decay)
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=training.weight_decay, lr=0.1)


def _set_learning_rates(
    optimizer: torch.optim.Optimizer, training: TrainingConfig, progress: float, epoch: int
) -> None:
    """Before a step: ``progress`` from 0 to 1 over the whole training, ``epoch`` from 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * learning_rate_factor(training, progress, epoch)


def learning_rate_factor(training: TrainingConfig, progress: float, epoch: int) -> float:
    """What the peak learning rate is multiplied by: linear warm-up, then the schedule.

    ``poly``: (1 - p) ** poly_power, with p from 0 at the end of the warm-up to 1 at the end of the training.
    ``step``: step_factor ** (epoch // step_epochs), with epochs counted from the start of the training.
    """
    if progress < training.warmup:
        return (progress + 1e-3) / (training.warmup + 1e-3)
    if training.schedule == "step":
        return float(training.step_factor ** (epoch // training.step_epochs))
    rest = (progress - training.warmup) / max(1 - training.warmup, 1e-9)
    return float((1 - rest) ** training.poly_power)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        for row in history:
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def _save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    """Model and optimizer as plain tensors: a checkpoint is no pickle."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    save_tensors(path, tensors, {"history": json.dumps(history)})


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Load what :func:`_save_checkpoint` wrote; returns the history."""
    tensors, metadata = load_tensors(path)
    prefix = "model."
    model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    history: list[dict[str, float]] = json.loads(metadata["history"])
    return history
