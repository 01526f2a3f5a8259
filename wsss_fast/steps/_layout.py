"""Where the steps put their outputs."""

from __future__ import annotations

from pathlib import Path

from wsss_fast.config import Config, Split


def pseudo_masks(config: Config, split: Split, threshold: float | None = None) -> Path:
    """The folder of the pseudo-masks of a threshold; by default those that the segmenter is trained on."""
    if threshold is None:
        threshold = mask_threshold(config)
    return walk_maps(config, split) / f"{threshold:g}"


def refined_masks(config: Config, split: Split) -> Path:
    """The folder of the masks that the second round trains on."""
    return Path(config.output) / "refine-pseudo-masks" / split


def mask_threshold(config: Config) -> float:
    """The threshold of the pseudo-masks that the segmenter is trained on."""
    chosen = config.segmenter.mask_threshold
    return config.pseudo_masks.thresholds[0] if chosen is None else chosen


def walk_maps(config: Config, split: Split) -> Path:
    """The folder of the maps after the random walk and of the boundary maps, ``<name>.npz``."""
    return Path(config.output) / "make-pseudo-masks" / split
