"""VGG as a backbone: timm's knows no output stride, and ends in two convolutions that are no features."""

from __future__ import annotations

from typing import Any, cast

import timm
from timm.models.vgg import VGG
from torch import nn

_STRIDE = 32


def is_vgg(name: str) -> bool:
    """Whether timm's network of this name is a VGG."""
    return timm.is_model(name) and timm.model_entrypoint(name).__module__ == VGG.__module__


def dilated_features(model: nn.Module, output_stride: int) -> nn.Module:
    """The convolutions of a VGG with a last feature map of this stride (8, 16 or 32).

    Poolings beyond it are left out, and what follows them looks as far as it did: 3x3 convolutions with gaps.
    """
    layers: list[nn.Module] = list(cast(Any, model).features)
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    stride, dilation = _STRIDE, 1
    gone: list[int] = []
    for index in reversed(pools):
        if stride > output_stride:
            gone.append(index)
            stride //= 2
    kept: list[nn.Module] = []
    for index, layer in enumerate(layers):
        if index in gone:
            dilation *= 2
            continue
        if isinstance(layer, nn.Conv2d) and dilation > 1:
            layer.dilation = layer.padding = (dilation, dilation)
        kept.append(layer)
    return nn.Sequential(*kept)
