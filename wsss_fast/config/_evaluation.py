"""What is measured and shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from wsss_fast.config._checks import check, check_at_least, check_thresholds, check_types
from wsss_fast.config._training import BackboneConfig


@dataclass
class EvaluateConfig:
    """Mean IoU after each stage."""

    thresholds: list[float] = field(default_factory=lambda: [round(0.05 * i, 2) for i in range(1, 15)])
    """Background thresholds tried for CAMs and for the maps after the walk. The best one of the CAMs is
    reported and goes into the CRF."""
    boundary_width: float = 0.02
    """Width of the band along contours that boundary IoU looks at, of the image's diagonal."""

    def __post_init__(self) -> None:
        check_types("evaluate", self)
        check_thresholds("evaluate.thresholds", self.thresholds)
        check(
            0 < self.boundary_width < 1, "evaluate.boundary_width", "a number in (0, 1)", self.boundary_width
        )


@dataclass
class AblateConfig:
    """The grid of `wsss-fast ablate`: every combination of the values below is one row of its table."""

    encoders: list[BackboneConfig] = field(default_factory=list)
    """Encoders of the segmentation network; empty: that of segmenter.backbone."""
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5])
    """Background thresholds of the pseudo-masks (IRNet thresholds)."""
    tta: list[bool] = field(default_factory=lambda: [False, True])
    """Without and with test-time augmentation."""
    person: list[bool] = field(default_factory=lambda: [False])
    """Without and with the maps of the person's own classifier; with needs person.merge to say how."""

    def __post_init__(self) -> None:
        check_types("ablate", self)
        check_thresholds("ablate.thresholds", self.thresholds)
        for encoder in self.encoders:
            good = encoder.output_stride in (8, 16) and self.encoders.count(encoder) == 1
            check(good, "ablate.encoders", "distinct ones of output stride 8 or 16 (DeepLabv3+)", encoder)
        for key in ("tta", "person"):
            values = getattr(self, key)
            good = bool(values) and len(set(values)) == len(values)
            check(good, f"ablate.{key}", "[false], [true] or both", values)


@dataclass
class ReportConfig:
    """The HTML page."""

    images: int = 12
    """How many validation images are shown."""

    def __post_init__(self) -> None:
        check_types("report", self)
        check_at_least("report", self, 0, "images")
