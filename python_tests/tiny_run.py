"""The config of a tiny run, for the tests of the steps and the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from wsss_fast.config import (
    BackboneConfig,
    CamsConfig,
    ClassifierConfig,
    Config,
    DataConfig,
    InstancesConfig,
    IrnetConfig,
    SegmenterConfig,
    ShapesConfig,
)

SIZE = 64


def tiny_config(output: Path, data: DataConfig | None = None, rounds: Literal[1, 2] = 1) -> Config:
    """Every step in seconds: timm's smallest network, one epoch, images of 64 pixels."""
    backbone = BackboneConfig(name="test_resnet", output_stride=16)
    return Config(
        output=str(output),
        device="cpu",
        data=data or DataConfig(workers=0, shapes=ShapesConfig(train=10, val=4, size=SIZE)),
        classifier=ClassifierConfig(
            backbone=backbone, epochs=2, batch_size=4, image_size=SIZE, lr_backbone=0.01, lr_head=0.01
        ),
        cams=CamsConfig(scales=[1.0, 0.5]),
        irnet=IrnetConfig(backbone=backbone, epochs=1, batch_size=4, image_size=SIZE, radius=4),
        instances=InstancesConfig(splits=["train", "val"]),
        segmenter=SegmenterConfig(
            backbone=backbone,
            epochs=1,
            batch_size=4,
            image_size=SIZE,
            lr_backbone=0.01,
            lr_head=0.01,
            rounds=rounds,
        ),
    )


def use_every_branch(model: nn.Module) -> None:
    """Give residual branches weight: timm starts the last norm of each at zero."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
