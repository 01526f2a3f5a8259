"""What moves the weights in a training, and how fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from wsss_fast.config import TrainingConfig


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


def make_optimizer(training: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """``groups``: parameter groups with their peak ``lr``."""
    groups = [{**group, "peak": group["lr"]} for group in groups]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    if training.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=training.weight_decay)
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=training.weight_decay, lr=0.1)


def set_learning_rates(
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
