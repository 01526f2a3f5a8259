"""Step 1: multiscale activation maps of the classes that the image labels name, or that are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import CamsConfig, Config
from wsss_fast.data import open_images
from wsss_fast.files import write_npz
from wsss_fast.models.activation_maps import activation_maps, target_layer
from wsss_fast.models.backbone import normalization
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps._classes import learnt_classes
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._step import Step, step
from wsss_fast.steps._weights import trained

STEP = "make-cams"


def make_cams(config: Config) -> None:
    """Write ``make-cams/<split>/<name>.npz`` for every image of both splits.

    Each file holds ``classes`` (ids of the classes present), ``strided`` (the maps at 1/stride of the image)
    and ``full`` (at the size of the image), every map divided by its maximum. An image without any class gets
    empty maps, and so does every class of ``classifier.exclude``.

    With ``cams.classes: predicted`` the image labels are not read: present is what the classifier gives a
    score of at least ``cams.min_score`` for the image at its own size, and in any case the best class.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.make_cams import make_cams
    >>> make_cams(config)
    >>> (Path(config.output) / "make-cams/val/val_00000.npz").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        classes = learnt_classes(config, open_images(config.data, "train").classes)
        backbone = config.classifier.backbone
        network = Classifier(backbone.without_weights(), len(classes))
        model = trained(network, config, "train-classifier", device)
        normalize = Normalize(*normalization(backbone), device)
        write_cams(config, this, model, normalize, classes, least=1)


def write_cams(
    config: Config, this: Step, model: Classifier, normalize: Normalize, classes: Sequence[int], *, least: int
) -> None:
    """Write the maps of a classifier's ``classes`` (columns of the image labels) into the step's folder.

    ``least``: how many classes an image has at the least where they are predicted.
    """
    target_layer(model, config.cams)  # says what is wrong with it before the first image
    named = config.cams.classes == "labels"
    columns = np.asarray(classes)
    for role in ("train", "val"):
        images = open_images(config.data, role)
        folder = this.folder / role
        for batch in equal_size_batches(config, this, images, role, folder, ".npz", labels=named):
            with this.profile.part("network"):
                pixels = normalize(batch.images)
                if named:
                    present = torch.from_numpy(np.stack([images.labels(i)[columns] for i in batch.indices]))
                else:
                    present = predicted_classes(model, pixels, config.cams.min_score, least)
                views = cams_of_views(model, pixels, present, config.cams)
            with this.profile.part("fuse"):
                strided, full = fused_cams(views, batch.size, present, config.cams, op_device(pixels.device))
                maps = to_host([*strided, *(m.half() for m in full)])
            halfway = len(strided)
            with this.profile.part("write"):
                for name, due, there, *pair in zip(
                    batch.names, batch.due, present.numpy(), maps[:halfway], maps[halfway:], strict=True
                ):
                    if due:
                        write_npz(
                            folder / f"{name}.npz",
                            classes=(columns[there] + 1).astype(np.int32),
                            strided=pair[0].numpy(),
                            full=pair[1].numpy(),
                        )


@torch.no_grad()
def predicted_classes(model: Classifier, images: Tensor, min_score: float, least: int) -> Tensor:
    """The classes ``[B,K]`` bool, on the CPU, with a score of at least ``min_score``, in [0, 1]; the
    ``least`` best ones in any case."""
    scores = model(images).float().sigmoid()
    best = torch.zeros_like(scores).scatter(1, scores.topk(least, dim=1).indices, 1.0)
    (present,) = to_host([(scores >= min_score) | (best > 0)])
    return present


def multiscale_cams(
    model: Classifier, images: Tensor, present: Tensor, config: CamsConfig
) -> tuple[list[Tensor], list[Tensor]]:
    """Activation maps summed over scales and mirroring, at the stride of the walk and at full size.

    ``images`` ``[B,3,H,W]`` normalised, ``present`` ``[B,K]`` bool on the CPU. Returns two lists of B
    tensors ``[K_b,h,w]`` and ``[K_b,H,W]``, every map divided by its maximum.
    """
    views = cams_of_views(model, images, present, config)
    height, width = images.shape[2:]
    return fused_cams(views, (height, width), present, config, op_device(images.device))


def cams_of_views(
    model: Classifier, images: Tensor, present: Tensor, config: CamsConfig
) -> list[tuple[Tensor, bool]]:
    """The activation maps ``[B,K,h,w]`` of each scale, as it is and mirrored, each with whether it is."""
    if not present.any():  # no network runs for nothing: many images do not have the person
        return []
    height, width = images.shape[2:]
    ops = op_device(images.device)
    views: list[tuple[Tensor, bool]] = []
    for scale in config.scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        view = images
        if size != (height, width):
            view = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        for mirror in (False, True) if config.hflip else (False,):
            maps = activation_maps(model, view.flip(-1) if mirror else view, present, config)
            views.append((maps.to(ops), mirror))
    return views


def fused_cams(
    views: list[tuple[Tensor, bool]],
    size: tuple[int, int],
    present: Tensor,
    config: CamsConfig,
    device: torch.device,
) -> tuple[list[Tensor], list[Tensor]]:
    """The sum of the maps of images of a size, as `multiscale_cams` returns it, on the device."""
    sizes = [(-(-size[0] // config.stride), -(-size[1] // config.stride)), size]
    if not views:
        nothing = [[torch.empty(0, *of, device=device) for _ in present] for of in sizes]
        return nothing[0], nothing[1]
    fused = wsss_fast.fuse_cams(
        [maps for maps, _ in views],
        sizes,
        flipped=[mirror for _, mirror in views],
        classes=present,
        relu=config.relu,
        normalize="class",
    )
    strided, full = cast("list[list[Tensor]]", fused)  # one list a size, since classes are named
    return strided, full
