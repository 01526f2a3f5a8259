"""Step 1: train the multi-label classifier on the image labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from wsss_fast._processes import gathered, process_count, process_rank
from wsss_fast.config import ClassifierConfig, Config
from wsss_fast.data import DataError, ImageSet, open_images
from wsss_fast.data.balance import Balanced
from wsss_fast.data.selection import Selection
from wsss_fast.data.training_loader import Batch
from wsss_fast.data.transforms import PixelNorm, classifier_transform
from wsss_fast.files import write_json
from wsss_fast.models.backbone import normalization
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps._classes import learnt_classes
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import seed_first_weights
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._multilabel import multilabel_metrics
from wsss_fast.steps._optimizer import with_backbone
from wsss_fast.steps._step import Step, step
from wsss_fast.steps._training import LossParts, Network, fit, start_training, training_loader

STEP = "train-classifier"

# Images whose labels are looked at together: those of a million with 200 classes are 200 MB.
_BLOCK = 65536


def train_classifier(config: Config) -> None:
    """Train on all classes but the excluded ones, and write into ``train-classifier``.

    ``weights.safetensors``; ``history.csv``: the loss and, on all validation images, mAP, F1 and accuracy
    after every epoch; ``metrics.json``: those of the last epoch, class by class.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.train_classifier import train_classifier
    >>> train_classifier(config)
    >>> (Path(config.output) / "train-classifier/weights.safetensors").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        columns = learnt_classes(config, open_images(config.data, "train").classes)
        train(config, this, config.classifier, columns)


def train(config: Config, this: Step, training: ClassifierConfig, columns: Sequence[int]) -> None:
    """Train a classifier of the classes ``columns`` (of the image labels) in the step ``this``."""
    fabric = start_training(config, this)
    mean, std = normalization(training.backbone)
    images, epochs = training_images(training, columns, open_images(config.data, "train"), this)
    validation = Selection(open_images(config.data, "val"), columns)
    transform = classifier_transform(
        image_size=training.image_size,
        min_scale=training.min_scale,
        mean=mean,
        augmentation=training.augmentation,
        random_erasing=training.random_erasing,
    )
    loader = training_loader(config, training, this, images, transform, epochs=epochs)
    seed_first_weights(config, this.name)
    model = Classifier(training.backbone, len(columns), training.dropout, training.drop_path)
    norm = PixelNorm(mean, std, fabric.device)
    normalize = Normalize(mean, std, fabric.device)
    loss_of = ClassifierLoss(training)

    def loss(network: nn.Module, batch: Batch) -> LossParts:
        assert batch.labels is not None
        pixels, labels = to_device(batch.image, fabric.device), to_device(batch.labels, fabric.device)
        return loss_of(network, norm(pixels), labels), {}

    @torch.no_grad()
    def validate(network: Network) -> dict[str, float]:
        # Every process reads all images, and predicts a batch in turn: a batch, and with it the last bits of
        # what the network computes, does not depend on their number.
        scores: list[Tensor] = []
        truth: list[np.ndarray] = []
        for number, batch in enumerate(equal_size_batches(config, this, validation, "validation")):
            truth.extend(validation.labels(i) for i in batch.indices)
            if number % process_count() == process_rank():
                scores += to_host([network(normalize(batch.images)).sigmoid()])
        shares = [share for share in gathered(scores) if share]
        in_order = [share[turn] for turn in range(len(shares[0])) for share in shares if turn < len(share)]
        metrics = multilabel_metrics(torch.cat(in_order), torch.from_numpy(np.stack(truth)).long())
        if process_rank() == 0:
            write_json(this.folder / "metrics.json", {"classes": images.classes, **metrics})
        return {
            "val_map": float(metrics["map"]),
            "val_f1_macro": float(metrics["f1_macro"]),
            "val_f1_micro": float(metrics["f1_micro"]),
            "val_accuracy": float(metrics["mean_accuracy"]),
        }

    fit(
        config,
        training,
        fabric,
        model,
        groups=with_backbone(model.backbone, training.lr_backbone, model.head.parameters(), training.lr_head),
        loader=loader,
        loss=loss,
        this=this,
        after_epoch=validate,
    )
    this.items = len(images)


class ClassifierLoss:
    """Binary cross-entropy of a batch, its images mixed and its targets smoothed as the config says.

    Images are mixed within what a process sees at a time, in ratios that differ from process to process.
    """

    def __init__(self, training: ClassifierConfig) -> None:
        self.smoothing = training.label_smoothing
        self.mixup = v2.MixUp(alpha=training.mixup) if training.mixup > 0 else None

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """``images`` ``[B,3,S,S]``; ``labels`` float32 ``[B,K]`` of 0 and 1."""
        if self.mixup is not None:
            images, labels = self.mixup(images, labels)
        if self.smoothing > 0:
            labels = labels * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(network(images), labels)


def training_images(
    training: ClassifierConfig, columns: Sequence[int], images: ImageSet, this: Step
) -> tuple[Selection, Balanced | None]:
    """The images that a classifier of ``columns`` learns from, and its epochs (None: all images once).

    Images whose only classes are excluded take no part; those without any class do, and a classifier of one
    class learns from the images without it too. Labels are read beforehand only where this is of use.
    """
    everything = Selection(images, columns)
    if not training.exclude and training.balance == "none":
        return everything, None
    labels = np.empty((len(images), len(everything.columns)), bool)
    kept = np.empty(len(images), np.int64)
    count = 0
    for start in range(0, len(images), _BLOCK):
        part, readable = _read_labels(images, range(start, min(start + _BLOCK, len(images))), this)
        learnt = part.take(everything.columns, axis=1)
        wanted = learnt.any(1) if training.exclude else np.ones(len(part), bool)
        wanted = readable & (wanted | ~part.any(1))
        stop = count + int(wanted.sum())
        labels[count:stop] = learnt[wanted]
        kept[count:stop] = start + np.flatnonzero(wanted)
        count = stop
    labels, kept = labels[:count], kept[:count]
    if not count:
        raise DataError(
            images.source(0) if len(images) else "train",
            f"expected training images with one of the classes {', '.join(everything.classes)}, got none",
        )
    selected = Selection(images, columns, kept)
    if training.balance == "none":
        return selected, None
    return selected, Balanced(labels, training.balance, training.balance_target)


def _read_labels(images: ImageSet, block: range, this: Step) -> tuple[np.ndarray, np.ndarray]:
    """The labels of some images, bool ``[N,K]``, and which of them could be read, bool ``[N]``."""
    readable = np.ones(len(block), bool)

    def note(index: int, error: DataError) -> None:
        readable[index - block.start] = False
        with this.tolerant(images.name(index)):
            raise error

    return images.label_matrix(block, note), readable
