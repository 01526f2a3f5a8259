"""tta_merge: inputs, ours, and ttach as its users write it."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from _memory import Call
from _setting import generator
from _table import LeftOut
from torch import Tensor

import wsss_fast

Output = Literal["mean", "labels"]
Activation = Literal["softmax", "sigmoid"]

DISTRIBUTION = "ttach"
SIZE = 512
SCALES = (0.5, 1, 2)  # each once as it is and once mirrored
FLIPPED = [False, True] * len(SCALES)


def sides(stride: int, size: int = SIZE) -> list[int]:
    return [int(size * scale) // stride for scale in SCALES for _ in range(2)]


def inputs(seed: int, classes: int, stride: int, size: int = SIZE, images: int = 1) -> list[Tensor]:
    """What a network of that output stride says of images of ``size`` squared."""
    random = generator(seed)
    return [torch.randn(images, classes, side, side, generator=random) for side in sides(stride, size)]


def ours(
    logits: list[Tensor], output: Output, size: int = SIZE, activation: Activation = "softmax"
) -> Tensor:
    return wsss_fast.tta_merge(logits, (size, size), flipped=FLIPPED, activation=activation, output=output)


def require() -> Any:
    try:
        return importlib.import_module("ttach")
    except ModuleNotFoundError as error:
        raise LeftOut(
            f"{DISTRIBUTION} is not installed; pip install {DISTRIBUTION}, or '.[bench]' from this checkout"
        ) from error


def ttach(
    logits: list[Tensor], output: Output, size: int = SIZE, *, network_upsamples: bool = False
) -> Tensor:
    """ttach's merger. Where a network's stride is 1, ttach's own Scale takes its logits back to the image's
    size. Where it is larger, ttach leaves that to the network (``network_upsamples``), which then enlarges
    them to the size of its input, and Scale resamples a second time; or the logits are resampled once, to
    where they are to be, as ours are. All bilinear: ttach's default is the nearest neighbour.

    No image goes through its augmentation, which would only add to its time.
    """
    library = require()
    scale = library.Scale(list(SCALES), interpolation="bilinear", align_corners=False)
    flip = library.HorizontalFlip()
    once = not network_upsamples and logits[0].shape[-1] != sides(1, size)[0]
    transformers = [*library.Compose([flip])] * len(SCALES) if once else [*library.Compose([scale, flip])]
    merger = library.base.Merger("mean", len(logits))
    for transformer, maps, side in zip(transformers, logits, sides(1, size), strict=True):
        if network_upsamples:
            maps = F.interpolate(maps, (side, side), mode="bilinear", align_corners=False)
        maps = transformer.deaugment_mask(maps)
        if once:
            maps = library.functional.resize(maps, (size, size), "bilinear", False)
        merger.append(maps.softmax(1))
    return merger.result if output == "mean" else merger.result.argmax(1)


# For the fresh process that measures memory.
_TINY = 32


def our_call(classes: int, stride: int) -> Call:
    return Call(
        partial(ours, inputs(0, classes, stride, _TINY), "labels", _TINY),
        partial(ours, inputs(1, classes, stride), "labels"),
    )


def ttach_call(classes: int, stride: int) -> Call:
    return Call(
        partial(ttach, inputs(0, classes, stride, _TINY), "labels", _TINY),
        partial(ttach, inputs(1, classes, stride), "labels"),
    )
