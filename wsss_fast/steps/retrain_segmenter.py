"""Step 3, second round: train the segmenter once more, on the masks that it gave itself."""

from __future__ import annotations

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.models.segmenter import segmenter
from wsss_fast.steps._layout import refined_masks
from wsss_fast.steps._maps import MaskFolder
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained_state
from wsss_fast.steps.train_segmenter import train_on

STEP = "retrain-segmenter"


def retrain_segmenter(config: Config) -> None:
    """Write ``retrain-segmenter/weights.safetensors`` and ``history.csv`` (``segmenter.rounds: 2``).

    The network of train-segmenter goes on from its weights, by the same settings and learning rates from
    their peak, on the masks of refine-pseudo-masks.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.retrain_segmenter import retrain_segmenter
    >>> retrain_segmenter(config)
    >>> (Path(config.output) / "retrain-segmenter/weights.safetensors").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        images = open_images(config.data, "train")
        model = segmenter(config.segmenter.backbone.without_weights(), 1 + len(images.classes))
        trained_state(model, config, "train-segmenter")
        train_on(config, this, model, images, MaskFolder(refined_masks(config, "train"), len(images.classes)))
