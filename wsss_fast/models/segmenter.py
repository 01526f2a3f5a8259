"""Step 3: DeepLabv3+ from segmentation-models-pytorch (smp) on an encoder of timm or of smp."""

from __future__ import annotations

from typing import Any, cast

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from wsss_fast import _checks
from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.files import MAX_CLASSES
from wsss_fast.models import backbone

_KEY = "segmenter.backbone"
_SIDE = 64
"""Pixels of the image that shows whether an encoder suits: a multiple of every stride."""


def segmenter(config: BackboneConfig, classes: int) -> nn.Module:
    """DeepLabv3+ (Chen et al., ECCV 2018): ``[B,3,H,W]`` -> logits ``[B,classes,H,W]``, background included.

    The encoder is the network that timm calls ``config.name``; where timm knows no such name, the one that
    smp does (``se_resnet50``, ``efficientnet-b0``, ``mobilenet_v2``, ``mit_b0``, ...). Those of smp alone
    take first weights from a local file with smp's key names only; all others as any backbone does. H and W
    must be multiples of the output stride, 8 or 16.

    Raises `ConfigError` for a name that neither knows, and for an encoder that cannot be had at this output
    stride or has no feature map of stride 4 (VGG, DenseNet, Swin, plain vision transformers).

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.segmenter import segmenter
    >>> model = segmenter(BackboneConfig(name="test_resnet", output_stride=16), classes=21).eval()
    >>> model(torch.rand(2, 3, 64, 96)).shape
    torch.Size([2, 21, 64, 96])
    """
    backbone.check_backbone(config)
    _checks.integer("classes", classes, 1, 1 + MAX_CLASSES)
    name = _smp_name(config)
    try:
        model: Any = smp.DeepLabV3Plus(
            encoder_name=name,
            encoder_weights=None,
            encoder_output_stride=config.output_stride,
            classes=classes,
        )
        _try_out(model)
    # What timm's and smp's networks raise where they cannot be dilated has no common type.
    except Exception as error:
        raise ConfigError(
            f"{_KEY}.name: expected an encoder of DeepLabv3+ at output stride {config.output_stride} "
            f"(feature maps of strides 4 and {config.output_stride}), got {config.name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
    if name.startswith("tu-"):
        # The encoder wraps the same timm network that the other steps have, so weights come one way only.
        levels = model.encoder.model.feature_info.out_indices
        weights = backbone.feature_levels(config, levels).state_dict()
        model.encoder.model.load_state_dict(weights)
        backbone.place_strides(config, model.encoder.model)
    elif config.weights != "none":
        _load_own_weights(model.encoder, config)
    return cast(nn.Module, model)


def normalization(config: BackboneConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, for RGB in [0, 1], of the images the encoder was pretrained on."""
    if _smp_name(config).startswith("tu-"):
        return backbone.normalization(config)
    return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # of all encoders of smp's own that can be dilated


def _smp_name(config: BackboneConfig) -> str:
    name = config.name
    if timm.is_model(name):
        return f"tu-{name}"
    if name.startswith("timm-"):  # aliases, on their way out of smp
        raise ConfigError(
            f"{_KEY}.name: expected timm's own name {name.removeprefix('timm-').replace('-', '_')!r}, "
            f"got {name!r}"
        )
    if name not in smp.encoders.encoders:
        raise ConfigError(f"{_KEY}.name: expected an encoder that timm or smp knows, got {name!r}")
    return name


def _try_out(model: nn.Module) -> None:
    """Let a network see an image, as it is in inference: it draws nothing and learns nothing."""
    training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, _SIDE, _SIDE))
    model.train(training)


def _load_own_weights(encoder: nn.Module, config: BackboneConfig) -> None:
    if config.weights in ("timm", "package"):
        raise backbone.WeightsError(
            f"{_KEY}.weights: expected 'none' or a weight file for smp's own encoder {config.name!r}, "
            f"got {config.weights!r}"
        )
    state = backbone.read_weights(config)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise backbone.WeightsError(
            f"{_KEY}.weights: expected the weights of smp's {config.name!r}, got {config.weights}: {error}"
        ) from error
