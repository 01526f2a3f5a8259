"""Step 1: multiscale Grad-CAMs of the classes that the image labels name."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import wsss_fast
from wsss_fast.config import CamsConfig, Config
from wsss_fast.data import open_images
from wsss_fast.files import write_npz
from wsss_fast.models.backbone import normalization
from wsss_fast.models.classifier import Classifier, grad_cams
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained

STEP = "make-cams"


def make_cams(config: Config) -> None:
    """Write ``make-cams/<split>/<name>.npz`` for every image of both splits.

    Each file holds ``classes`` (ids of the classes present), ``strided`` (the maps at 1/stride of the image)
    and ``full`` (at the size of the image), every map divided by its maximum. An image without any class gets
    empty maps.
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        backbone = config.classifier.backbone
        normalize = Normalize(*normalization(backbone), device)
        classes = len(open_images(config.data, "train").classes)
        model = trained(Classifier(backbone.without_weights(), classes), config, "train-classifier", device)
        for role in ("train", "val"):
            images = open_images(config.data, role)
            folder = this.folder / role
            for batch in equal_size_batches(config, this, images, role, folder, ".npz"):
                present = torch.from_numpy(np.stack([images.labels(i) for i in batch.indices]))
                strided, full = multiscale_cams(model, normalize(batch.images), present, config.cams)
                maps = to_host([*strided, *(m.half() for m in full)])
                halfway = len(strided)
                for name, there, *pair in zip(
                    batch.names, present.numpy(), maps[:halfway], maps[halfway:], strict=True
                ):
                    write_npz(
                        folder / f"{name}.npz",
                        classes=(np.flatnonzero(there) + 1).astype(np.int16),
                        strided=pair[0].numpy(),
                        full=pair[1].numpy(),
                    )


def multiscale_cams(
    model: Classifier, images: Tensor, present: Tensor, config: CamsConfig
) -> tuple[list[Tensor], list[Tensor]]:
    """Grad-CAMs summed over scales and mirroring, at the stride of the walk and at full size.

    ``images`` ``[B,3,H,W]`` normalised, ``present`` ``[B,K]`` bool on the CPU. Returns two lists of B
    tensors ``[K_b,h,w]`` and ``[K_b,H,W]``, every map divided by its maximum.
    """
    height, width = images.shape[2:]
    ops = op_device(images.device)
    cams: list[Tensor] = []
    flipped: list[bool] = []
    for scale in config.scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        view = images
        if size != (height, width):
            view = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        for mirror in (False, True) if config.hflip else (False,):
            cams.append(grad_cams(model, view.flip(-1) if mirror else view, present).to(ops))
            flipped.append(mirror)
    strided_size = (-(-height // config.stride), -(-width // config.stride))
    fused = wsss_fast.fuse_cams(
        cams,
        [strided_size, (height, width)],
        flipped=flipped,
        classes=present,
        relu=config.relu,
        normalize="class",
    )
    strided, full = cast("list[list[Tensor]]", fused)  # one list a size, since classes are named
    return strided, full
