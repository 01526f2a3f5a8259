"""Step 2: a dense CRF turns CAMs into confident background, confident foreground and unconfident."""

from __future__ import annotations

import numpy as np
import torch

from wsss_fast.config import Config, CrfConfig, IrLabelsConfig
from wsss_fast.data import open_images
from wsss_fast.files import IGNORE, write_mask
from wsss_fast.steps._inference import each_image
from wsss_fast.steps._maps import Cams, crf_labels, local_labels, read_cams, to_class_ids
from wsss_fast.steps._step import step

STEP = "make-ir-labels"


def make_ir_labels(config: Config) -> None:
    """Write ``make-ir-labels/<split>/<name>.png``: 0, a class id, or 255 where the CRF is not confident."""
    with step(config, STEP, needs=("make-cams",)) as this:
        if this.done:
            return
        for role in ("train", "val"):
            images = open_images(config.data, role)
            cams = this.folder.parent / "make-cams" / role
            for item in each_image(config, this, images, role, this.folder / role, ".png"):
                with this.tolerant(item.name):
                    maps = read_cams(cams / f"{item.name}.npz")
                    regions = confident_regions(item.image, maps, config.ir_labels, config.crf)
                    write_mask(this.folder / role / f"{item.name}.png", regions)


def confident_regions(
    image: np.ndarray, cams: Cams, thresholds: IrLabelsConfig, crf: CrfConfig
) -> np.ndarray:
    """``image`` uint8 ``[H,W,3]`` -> uint8 ``[H,W]``: 0 background, class id, 255 unconfident.

    Two labellings go through the CRF, one a threshold. What is foreground by the higher threshold is
    confident foreground; what is background by both is confident background; between them nobody knows.
    """
    labels = torch.stack(
        [
            local_labels(cams.full, t)
            for t in (thresholds.foreground_threshold, thresholds.background_threshold)
        ]
    )
    if len(cams.classes):  # with no class present, everything is background
        labels = crf_labels(image, labels, 1 + len(cams.classes), crf)
    foreground = to_class_ids(labels[0], cams.classes)
    background = to_class_ids(labels[1], cams.classes)
    regions = foreground.copy()
    regions[(foreground == 0) & (background != 0)] = IGNORE
    return regions
