"""Step 2: a dense CRF turns CAMs into confident background, confident foreground and unconfident."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss_fast.config import Config, CrfConfig, IrLabelsConfig, Split
from wsss_fast.data import open_images
from wsss_fast.data.inference_loader import Loaded
from wsss_fast.files import mask_dtype, write_mask
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import each_image
from wsss_fast.steps._maps import (
    UNSURE,
    Cams,
    crf_labels,
    local_labels,
    person_id,
    read_merged_cams,
    to_class_ids,
)
from wsss_fast.steps._profile import Profile
from wsss_fast.steps._step import step
from wsss_fast.steps._threads import each_in_threads

STEP = "make-ir-labels"


def make_ir_labels(config: Config) -> None:
    """Write ``make-ir-labels/<split>/<name>.png``: 0, a class id, or 255 where the CRF is not confident.

    With more than 254 classes masks have 16 bits, and 65535 in the place of 255. ``person.merge: before``
    puts the maps of that class among the others; ``after`` leaves them out.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.make_ir_labels import make_ir_labels
    >>> make_ir_labels(config)
    >>> (Path(config.output) / "make-ir-labels/val/val_00000.png").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = op_device(device_of(config))
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        for role in ("train", "val"):
            images = open_images(config.data, role)
            person_id(config, images.classes)  # raises for a name that is no class
            dtype = mask_dtype(len(images.classes))
            folder = this.folder / role
            make = partial(
                _make, config, role, len(images.classes), this.profile, folder, dtype, device, threads
            )
            items = this.profile.waiting(each_image(config, this, images, role, folder, ".png"), "read")
            with each_in_threads(make, items, threads) as results:
                for item, result in results:
                    with this.tolerant(item.name):
                        result()


def _make(
    config: Config,
    role: Split,
    classes: int,
    profile: Profile,
    folder: Path,
    dtype: type[np.uint8 | np.uint16],
    device: torch.device,
    threads: int,
    item: Loaded,
) -> None:
    """Make and write the labels of one image."""
    with profile.part("read maps", threads):
        maps = read_merged_cams(config, role, item.name, classes, item.image.shape[:2])
    with profile.part("crf", threads):
        regions = confident_regions(item.image, maps, config.ir_labels, config.crf, device)
    with profile.part("write", threads):
        write_mask(folder / f"{item.name}.png", to_class_ids(regions, maps.classes, dtype))


def confident_regions(
    image: np.ndarray, cams: Cams, thresholds: IrLabelsConfig, crf: CrfConfig, device: torch.device
) -> Tensor:
    """``image`` uint8 ``[H,W,3]`` -> int16 ``[H,W]`` on the CPU: 0 background, 1 + the index of a map, or
    ``UNSURE``.

    Two labellings go through the CRF, one a threshold. What is foreground by the higher threshold is
    confident foreground; what is background by both is confident background; between them nobody knows.
    """
    maps = to_device(cams.full, device)
    wanted = (thresholds.foreground_threshold, thresholds.background_threshold)
    if thresholds.unit == "rank" and len(cams.classes):
        wanted = activations_at(cams.full, wanted)
    labels = torch.stack([local_labels(maps, t) for t in wanted])
    if len(cams.classes):  # with no class present, everything is background
        labels = crf_labels(image, labels, 1 + len(cams.classes), crf)
    foreground, background = labels.to(torch.int16)
    (regions,) = to_host([foreground.masked_fill((foreground == 0) & (background != 0), UNSURE)])
    return regions


def activations_at(maps: Tensor, ranks: tuple[float, float]) -> tuple[float, float]:
    """The activations above which there are all but these fractions of the pixels.

    ``maps`` ``[K,H,W]`` on the CPU, K > 0. Of each pixel the strongest counts.
    """
    strongest = np.sort(maps.amax(0).numpy(), axis=None)
    first, second = (strongest[min(int(rank * strongest.size), strongest.size - 1)] for rank in ranks)
    return float(first), float(second)
