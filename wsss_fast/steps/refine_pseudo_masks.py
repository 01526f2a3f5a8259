"""Step 3, second round: the trained segmenter and the dense CRF label the training images anew."""

from __future__ import annotations

import numpy as np

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.files import mask_dtype, write_mask
from wsss_fast.models.segmenter import normalization
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import device_of
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._layout import refined_masks
from wsss_fast.steps._predictor import averaged_views, trained_segmenter
from wsss_fast.steps._refine import refined_labels
from wsss_fast.steps._step import step

STEP = "refine-pseudo-masks"


def refine_pseudo_masks(config: Config) -> None:
    """Write ``refine-pseudo-masks/<split>/<name>.png`` for both splits (``segmenter.rounds: 2``).

    A mask is the segmenter's probabilities averaged over the views of ``predict``, those of the background
    and the classes that the image labels name alone, after the dense CRF. Masks of validation images are not
    trained on.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.refine_pseudo_masks import refine_pseudo_masks
    >>> refine_pseudo_masks(config)
    >>> (Path(config.output) / "refine-pseudo-masks/val/val_00000.png").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        normalize = Normalize(*normalization(config.segmenter.backbone), device)
        classes = len(open_images(config.data, "train").classes)
        dtype = mask_dtype(classes)
        predictor = averaged_views(config, trained_segmenter(config, "train-segmenter", classes), "mean")
        for role in ("train", "val"):
            images = open_images(config.data, role)
            folder = refined_masks(config, role)
            for batch in equal_size_batches(config, this, images, role, folder, ".png"):
                with this.profile.part("network"):
                    probs = predictor(normalize(batch.images))
                due = [place for place, wanted in enumerate(batch.due) if wanted]
                with this.profile.part("crf"):
                    present = [np.flatnonzero(images.labels(batch.indices[place])) for place in due]
                    masks = to_host(
                        refined_labels(batch.images[i], probs[i], np.array([0, *1 + classes]), config.crf)
                        for i, classes in zip(due, present, strict=True)
                    )
                with this.profile.part("write"):
                    for place, mask in zip(due, masks, strict=True):
                        write_mask(folder / f"{batch.names[place]}.png", mask.numpy().astype(dtype))
