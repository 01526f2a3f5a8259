"""The points of the method at which there are masks to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_fast.config import Config, Split
from wsss_fast.steps._layout import pseudo_masks, refined_masks


@dataclass(frozen=True)
class Stage:
    """A point of the method at which there are masks to look at."""

    key: str
    title: str
    step: str
    """The command whose outputs it looks at."""
    mode: str = ""
    """Which predictions: their folder under ``predict/<split>``."""
    threshold: float | None = None
    """Which pseudo-masks."""

    def masks(self, config: Config, split: Split) -> Path:
        """The folder of the masks; the two stages of CAMs, which have none, get theirs in the evaluation."""
        if self.step == "make-pseudo-masks":
            return pseudo_masks(config, split, self.threshold)
        if self.step == "refine-pseudo-masks":
            return refined_masks(config, split)
        if self.step == "predict":
            return Path(config.output) / self.step / split / self.mode
        return Path(config.output) / "evaluate" / split / self.key.replace("_", "-")


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages of a run in the order of the method.

    ``random_walk`` is at the threshold that the segmenter is trained on; the others of
    ``pseudo_masks.thresholds`` follow as ``random_walk_<threshold>``. ``refined`` is there if
    ``segmenter.rounds`` is 2, ``segmenter_crf`` if ``predict.crf`` asks for it.
    """
    stages = [Stage("cam", "CAM", "make-cams"), Stage("cam_crf", "CAM + CRF", "make-cams")]
    thresholds = config.pseudo_masks.thresholds
    trained_on = config.segmenter.mask_threshold
    trained_on = thresholds[0] if trained_on is None else trained_on
    for threshold in sorted(thresholds, key=lambda t: t != trained_on):
        key = "random_walk" if threshold == trained_on else f"random_walk_{threshold:g}"
        title = "random walk" if len(thresholds) == 1 else f"random walk, {threshold:g}"
        stages.append(Stage(key, title, "make-pseudo-masks", threshold=threshold))
    if config.segmenter.rounds == 2:
        stages.append(Stage("refined", "second round's masks", "refine-pseudo-masks"))
    stages += [
        Stage("segmenter", "segmenter", "predict", "single"),
        Stage("segmenter_tta", "segmenter + TTA", "predict", "tta"),
    ]
    if config.predict.crf:
        title = "segmenter + TTA + CRF" if config.predict.tta else "segmenter + CRF"
        stages.append(Stage("segmenter_crf", title, "predict", "crf"))
    return tuple(stages)
