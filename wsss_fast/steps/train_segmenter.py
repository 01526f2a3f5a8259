"""Step 3: train DeepLabv3+ on the pseudo-masks."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import nn

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.data.loading import Batch
from wsss_fast.data.transforms import segmenter_transform
from wsss_fast.files import IGNORE
from wsss_fast.models.backbone import normalization
from wsss_fast.models.segmenter import segmenter
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._device import make_fabric, seed_first_weights
from wsss_fast.steps._layout import pseudo_masks
from wsss_fast.steps._maps import MaskFolder
from wsss_fast.steps._step import step
from wsss_fast.steps._training import LossParts, fit, training_loader

STEP = "train-segmenter"


def train_segmenter(config: Config) -> None:
    """Write ``train-segmenter/weights.safetensors`` and ``history.csv``."""
    with step(config, STEP) as this:
        if this.done:
            return
        fabric = make_fabric(config)
        training = config.segmenter
        mean, std = normalization(training.backbone)
        images = open_images(config.data, "train")
        masks = pseudo_masks(config, "train")
        transform = segmenter_transform(
            image_size=training.image_size,
            min_scale=training.min_scale,
            max_scale=training.max_scale,
            mean=mean,
            std=std,
        )
        loader = training_loader(config, training, this, images, transform, MaskFolder(masks))
        seed_first_weights(config, STEP)
        model = segmenter(training.backbone, 1 + len(images.classes))

        def loss(network: nn.Module, batch: Batch) -> LossParts:
            assert batch.mask is not None
            logits = network(to_device(batch.image, fabric.device)).float()
            target = to_device(batch.mask, fabric.device)
            # A batch may hold nothing but padding; the mean over no pixel would be NaN.
            total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
            return total / (target != IGNORE).sum().clamp(min=1), {}

        encoder = list(cast(nn.Module, model.encoder).parameters())
        known = {id(p) for p in encoder}
        fit(
            config,
            training,
            fabric,
            model,
            groups=[
                {"params": encoder, "lr": training.lr_backbone},
                {"params": [p for p in model.parameters() if id(p) not in known], "lr": training.lr_head},
            ],
            loader=loader,
            loss=loss,
            folder=this.folder,
        )
        this.items = len(images)
