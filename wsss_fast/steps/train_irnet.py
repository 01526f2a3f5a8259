"""Step 2: train IRNet's boundary and displacement branches on the confident regions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast._processes import process_count
from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.data.training_loader import Batch
from wsss_fast.data.transforms import PixelNorm, irnet_transform
from wsss_fast.models.backbone import normalization
from wsss_fast.models.irnet import IRNet
from wsss_fast.nn import AffinityDisplacementLoss
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._device import op_device, seed_first_weights
from wsss_fast.steps._maps import MaskFolder
from wsss_fast.steps._step import step
from wsss_fast.steps._training import LossParts, fit, start_training, training_loader

STEP = "train-irnet"


def train_irnet(config: Config) -> None:
    """Write ``train-irnet/weights.safetensors`` and ``history.csv`` (the loss and its four parts).

    >>> from pathlib import Path
    >>> from wsss_fast.steps.train_irnet import train_irnet
    >>> train_irnet(config)
    >>> (Path(config.output) / "train-irnet/weights.safetensors").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        training = config.irnet
        fabric = start_training(config, this)
        mean, std = normalization(training.backbone)
        images = open_images(config.data, "train")
        regions = MaskFolder(this.folder.parent / "make-ir-labels" / "train", len(images.classes))
        transform = irnet_transform(
            image_size=training.image_size,
            min_scale=training.min_scale,
            max_scale=training.max_scale,
            mean=mean,
        )
        loader = training_loader(config, training, this, images, transform, regions)
        seed_first_weights(config, STEP)
        model = IRNet(training.backbone)
        criterion = AffinityDisplacementLoss(training.radius)
        norm = PixelNorm(mean, std, fabric.device)
        ops = op_device(fabric.device)

        def loss(network: nn.Module, batch: Batch) -> LossParts:
            assert batch.mask is not None
            boundary, displacement = network(norm(to_device(batch.image, fabric.device)))
            labels = to_cells(to_device(batch.mask, ops), (boundary.shape[2], boundary.shape[3]))
            result = criterion(boundary.to(ops), displacement.to(ops), labels)
            # The sum over the processes is the loss of all, and what is taken is their mean.
            total, *parts = (process_count() * value for value in result)
            return total, dict(zip(result._fields[1:], parts, strict=True))

        fit(
            config,
            training,
            fabric,
            model,
            groups=[
                {"params": model.boundary.parameters(), "lr": training.lr_boundary},
                {"params": model.displacement.parameters(), "lr": training.lr_displacement},
            ],
            loader=loader,
            loss=loss,
            this=this,
        )
        this.items = len(images)


_UNCONFIDENT = 255
"""The label, in the loss, of cells that take no part."""


def to_cells(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels ``[B,H,W]`` of pixels, class ids and -1 -> labels ``[B,h,w]`` of cells for the loss, int64.

    A cell has the label of the pixel nearest to its centre. The loss takes 255 for unconfident and only asks
    which labels are equal and which are 0, so ids from 255 on move up by one.
    """
    cells = F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].long()
    return torch.where(cells < 0, _UNCONFIDENT, cells + (cells >= _UNCONFIDENT))
