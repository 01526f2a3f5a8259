"""Step 1: train the classifier of the one class that has its own."""

from __future__ import annotations

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.steps._classes import person_class
from wsss_fast.steps._step import step
from wsss_fast.steps.train_classifier import train

STEP = "train-person-classifier"


def train_person_classifier(config: Config) -> None:
    """Train on person.name against all images without it, by the settings of person.classifier.

    Writes into ``train-person-classifier`` what :func:`train_classifier` writes into ``train-classifier``.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.train_person_classifier import train_person_classifier
    >>> train_person_classifier(config)
    >>> (Path(config.output) / "train-person-classifier/weights.safetensors").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        column = person_class(config, open_images(config.data, "train").classes)
        train(config, this, config.person.classifier, [column])
