"""The configuration of a run: typed, checked, one dataclass a step.

A config file is YAML with the fields below; every value can be overridden on the command line
(``--cams.scales '[1, 0.5]'``). The shipped recipes are in ``configs/``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from wsss_fast.config._checks import ConfigError, check, check_types, check_within
from wsss_fast.config._classification import (
    CamsConfig,
    ClassifierConfig,
    PersonClassifierConfig,
    PersonConfig,
)
from wsss_fast.config._data import DataConfig, ShapesConfig, Split
from wsss_fast.config._evaluation import AblateConfig, EvaluateConfig, ReportConfig
from wsss_fast.config._regions import (
    CrfConfig,
    InstancesConfig,
    IrLabelsConfig,
    IrnetConfig,
    PseudoMasksConfig,
)
from wsss_fast.config._running import CheckpointsConfig, LogsConfig
from wsss_fast.config._segmentation import CrfLossConfig, PredictConfig, SegmenterConfig
from wsss_fast.config._training import BackboneConfig, TrainingConfig
from wsss_fast.config._types import shown

__all__ = [
    "AblateConfig",
    "BackboneConfig",
    "CamsConfig",
    "CheckpointsConfig",
    "ClassifierConfig",
    "Config",
    "ConfigError",
    "CrfConfig",
    "CrfLossConfig",
    "DataConfig",
    "EvaluateConfig",
    "InstancesConfig",
    "IrLabelsConfig",
    "IrnetConfig",
    "LogsConfig",
    "PersonClassifierConfig",
    "PersonConfig",
    "PredictConfig",
    "PseudoMasksConfig",
    "ReportConfig",
    "SegmenterConfig",
    "ShapesConfig",
    "Split",
    "TrainingConfig",
    "check_config",
]


def check_config(config: object) -> None:
    """Raise `TypeError` for what is no `Config`, such as the path of one."""
    if not isinstance(config, Config):
        raise TypeError(
            f"config: expected a wsss_fast.config.Config, got {shown(config)}; a file becomes one by "
            "wsss_fast.config_file.read_values and build"
        )


@dataclass
class Config:
    """A whole run.

    Every section and key is in the configuration reference; ``wsss-fast run --help`` lists them too.

    >>> from wsss_fast.config import CamsConfig, Config
    >>> config = Config(output="runs/mine", cams=CamsConfig(scales=[1.0, 0.5]))
    >>> config.crf.bilateral_srgb > 0
    True
    """

    output: str = "runs/default"
    """Everything a run writes goes under this folder (``~`` is your home). One command, with all of its
    processes, uses it at a time."""
    seed: int = 0
    """Fixes first weights, the order of images and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: a GPU if torch sees one."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Arithmetic of training, as Lightning Fabric names it."""
    compile: bool = False
    """Compile the networks in training (``torch.compile``; on a CPU it needs a C++ compiler): minutes at the
    start, faster afterwards. Weights differ in their last bits; a training may go on with or without it."""
    sync_batch_norm: bool = True
    """With several processes, batch norms in training take their statistics from the whole batch, so that
    the result does not depend on the number of processes."""
    threads: int | None = None
    """Threads of a process on the CPU, at most 1024; null: as many as torch takes, and of several processes
    as many as let those on a machine share its cores."""
    changed_config: Literal["refuse", "keep"] = "refuse"
    """What to do about outputs that were made with other settings than now: ``refuse`` stops and shows the
    difference; ``keep`` shows it and goes on with them as they are."""
    profile: Literal["off", "summary", "trace"] = "off"
    """``summary``: measure where the time of a step goes. ``trace``: besides, record its first batches for
    chrome://tracing or Perfetto."""
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    logs: LogsConfig = field(default_factory=LogsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    cams: CamsConfig = field(default_factory=CamsConfig)
    person: PersonConfig = field(default_factory=PersonConfig)
    crf: CrfConfig = field(default_factory=CrfConfig)
    ir_labels: IrLabelsConfig = field(default_factory=IrLabelsConfig)
    irnet: IrnetConfig = field(default_factory=IrnetConfig)
    pseudo_masks: PseudoMasksConfig = field(default_factory=PseudoMasksConfig)
    instances: InstancesConfig = field(default_factory=InstancesConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    ablate: AblateConfig = field(default_factory=AblateConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        check_types("", self)
        self.output = os.path.expanduser(self.output)
        if self.threads is not None:
            check_within("", self, 1, 1024, "threads")
        if self.person.has_classifier:
            name = self.person.name
            check(
                name in self.classifier.exclude,
                "classifier.exclude",
                f"{name!r} among the classes, since it has its own classifier (person.merge)",
                self.classifier.exclude,
            )
        masks = self.segmenter.mask_threshold
        known = self.pseudo_masks.thresholds
        check(
            masks is None or masks in known,
            "segmenter.mask_threshold",
            f"one of pseudo_masks.thresholds {known}",
            masks,
        )
        unsure = self.segmenter.unsure_below
        lower = [t for t in known if t < (known[0] if masks is None else masks)]
        check(
            unsure is None or (unsure in lower and self.segmenter.labels == "hard"),
            "segmenter.unsure_below",
            f"one of pseudo_masks.thresholds below the mask threshold {lower}, and labels to be hard",
            unsure,
        )
