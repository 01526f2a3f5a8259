"""Step 2: the random walk spreads the CAMs inside class boundaries; a threshold gives pseudo-masks."""

from __future__ import annotations

from collections.abc import Sequence

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
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._layout import pseudo_masks, walk_maps
from wsss_fast.steps._maps import Cams, local_labels, read_cams, to_class_ids
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained

STEP = "make-pseudo-masks"


def make_pseudo_masks(config: Config) -> None:
    """Write the masks ``make-pseudo-masks/<split>/<threshold>/<name>.png`` of each threshold, and the walk
    and boundary maps ``<split>/<name>.npz``."""
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        model = trained(IRNet(config.irnet.backbone.without_weights()), config, "train-irnet", device)
        normalize = Normalize(*normalization(config.irnet.backbone), device)
        ops = op_device(device)
        for role in ("train", "val"):
            images = open_images(config.data, role)
            folder = walk_maps(config, role)
            for batch in equal_size_batches(config, this, images, role, folder, ".npz"):
                cams: dict[int, Cams] = {}  # of the images whose file can be read, by place in the batch
                for place, name in enumerate(batch.names):
                    with this.tolerant(name):
                        cams[place] = read_cams(this.folder.parent / "make-cams" / role / f"{name}.npz")
                with torch.no_grad():
                    boundaries = boundary_map(model, normalize(batch.images)).to(ops)
                    walks = walked(
                        [to_device(of.strided, ops) for of in cams.values()],
                        [boundaries[place] for place in cams],
                        config.pseudo_masks,
                    )
                    thresholds = config.pseudo_masks.thresholds
                    labels = [pseudo_labels(walk, batch.size, thresholds) for walk in walks]
                arrays = to_host([*(x.half() for x in (boundaries, *walks)), *labels])
                boundary, walks, labels = arrays[0], arrays[1 : 1 + len(cams)], arrays[1 + len(cams) :]
                for (place, of), walk, masks in zip(cams.items(), walks, labels, strict=True):
                    name = batch.names[place]
                    for threshold, mask in zip(config.pseudo_masks.thresholds, masks, strict=True):
                        path = pseudo_masks(config, role, threshold) / f"{name}.png"
                        write_mask(path, to_class_ids(mask, of.classes))
                    # Last: the maps are what says that this image is finished.
                    write_npz(
                        folder / f"{name}.npz",
                        classes=of.classes.astype(np.int16),
                        walk=walk.numpy(),
                        boundary=boundary[place, 0].numpy(),
                    )


def walked(cams: Sequence[Tensor], boundaries: Sequence[Tensor], config: PseudoMasksConfig) -> list[Tensor]:
    """Maps ``[K,h,w]`` of each image after the random walk inside its boundary map ``[1,h',w']``, of maximum
    1. Without maps there is no walk, and they come back as they are."""
    walks: list[Tensor] = wsss_fast.random_walk(
        [_resampled(maps, like.shape[1:]) for maps, like in zip(cams, boundaries, strict=True)],
        boundaries,
        radius=config.radius,
        beta=config.beta,
        exp_times=config.exp_times,
    )
    return [walk / (walk.max() + 1e-5) if len(walk) else maps for walk, maps in zip(walks, cams, strict=True)]


def pseudo_labels(walk: Tensor, size: tuple[int, int], thresholds: Sequence[float]) -> Tensor:
    """Maps ``[K,h,w]`` -> uint8 ``[T,H,W]``, 0..K: resampled, relative to their maximum, a mask each."""
    if len(walk) == 0:
        return torch.zeros(len(thresholds), *size, dtype=torch.uint8, device=walk.device)
    maps = _resampled(walk, size)
    maps = maps / (maps.max() + 1e-5)
    return torch.stack([local_labels(maps, threshold).to(torch.uint8) for threshold in thresholds])


def _resampled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps ``[K,h,w]`` -> ``[K,H,W]``."""
    if len(maps) == 0:  # which torch refuses
        return maps.new_empty((0, *size))
    if maps.shape[1:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
