"""The trained segmenter, ready to predict."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from wsss_fast.config import Config
from wsss_fast.models.segmenter import segmenter
from wsss_fast.nn import TTA
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._weights import trained

Output = Literal["mean", "labels"]


def trained_segmenter(config: Config, step_name: str, classes: int) -> nn.Module:
    """The network that a step trained, for ``classes`` object classes; its logits are where ops take them."""
    device = device_of(config)
    network = segmenter(config.segmenter.backbone.without_weights(), 1 + classes)
    return _AnswersOn(trained(network, config, step_name, device), op_device(device))


def single_view(config: Config, network: nn.Module, output: Output) -> TTA:
    """Predictions from the image as it is."""
    stride = config.segmenter.backbone.output_stride
    return TTA(network, scales=(1.0,), hflip=False, stride=stride, output=output)


def averaged_views(config: Config, network: nn.Module, output: Output) -> TTA:
    """Predictions averaged over the views of ``predict``."""
    stride = config.segmenter.backbone.output_stride
    scales, hflip = config.predict.scales, config.predict.hflip
    return TTA(network, scales=scales, hflip=hflip, stride=stride, output=output)


class _AnswersOn(nn.Module):
    """A network whose answer is taken to where it is merged: elsewhere in a build without CUDA kernels."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.device = device

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits.to(self.device)
