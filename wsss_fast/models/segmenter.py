"""Step 3: DeepLabv3+ from segmentation-models-pytorch on any timm backbone."""

from __future__ import annotations

from typing import Any, cast

import segmentation_models_pytorch as smp
from torch import nn

from wsss_fast.config import BackboneConfig
from wsss_fast.models.backbone import feature_backbone


def segmenter(config: BackboneConfig, classes: int) -> nn.Module:
    """DeepLabv3+ (Chen et al., ECCV 2018): ``[B,3,H,W]`` -> logits ``[B,classes,H,W]``, background included.

    H and W must be multiples of the backbone's output stride.
    """
    model = smp.DeepLabV3Plus(
        encoder_name=f"tu-{config.name}",
        encoder_weights=None,
        encoder_output_stride=config.output_stride,
        classes=classes,
    )
    # The encoder wraps the same timm network that feature_backbone gives, so weights come one way only.
    weights = feature_backbone(config).state_dict()
    cast(Any, model.encoder).model.load_state_dict(weights)
    return cast(nn.Module, model)
