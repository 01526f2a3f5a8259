"""Step 3: the segmentation network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsss_fast.config._checks import (
    DEVIATIONS,
    MIN_SCALE,
    check,
    check_at_least,
    check_distinct,
    check_scales,
    check_tta_scales,
    check_types,
    check_within,
)
from wsss_fast.config._data import Split
from wsss_fast.config._training import BackboneConfig, TrainingConfig


@dataclass
class CrfLossConfig:
    """Step 3: the dense CRF as a loss beside the cross entropy (Tang et al., ECCV 2018)."""

    weight: float = 0.0
    """Its weight; 0: without it. The loss grows with the pixels of a crop; its authors have 2e-9."""
    sxy: float = 100.0
    """Standard deviation of the kernel in space, in pixels of the training crop."""
    srgb: float = 15.0
    """Standard deviation of the kernel in colour, in grey values of 0 to 255."""
    scale: float = 0.5
    """Images and predictions are reduced by this factor for it, at most 1."""

    def __post_init__(self) -> None:
        check_types("segmenter.crf_loss", self)
        check_at_least("segmenter.crf_loss", self, 0, "weight")
        check_within("segmenter.crf_loss", self, *DEVIATIONS, "sxy", "srgb")
        check(0 < self.scale <= 1, "segmenter.crf_loss.scale", "a number in (0, 1]", self.scale)
        check_at_least("segmenter.crf_loss", self, MIN_SCALE, "scale")


@dataclass
class SegmenterConfig(TrainingConfig):
    """Step 3: DeepLabv3+."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The encoder: a network of timm, or one that segmentation-models-pytorch alone has (``se_resnet50``,
    ``efficientnet-b0``, ...), whose weights can only be ``none`` or a local file. Output stride 8 or 16."""
    lr_backbone: float = 0.01
    """Peak learning rate of the pretrained part, the encoder; 0 freezes it."""
    lr_head: float = 0.1
    """Peak learning rate of the new part, decoder and head."""
    min_scale: float = 0.5
    """Training images are resized by a factor from here ..."""
    max_scale: float = 2.0
    """... to here before the crop."""
    mask_threshold: float | None = None
    """Which of pseudo_masks.thresholds made the masks that are trained on; by default the first."""
    unsure_below: float | None = None
    """Another of pseudo_masks.thresholds, a lower one: pixels that are background at mask_threshold, but not
    at this one, take no part in the training on the pseudo-masks."""
    labels: Literal["hard", "soft"] = "hard"
    """``hard``: the pseudo-masks. ``soft``: probabilities, in proportion to the maps after the walk and, for
    the background, to the threshold of the pseudo-masks."""
    rounds: Literal[1, 2] = 1
    """2: the trained network labels the training images anew, within their image labels and refined by the
    CRF, and is trained once more, on those masks."""
    crf_loss: CrfLossConfig = field(default_factory=CrfLossConfig)

    def __post_init__(self) -> None:
        self._check_training("segmenter")
        check_at_least("segmenter", self, 0, "lr_backbone", "lr_head")
        check_scales("segmenter", self)
        check(
            self.backbone.output_stride in (8, 16),
            "segmenter.backbone.output_stride",
            "8 or 16 (DeepLabv3+)",
            self.backbone.output_stride,
        )


@dataclass
class PredictConfig:
    """Step 3: predictions of the segmenter, plain and averaged."""

    scales: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Scales of the test-time augmentation."""
    hflip: bool = True
    """See each scale mirrored too."""
    tta: bool = True
    """Predict with test-time augmentation as well as without."""
    crf: bool = False
    """Refine the (averaged) prediction by the dense CRF of the section ``crf`` too; the masks before it are
    kept."""
    splits: list[Split] = field(default_factory=lambda: ["val"])
    """Which splits are predicted."""

    def __post_init__(self) -> None:
        check_types("predict", self)
        check_tta_scales("predict.scales", self.scales)
        check_distinct("predict.splits", self.splits)
