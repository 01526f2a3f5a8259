"""Step 3: train DeepLabv3+ on the pseudo-masks."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from wsss_fast.config import Config
from wsss_fast.data import ImageSet, open_images
from wsss_fast.data.soft_labels import SoftLabels
from wsss_fast.data.training_loader import Batch, ReadTarget
from wsss_fast.data.transforms import NO_PART, PixelNorm, segmenter_transform
from wsss_fast.models.segmenter import normalization, segmenter
from wsss_fast.steps._copies import to_device
from wsss_fast.steps._device import op_device, seed_first_weights
from wsss_fast.steps._layout import pseudo_masks
from wsss_fast.steps._maps import MaskFolder, SureMaskFolder
from wsss_fast.steps._optimizer import with_backbone
from wsss_fast.steps._segmenter_loss import CrfBesideIt, hard_cross_entropy, soft_cross_entropy
from wsss_fast.steps._soft_labels import soft_label_folder
from wsss_fast.steps._step import Step, step
from wsss_fast.steps._training import LossParts, fit, start_training, training_loader

STEP = "train-segmenter"


def train_segmenter(config: Config) -> None:
    """Write ``train-segmenter/weights.safetensors`` and ``history.csv``.

    It is trained on the pseudo-masks of ``segmenter.mask_threshold``, without the pixels that
    ``segmenter.unsure_below`` leaves out, or with ``segmenter.labels: soft`` on
    the maps that they were made of. With ``segmenter.crf_loss.weight`` above 0 the history has the two parts
    of the loss, ``cross_entropy`` and ``crf``, beside their sum.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.train_segmenter import train_segmenter
    >>> train_segmenter(config)
    >>> (Path(config.output) / "train-segmenter/weights.safetensors").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        images = open_images(config.data, "train")
        targets: ReadTarget
        if config.segmenter.labels == "soft":
            targets = soft_label_folder(config, "train", images.classes)
        else:
            targets = MaskFolder(pseudo_masks(config, "train"), len(images.classes))
            if config.segmenter.unsure_below is not None:
                unsure = pseudo_masks(config, "train", config.segmenter.unsure_below)
                lower = MaskFolder(unsure, len(images.classes))
                targets = SureMaskFolder(targets, lower)
        seed_first_weights(config, STEP)
        model = segmenter(config.segmenter.backbone, 1 + len(images.classes))
        train_on(config, this, model, images, targets)


def train_on(config: Config, this: Step, model: nn.Module, images: ImageSet, targets: ReadTarget) -> None:
    """Train a segmenter on images with what ``targets`` reads for them, by the config's ``segmenter``."""
    training = config.segmenter
    fabric = start_training(config, this)
    mean, std = normalization(training.backbone)
    transform = segmenter_transform(
        image_size=training.image_size,
        min_scale=training.min_scale,
        max_scale=training.max_scale,
        mean=mean,
    )
    loader = training_loader(config, training, this, images, transform, targets)
    norm = PixelNorm(mean, std, fabric.device)
    crf = None
    if training.crf_loss.weight > 0:
        crf = CrfBesideIt(training.crf_loss, op_device(fabric.device))

    def loss(network: nn.Module, batch: Batch) -> LossParts:
        # The network may compute in half precision, the losses do not.
        logits = network(norm(to_device(batch.image, fabric.device))).float()
        entropy, part = _cross_entropy(logits, batch)
        if crf is None:
            return entropy, {}
        regular = crf(batch.image, logits, part).to(fabric.device)
        return entropy + regular, {"cross_entropy": entropy, "crf": regular}

    encoder = cast(nn.Module, model.encoder)
    known = {id(p) for p in encoder.parameters()}
    rest = [p for p in model.parameters() if id(p) not in known]
    fit(
        config,
        training,
        fabric,
        model,
        groups=with_backbone(encoder, training.lr_backbone, rest, training.lr_head),
        loader=loader,
        loss=loss,
        this=this,
    )
    this.items = len(images)


def _cross_entropy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss by the batch's labels, and which pixels take part in it: bool ``[N,S,S]``."""
    if batch.soft is not None:
        soft = SoftLabels(*(to_device(value, logits.device) for value in batch.soft))
        return soft_cross_entropy(logits, soft), (soft.probs > 0).any(1)
    assert batch.mask is not None
    labels = to_device(batch.mask, logits.device)
    return hard_cross_entropy(logits, labels), labels != NO_PART
