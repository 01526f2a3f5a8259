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
                probs = predictor(normalize(batch.images))
                masks = [
                    refined_labels(
                        image, of, np.array([0, *1 + np.flatnonzero(images.labels(i))]), config.crf
                    )
                    for i, image, of in zip(batch.indices, batch.images, probs, strict=True)
                ]
                for name, mask in zip(batch.names, to_host(masks), strict=True):
                    write_mask(folder / f"{name}.png", mask.numpy().astype(dtype))
