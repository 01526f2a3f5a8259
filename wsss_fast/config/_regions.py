"""Step 2: from activation maps to pseudo-masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsss_fast.config._checks import (
    DEVIATIONS,
    MAX_COMPAT,
    check,
    check_at_least,
    check_distinct,
    check_fraction,
    check_scales,
    check_thresholds,
    check_types,
    check_within,
)
from wsss_fast.config._data import Split
from wsss_fast.config._training import BackboneConfig, TrainingConfig


@dataclass
class CrfConfig:
    """The dense CRF."""

    iterations: int = 10
    """Mean-field updates."""
    gaussian_sxy: float = 3.0
    """Standard deviation of the smoothness kernel, in pixels."""
    gaussian_compat: float = 3.0
    """Weight of the smoothness kernel."""
    bilateral_sxy: float = 50.0
    """Standard deviation of the appearance kernel in space, in pixels."""
    bilateral_srgb: float = 5.0
    """Standard deviation of the appearance kernel in colour, in grey values of 0 to 255."""
    bilateral_compat: float = 10.0
    """Weight of the appearance kernel."""
    gt_prob: float = 0.7
    """How sure the labels are that go into the CRF."""

    def __post_init__(self) -> None:
        check_types("crf", self)
        check_at_least("crf", self, 0, "iterations")
        check_within("crf", self, 0, MAX_COMPAT, "gaussian_compat", "bilateral_compat")
        check_within("crf", self, *DEVIATIONS, "gaussian_sxy", "bilateral_sxy", "bilateral_srgb")
        check(0 < self.gt_prob < 1, "crf.gt_prob", "a number in (0, 1)", self.gt_prob)


@dataclass
class IrLabelsConfig:
    """Step 2: confident background, confident foreground, unconfident."""

    foreground_threshold: float = 0.30
    """Constant activation of the background against which foreground is called confident."""
    background_threshold: float = 0.05
    """Constant activation of the background against which background is called confident."""
    unit: Literal["activation", "rank"] = "activation"
    """What the thresholds are: activations, or fractions of an image's pixels in the order of their strongest
    activation (0.3: three in ten pixels are below it). Ranks do not mind how narrow a map's peak is."""

    def __post_init__(self) -> None:
        check_types("ir_labels", self)
        check_fraction("ir_labels", self, "foreground_threshold", "background_threshold")
        check(
            self.background_threshold <= self.foreground_threshold,
            "ir_labels.background_threshold",
            f"at most ir_labels.foreground_threshold ({self.foreground_threshold})",
            self.background_threshold,
        )


@dataclass
class IrnetConfig(TrainingConfig):
    """Step 2: IRNet, class boundaries and displacements. Its backbone stays frozen."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    lr_boundary: float = 0.1
    """Peak learning rate of the boundary branch."""
    lr_displacement: float = 1.0
    """Peak learning rate of the displacement branch."""
    radius: int = 10
    """Pairs of cells closer than this are compared in training."""
    min_scale: float = 0.5
    """Training images are resized by a factor from here ..."""
    max_scale: float = 1.5
    """... to here before the crop."""

    def __post_init__(self) -> None:
        self._check_training("irnet")
        check_at_least("irnet", self, 0, "lr_boundary", "lr_displacement")
        check(2 <= self.radius <= 15, "irnet.radius", "an integer in [2, 15]", self.radius)
        check_scales("irnet", self)


@dataclass
class PseudoMasksConfig:
    """Step 2: the random walk and the threshold."""

    radius: int = 5
    """The walk steps to cells closer than this."""
    beta: float = 10.0
    """Exponent of the affinities: larger keeps the walk more strictly inside boundaries."""
    exp_times: int = 8
    """The walk takes 2 to this power steps."""
    thresholds: list[float] = field(default_factory=lambda: [0.25])
    """Constant activations of the background, of the image's maximum: a set of masks each, of one walk."""

    def __post_init__(self) -> None:
        check_types("pseudo_masks", self)
        check(2 <= self.radius <= 15, "pseudo_masks.radius", "an integer in [2, 15]", self.radius)
        check_at_least("pseudo_masks", self, 0, "beta")
        check(0 <= self.exp_times <= 12, "pseudo_masks.exp_times", "an integer in [0, 12]", self.exp_times)
        check_thresholds("pseudo_masks.thresholds", self.thresholds)


@dataclass
class InstancesConfig:
    """Step 2: instance masks, from the displacement field."""

    splits: list[Split] = field(default_factory=list)
    """Which splits get instance masks; empty: no one."""
    threshold: float = 0.25
    """Constant activation of the background, of the image's maximum; person.threshold holds for that class
    here too."""
    iterations: int = 300
    """How often the displacements are followed to their centroids."""
    min_area: float = 0.01
    """Instances smaller than this fraction of the image's largest are dropped."""

    def __post_init__(self) -> None:
        check_types("instances", self)
        check_distinct("instances.splits", self.splits)
        check_fraction("instances", self, "threshold", "min_area")
        check_at_least("instances", self, 1, "iterations")
