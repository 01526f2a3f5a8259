"""What a network needs before several processes train it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsss_fast.config import Config, TrainingConfig
from wsss_fast.models.joint_batch_norm import join_batch_norms
from wsss_fast.models.joint_dropout import join_dropouts


def prepare_for_several(
    config: Config, training: TrainingConfig, model: nn.Module, device: torch.device
) -> None:
    """Dropout of the joint batch, batch norms over all processes if the config says so, and no parameter that
    waits for a gradient.

    ``device``: where it will be trained; it is on the CPU yet.
    """
    _freeze_unused(model, training.image_size)
    for name, child in model.named_children():
        if is_trained(child):
            joint = join_batch_norms(child, device) if config.sync_batch_norm else child
            setattr(model, name, join_dropouts(joint))


def _freeze_unused(model: nn.Module, image_size: int) -> None:
    """Parameters that no output depends on: no step moves them, and processes would wait for gradients."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    outputs = model(torch.zeros(1, 3, image_size, image_size))
    total = sum(output.sum() for output in ([outputs] if isinstance(outputs, Tensor) else outputs))
    assert isinstance(total, Tensor)
    for parameter, gradient in zip(
        trained, torch.autograd.grad(total, trained, allow_unused=True), strict=True
    ):
        parameter.requires_grad_(gradient is not None)


def is_trained(module: nn.Module) -> bool:
    """Whether some of its parameters are trained; one without any goes along."""
    parameters = list(module.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
