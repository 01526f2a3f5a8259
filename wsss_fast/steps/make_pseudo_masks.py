"""Step 2: the random walk spreads the CAMs inside class boundaries; a threshold gives pseudo-masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import Config, PseudoMasksConfig, Split
from wsss_fast.data import open_images
from wsss_fast.files import mask_dtype, write_mask, write_npz
from wsss_fast.models.backbone import normalization
from wsss_fast.models.irnet import IRNet, boundary_map
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import ImageBatch, Normalize, equal_size_batches
from wsss_fast.steps._layout import pseudo_masks, walk_maps
from wsss_fast.steps._maps import (
    Cams,
    OwnThreshold,
    local_labels,
    own_threshold,
    person_id,
    read_merged_cams,
    read_person_cams,
    relative,
    to_class_ids,
)
from wsss_fast.steps._step import Step, step
from wsss_fast.steps._weights import trained

STEP = "make-pseudo-masks"


def make_pseudo_masks(config: Config) -> None:
    """Write the masks ``make-pseudo-masks/<split>/<threshold>/<name>.png`` of each threshold, and the walk
    and boundary maps ``<split>/<name>.npz``.

    With ``person.merge: after`` the maps of that class did not walk and join those that did here. Masks have
    16 bits where there are more than 254 classes.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.make_pseudo_masks import make_pseudo_masks
    >>> make_pseudo_masks(config)
    >>> (Path(config.output) / "make-pseudo-masks/val/0.25/val_00000.png").exists()
    True
    """
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
            person = person_id(config, images.classes)
            dtype = mask_dtype(len(images.classes))
            thresholds = config.pseudo_masks.thresholds
            for batch in equal_size_batches(config, this, images, role, folder, ".npz"):
                cams = read_due_walk_cams(config, this, role, batch, len(images.classes))
                with this.profile.part("network"), torch.no_grad():
                    boundaries = boundary_map(model, normalize(batch.images)).to(ops)
                with this.profile.part("walk"), torch.no_grad():
                    walks = walked(
                        [to_device(of.walking.strided, ops) for of in cams.values()],
                        [boundaries[place] for place in cams],
                        config.pseudo_masks,
                    )
                with this.profile.part("label"):
                    walks = [joined(walk, of) for walk, of in zip(walks, cams.values(), strict=True)]
                    labels = [
                        pseudo_labels(walk, batch.size, thresholds, own_threshold(config, of.classes, person))
                        for walk, of in zip(walks, cams.values(), strict=True)
                    ]
                    arrays = to_host([*(x.half() for x in (boundaries, *walks)), *labels])
                boundary, walks, labels = arrays[0], arrays[1 : 1 + len(cams)], arrays[1 + len(cams) :]
                with this.profile.part("write"):
                    for (place, of), walk, masks in zip(cams.items(), walks, labels, strict=True):
                        name = batch.names[place]
                        for threshold, mask in zip(thresholds, masks, strict=True):
                            path = pseudo_masks(config, role, threshold) / f"{name}.png"
                            write_mask(path, to_class_ids(mask, of.classes, dtype))
                        # Last: the maps are what says that this image is finished.
                        write_npz(
                            folder / f"{name}.npz",
                            classes=of.classes.astype(np.int32),
                            walk=walk.numpy(),
                            boundary=boundary[place, 0].numpy(),
                        )


@dataclass(frozen=True)
class WalkCams:
    """The maps of one image by what happens to them."""

    walking: Cams
    """Those that walk."""
    joining: Cams | None = None
    """Those that join them afterwards (``person.merge: after``)."""

    @property
    def classes(self) -> np.ndarray:
        """Ids of the classes of all maps, ascending: their order in the end."""
        return np.sort(self._ids)

    @property
    def order(self) -> list[int]:
        """Which of the walking maps, followed by the joining ones, is the first in the end, and so on."""
        order: list[int] = np.argsort(self._ids).tolist()
        return order

    @property
    def _ids(self) -> np.ndarray:
        return np.concatenate([of.classes for of in (self.walking, self.joining) if of is not None])


def read_due_walk_cams(
    config: Config, this: Step, split: Split, batch: ImageBatch, classes: int
) -> dict[int, WalkCams]:
    """The maps of the due images of a batch, by their places in it, if their files can be read.

    ``classes``: how many the data set has.
    """
    cams: dict[int, WalkCams] = {}
    with this.profile.part("read maps"):
        for place, (name, due) in enumerate(zip(batch.names, batch.due, strict=True)):
            if due:
                with this.tolerant(name):
                    cams[place] = read_walk_cams(config, split, name, classes)
    return cams


def read_walk_cams(config: Config, split: Split, name: str, classes: int) -> WalkCams:
    joining = read_person_cams(config, split, name, classes) if config.person.merge == "after" else None
    return WalkCams(read_merged_cams(config, split, name, classes), joining)


def joined(walk: Tensor, cams: WalkCams) -> Tensor:
    """The maps ``[K,h,w]`` after the walk and those that join them, resampled to their size: ``[K+J,h,w]``
    in the order of the classes."""
    if cams.joining is None or len(cams.joining.classes) == 0:
        return walk
    joining = resampled(to_device(cams.joining.strided, walk.device), walk.shape[1:])
    maps = [*walk, *joining]
    return torch.stack([maps[i] for i in cams.order])


def walked(cams: Sequence[Tensor], boundaries: Sequence[Tensor], config: PseudoMasksConfig) -> list[Tensor]:
    """Maps ``[K,h,w]`` of each image after the random walk inside its boundary map ``[1,h',w']``, of its size
    and of maximum 1. Without maps there is no walk."""
    walks: list[Tensor] = wsss_fast.random_walk(
        [resampled(maps, like.shape[1:]) for maps, like in zip(cams, boundaries, strict=True)],
        boundaries,
        radius=config.radius,
        beta=config.beta,
        exp_times=config.exp_times,
    )
    return [relative(walk) if len(walk) else walk for walk in walks]


def pseudo_labels(
    walk: Tensor, size: tuple[int, int], thresholds: Sequence[float], own: OwnThreshold | None = None
) -> Tensor:
    """Maps ``[K,h,w]`` -> int16 ``[T,H,W]``, 0..K: resampled, relative to their maximum, a mask a threshold.

    Maps of ``own`` keep their own threshold in all of them; see `local_labels`.
    """
    if len(walk) == 0:
        return torch.zeros(len(thresholds), *size, dtype=torch.int16, device=walk.device)
    maps = relative(resampled(walk, size), own)
    return torch.stack([local_labels(maps, threshold, own).to(torch.int16) for threshold in thresholds])


def resampled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps ``[K,h,w]`` -> ``[K,H,W]``."""
    if len(maps) == 0:  # which torch refuses
        return maps.new_empty((0, *size))
    if maps.shape[1:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
