"""Step 1: the multi-label classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.files import MAX_CLASSES
from wsss_fast.models.backbone import check_backbone, classification_backbone

_SIDE = 64
"""Pixels of the image that shows what a backbone gives: a multiple of every stride."""


class Classifier(nn.Module):
    """Backbone, global average pooling, one linear layer: ``[B,3,H,W]`` -> logits ``[B,K]``.

    ``dropout``: before the linear layer. ``drop_path``: stochastic depth of the backbone. Raises
    `ConfigError` for a network of timm that gives no feature map (vision transformers), `ValueError` or
    `TypeError` for other arguments that cannot be.

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.classifier import Classifier
    >>> model = Classifier(BackboneConfig(name="test_resnet", output_stride=16), classes=20).eval()
    >>> images = torch.rand(2, 3, 64, 96)
    >>> model(images).shape, model.features(images).shape[2:]
    (torch.Size([2, 20]), torch.Size([4, 6]))
    >>> torch.equal(model.classify(model.features(images)), model(images))
    True
    """

    def __init__(
        self, config: BackboneConfig, classes: int, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        check_backbone(config)
        _checks.integer("classes", classes, 1, MAX_CLASSES)
        for name, value in (("dropout", dropout), ("drop_path", drop_path)):
            if not 0 <= _checks.number(name, value, 0) <= 1:
                raise ValueError(_checks.wrong(name, "a number in [0, 1]", value))
        self.backbone = classification_backbone(config, drop_path)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(_channels(self.backbone, config), classes)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The last feature map ``[B,F,h,w]``."""
        features: Tensor = self.backbone(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(F.adaptive_avg_pool2d(features, 1).flatten(1)))
        return logits


def _channels(backbone: nn.Module, config: BackboneConfig) -> int:
    """The channels of the last feature map, by trying: timm's attributes mean different things."""
    training = backbone.training
    backbone.eval()
    cells = _SIDE // config.output_stride
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, _SIDE, _SIDE))
        # Swin has its channels last, plain transformers have tokens.
        if features.ndim != 4 or tuple(features.shape[2:]) != (cells, cells):
            raise ValueError(f"features of shape {list(features.shape)}")
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"backbone.name: expected a network with a feature map [B,F,h,w] of stride "
            f"{config.output_stride}, got {config.name!r} ({error})"
        ) from error
    finally:
        backbone.train(training)
    return int(features.shape[1])
