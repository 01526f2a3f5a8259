"""Step 1: train the multi-label classifier on the image labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import multilabel_average_precision

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.data.loading import Batch
from wsss_fast.data.transforms import classifier_transform
from wsss_fast.models.backbone import normalization
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import make_fabric, seed_first_weights
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._step import step
from wsss_fast.steps._training import LossParts, fit, training_loader

STEP = "train-classifier"


def train_classifier(config: Config) -> None:
    """Write ``train-classifier/weights.safetensors`` and ``history.csv`` (loss, validation mAP)."""
    with step(config, STEP) as this:
        if this.done:
            return
        fabric = make_fabric(config)
        training = config.classifier
        mean, std = normalization(training.backbone)
        images = open_images(config.data, "train")
        validation = open_images(config.data, "val")
        transform = classifier_transform(
            image_size=training.image_size, min_scale=training.min_scale, mean=mean, std=std
        )
        loader = training_loader(config, training, this, images, transform)
        seed_first_weights(config, STEP)
        model = Classifier(training.backbone, len(images.classes), training.dropout)
        normalize = Normalize(mean, std, fabric.device)

        def loss(network: nn.Module, batch: Batch) -> LossParts:
            assert batch.labels is not None
            logits = network(to_device(batch.image, fabric.device))
            labels = to_device(batch.labels, fabric.device)
            return F.binary_cross_entropy_with_logits(logits, labels), {}

        @torch.no_grad()
        def validate(network: nn.Module) -> dict[str, float]:
            scores: list[Tensor] = []
            truth: list[np.ndarray] = []
            for batch in equal_size_batches(config, this, validation, "validation"):
                scores += to_host([network(normalize(batch.images)).sigmoid()])
                truth.extend(validation.labels(i) for i in batch.indices)
            target = torch.from_numpy(np.stack(truth)).long()
            mean_ap = multilabel_average_precision(torch.cat(scores), target, num_labels=target.shape[1])
            return {"val_map": float(mean_ap)}

        fit(
            config,
            training,
            fabric,
            model,
            groups=[
                {"params": model.backbone.parameters(), "lr": training.lr_backbone},
                {"params": model.head.parameters(), "lr": training.lr_head},
            ],
            loader=loader,
            loss=loss,
            folder=this.folder,
            after_epoch=validate,
        )
        this.items = len(images)
