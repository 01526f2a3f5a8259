"""Step 1: the multi-label classifier and its activation maps."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast.config import BackboneConfig
from wsss_fast.models.backbone import classification_backbone


class Classifier(nn.Module):
    """Backbone, global average pooling, one linear layer: ``[B,3,H,W]`` -> logits ``[B,K]``."""

    def __init__(self, config: BackboneConfig, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = classification_backbone(config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(cast(int, self.backbone.num_features), classes)
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


def grad_cams(model: Classifier, images: Tensor, present: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the classes present, at the last feature map.

    ``images`` ``[B,3,H,W]`` normalised; ``present`` ``[B,K]`` bool, best on the CPU: how many classes there
    are is looked up in it. Returns ``[B,K,h,w]`` float32 before the ReLU, zero for absent classes. The model
    is run in the mode it is in: use ``model.eval()``. The backbone runs once; only the classifying layers are
    differentiated, once for the first class of every image, once for the second, and so on, so the classes of
    an image never mix their gradients.
    """
    with torch.no_grad():
        features = model.features(images)
    features = features.float().detach().requires_grad_()
    with torch.enable_grad():
        logits = model.classify(features)
    maps = torch.zeros(*present.shape, *features.shape[2:], device=features.device)
    nth = present.cumsum(1) * present  # 1 at the first class present, 2 at the second, ...
    most = int(nth.max()) if nth.numel() else 0
    nth = nth.to(features.device, non_blocking=True)
    for n in range(1, most + 1):
        chosen = nth == n  # at most one class of an image; no index, for which a device is waited for
        (gradient,) = torch.autograd.grad(logits, features, chosen.to(logits.dtype), retain_graph=n < most)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        of_nth = (weights * features.detach()).sum(1, keepdim=True)
        maps = torch.where(chosen[:, :, None, None], of_nth, maps)
    return maps
