"""Step 1: the classifier and its activation maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsss_fast.config._checks import (
    check,
    check_at_least,
    check_distinct,
    check_fraction,
    check_tta_scales,
    check_types,
)
from wsss_fast.config._training import BackboneConfig, TrainingConfig


@dataclass
class ClassifierConfig(TrainingConfig):
    """Step 1: the multi-label classifier."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    lr_backbone: float = 0.01
    """Peak learning rate of the pretrained part; 0 freezes it."""
    lr_head: float = 0.1
    """Peak learning rate of the new part."""
    min_scale: float = 0.5
    """Random resized crops take at least this fraction of the image's area."""
    augmentation: Literal["light", "strong"] = "light"
    """``light``: random resized crop, mirroring, a little colour. ``strong``: wider aspects, much more
    colour, and grey, blurred and solarised images."""
    dropout: float = 0.0
    """Dropout before the classifying layer."""
    drop_path: float = 0.0
    """Stochastic depth: the probability with which the last residual block is skipped; earlier ones less."""
    label_smoothing: float = 0.0
    """Targets 0 and 1 become this much over 2 and 1 minus that."""
    mixup: float = 0.0
    """Images of a batch are mixed in pairs by a share drawn from Beta(mixup, mixup); 0: not. Of several
    processes each mixes its own images."""
    random_erasing: float = 0.0
    """Probability with which a rectangle of a training image is erased."""
    balance: Literal["none", "down", "up", "both"] = "none"
    """Which images an epoch is made of: all once; fewer of common classes; more of rare ones (an image at
    most 10 times); both. An image goes by the rarest of its classes; those without any are a class too."""
    balance_target: int | None = None
    """Images of a class that balancing aims at; by default the median over the classes that have any."""
    exclude: list[str] = field(default_factory=list)
    """Classes that this classifier does not learn, such as a dominant one that is badly labelled. Images that
    have no other are left out of the training."""

    _prefix = "classifier"

    def __post_init__(self) -> None:
        prefix = self._prefix
        self._check_training(prefix)
        check_at_least(prefix, self, 0, "lr_backbone", "lr_head", "mixup")
        check_fraction(prefix, self, "min_scale", "dropout", "drop_path", "label_smoothing", "random_erasing")
        if self.balance_target is not None:
            check_at_least(prefix, self, 1, "balance_target")
        check_distinct(f"{prefix}.exclude", self.exclude)


@dataclass
class PersonClassifierConfig(ClassifierConfig):
    """Step 1: the classifier of the one class that has its own."""

    _prefix = "person.classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(not self.exclude, "person.classifier.exclude", "no class: it learns only one", self.exclude)


@dataclass
class PersonConfig:
    """Step 1: a class with a threshold of its own, and maybe a classifier of its own, whose maps are merged
    into those of the others.

    Meant for a dominant and badly labelled class, as *person* is in LID.
    """

    merge: Literal["none", "threshold", "before", "after"] = "none"
    """``none``: there is no such class. ``threshold``: it has no more than its own threshold. The others: it
    has its own classifier. ``before``: its maps join the others before the CRF (whose two thresholds hold for
    all maps) and the random walk. ``after``: the CRF and the walk do without them; they join the maps that
    come out of the walk, as they are, each of the two kinds of maximum 1."""
    name: str = "person"
    """The class; where it has its own classifier, classifier.exclude has to name it too."""
    threshold: float = 0.3
    """Activation above which a pixel can be of this class in the pseudo-masks, in place of theirs (each of
    pseudo_masks.thresholds). A pixel has the class with the greatest activation / threshold, and is
    background where no one exceeds 1."""
    classifier: PersonClassifierConfig = field(default_factory=PersonClassifierConfig)

    @property
    def has_classifier(self) -> bool:
        return self.merge in ("before", "after")

    def __post_init__(self) -> None:
        check_types("person", self)
        check(0 < self.threshold <= 1, "person.threshold", "a number in (0, 1]", self.threshold)


@dataclass
class CamsConfig:
    """Step 1: class activation maps."""

    method: Literal["cam", "gradcam", "gradcam++"] = "gradcam"
    """``cam``: the weights of the last layer (Zhou et al., CVPR 2016). ``gradcam``: gradients (Selvaraju
    et al., ICCV 2017). ``gradcam++``: pixelwise weighted gradients (Chattopadhay et al., WACV 2018)."""
    layer: str | None = None
    """The layer of the backbone whose output is the map, by its name in timm (``layer4``, ``blocks.5``); by
    default the last feature map."""
    classes: Literal["labels", "predicted"] = "labels"
    """Which classes get a map: those that the image labels name, or those that the classifier sees."""
    min_score: float = 0.5
    """``predicted``: the score, in [0, 1], from which a class is seen; the best one always is."""
    scales: list[float] = field(default_factory=lambda: [1.0, 0.5, 0.75, 2.0])
    """The image is seen at these scales."""
    hflip: bool = True
    """See each scale mirrored too."""
    relu: Literal["sum", "each"] = "sum"
    """Drop negative evidence after summing over scales, or at every scale."""
    stride: int = 4
    """Image pixels a cell of the maps that the random walk starts from."""

    def __post_init__(self) -> None:
        check_types("cams", self)
        check_tta_scales("cams.scales", self.scales)
        check_at_least("cams", self, 1, "stride")
        check_fraction("cams", self, "min_score")
