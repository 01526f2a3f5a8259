"""Step 3: masks from the trained segmenter: plain, with test-time augmentation, and refined by the CRF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.files import mask_dtype, write_mask
from wsss_fast.models.segmenter import normalization
from wsss_fast.nn import TTA
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import device_of
from wsss_fast.steps._graph import last_segmenter
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._predictor import Output, averaged_views, single_view, trained_segmenter
from wsss_fast.steps._refine import refined_labels, worth_refining
from wsss_fast.steps._step import step

STEP = "predict"


def predict(config: Config) -> None:
    """Write ``predict/<split>/single/<name>.png``; with ``predict.tta`` also ``.../tta/<name>.png``, and with
    ``predict.crf`` ``.../crf/<name>.png``, which is ``tta`` (``single`` without it) after the dense CRF.

    No image labels are used. Masks have the size of the image, and 16 bits for more than 254 classes.

    The CRF takes the mean probabilities as they are, by the section ``crf`` of the config (but for
    ``gt_prob``). Classes that are no pixel's best and reach 1 % nowhere in the image are left out of it, so
    that its cost goes with what is in the image; the probabilities of all classes exist for one batch.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.predict import predict
    >>> predict(config)
    >>> (Path(config.output) / "predict/val/tta/val_00000.png").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        normalize = Normalize(*normalization(config.segmenter.backbone), device_of(config))
        classes = len(open_images(config.data, "train").classes)
        dtype = mask_dtype(classes)
        network = trained_segmenter(config, last_segmenter(config), classes)
        views: dict[str, Callable[[Config, nn.Module, Output], TTA]] = {"single": single_view}
        if config.predict.tta:
            views["tta"] = averaged_views
        refined = list(views)[-1] if config.predict.crf else None
        for role in config.predict.splits:
            images = open_images(config.data, role)
            for mode, view in views.items():
                predictor = view(config, network, "mean" if mode == refined else "labels")
                folder, last = this.folder / role / mode, this.folder / role / mode
                if mode == refined:
                    last = this.folder / role / "crf"  # written last, it says that an image is finished
                for batch in equal_size_batches(config, this, images, f"{role}, {mode}", last, ".png"):
                    due = {place: name for place, name in enumerate(batch.names) if batch.due[place]}
                    with this.profile.part("network"):
                        answer = predictor(normalize(batch.images))
                        labels = answer if mode != refined else answer.argmax(1)
                        seen = [] if mode != refined else [worth_refining(answer, labels)]
                        masks, *seen = to_host([labels, *seen])
                    with this.profile.part("write"):
                        _write(folder, {name: masks[place] for place, name in due.items()}, dtype)
                    if mode != refined:
                        continue
                    with this.profile.part("crf"):
                        chosen = seen[0].numpy()
                        after = to_host(
                            refined_labels(batch.images[i], answer[i], np.flatnonzero(chosen[i]), config.crf)
                            for i in due
                        )
                    with this.profile.part("write"):
                        _write(last, dict(zip(due.values(), after, strict=True)), dtype)


def _write(folder: Path, masks: dict[str, Tensor], dtype: type[np.uint8 | np.uint16]) -> None:
    for name, mask in masks.items():
        write_mask(folder / f"{name}.png", mask.numpy().astype(dtype))
