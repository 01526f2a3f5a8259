"""Step 2: the random walk spreads the CAMs inside class boundaries; a threshold gives pseudo-masks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import Config, PseudoMasksConfig
from wsss_fast.data import open_images
from wsss_fast.files import write_mask, write_npz
from wsss_fast.models.backbone import normalization
from wsss_fast.models.irnet import IRNet, boundary_map
from wsss_fast.steps._device import device_of
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._maps import local_labels, read_cams, to_class_ids
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained

STEP = "make-pseudo-masks"


def make_pseudo_masks(config: Config) -> None:
    """Write ``make-pseudo-masks/<split>/<name>.png`` (the masks) and ``.npz`` (walk and boundary maps)."""
    with step(config, STEP, needs=("make-cams", "train-irnet")) as this:
        if this.done:
            return
        device = device_of(config)
        model = trained(IRNet(config.irnet.backbone.without_weights()), config, "train-irnet", device)
        normalize = Normalize(*normalization(config.irnet.backbone), device)
        for role in ("train", "val"):
            images = open_images(config.data, role)
            folder = this.folder / role
            for batch in equal_size_batches(config, this, images, role, folder, ".png"):
                with torch.no_grad():
                    boundaries = boundary_map(model, normalize(batch.images)).cpu()
                for name, boundary in zip(batch.names, boundaries, strict=True):
                    with this.tolerant(name):
                        cams = read_cams(this.folder.parent / "make-cams" / role / f"{name}.npz")
                        walk = walked(cams.strided, boundary, config.pseudo_masks)
                        mask = pseudo_mask(walk, cams.classes, batch.size, config.pseudo_masks)
                        write_npz(
                            folder / f"{name}.npz",
                            classes=cams.classes.astype(np.int16),
                            walk=walk.half().numpy(),
                            boundary=boundary[0].half().numpy(),
                        )
                        # Last: the mask is what says that this image is finished.
                        write_mask(folder / f"{name}.png", mask)


def walked(cams: Tensor, boundary: Tensor, config: PseudoMasksConfig) -> Tensor:
    """Maps ``[K,h,w]`` after the random walk inside the boundary map ``[1,h',w']``, of maximum 1."""
    if cams.shape[0] == 0:
        return cams
    if cams.shape[1:] != boundary.shape[1:]:
        cams = F.interpolate(cams[None], boundary.shape[1:], mode="bilinear", align_corners=False)[0]
    walk: Tensor = wsss_fast.random_walk(
        cams, boundary, radius=config.radius, beta=config.beta, exp_times=config.exp_times
    )
    return walk / (walk.max() + 1e-5)


def pseudo_mask(
    walk: Tensor, classes: np.ndarray, size: tuple[int, int], config: PseudoMasksConfig
) -> np.ndarray:
    """Maps ``[K,h,w]`` -> uint8 class ids ``[H,W]``: resampled, relative to their maximum, thresholded."""
    if len(classes) == 0:
        return np.zeros(size, np.uint8)
    maps = F.interpolate(walk[None], size, mode="bilinear", align_corners=False)[0]
    maps = maps / (maps.max() + 1e-5)
    return to_class_ids(local_labels(maps, config.threshold), classes)
