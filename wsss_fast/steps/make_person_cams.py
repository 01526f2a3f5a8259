"""Step 1: multiscale activation maps of the class that has a classifier of its own."""

from __future__ import annotations

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.models.backbone import normalization
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps._classes import person_class
from wsss_fast.steps._device import device_of
from wsss_fast.steps._inference import Normalize
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained
from wsss_fast.steps.make_cams import write_cams

STEP = "make-person-cams"


def make_person_cams(config: Config) -> None:
    """Write ``make-person-cams/<split>/<name>.npz``: as `make_cams`, of the class ``person.name`` alone.

    An image has one map or none: by its labels, or with ``cams.classes: predicted`` by the score of this
    classifier (here no class is taken for want of a better one).

    >>> from pathlib import Path
    >>> from wsss_fast.steps.make_person_cams import make_person_cams
    >>> make_person_cams(config)
    >>> (Path(config.output) / "make-person-cams/val/val_00000.npz").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        person = person_class(config, open_images(config.data, "train").classes)
        backbone = config.person.classifier.backbone
        network = Classifier(backbone.without_weights(), classes=1)
        model = trained(network, config, "train-person-classifier", device_of(config))
        normalize = Normalize(*normalization(backbone), device_of(config))
        write_cams(config, this, model, normalize, [person], least=0)
