"""fuse_cams: inputs, ours, and the ways it is compared with."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from _memory import Call
from _setting import generator
from torch import Tensor

import wsss_fast
from wsss_fast.reference import cam_fusion as reference

SIZE = (375, 500)
# Maps at stride 16 of the image at scales 1, 0.5, 1.5 and 2; of each, the second is of the mirrored image.
SIZES = [(24, 32), (12, 16), (36, 47), (47, 63)]
FLIPPED = [False, True] * len(SIZES)
CLASSES, PRESENT = 20, 2


def inputs(
    seed: int, classes: int = CLASSES, present: int = PRESENT, images: int = 1
) -> tuple[list[Tensor], Tensor]:
    """Maps [N,K,h,w], and which classes are there."""
    random = generator(seed)
    cams = [torch.randn(images, classes, h, w, generator=random) for h, w in SIZES for _ in range(2)]
    there = torch.zeros(images, classes, dtype=torch.bool)
    for row in there:
        row[torch.randperm(classes, generator=random)[:present]] = True
    return cams, there


def ours(cams: list[Tensor], classes: Tensor, size: tuple[int, int] = SIZE) -> list[Tensor]:
    return cast("list[Tensor]", wsss_fast.fuse_cams(cams, size, flipped=FLIPPED, classes=classes))


def ours_of_all(cams: list[Tensor]) -> Tensor:
    """All classes."""
    return wsss_fast.fuse_cams(cams, SIZE, flipped=FLIPPED)


def established(cams: list[Tensor], classes: Tensor) -> list[Tensor]:
    """Resample all classes, stack, sum, then choose."""
    return cast("list[Tensor]", reference.fuse_cams(cams, SIZE, flipped=FLIPPED, classes=classes))


def established_of_all(cams: list[Tensor]) -> Tensor:
    return cast("Tensor", reference.fuse_cams(cams, SIZE, flipped=FLIPPED))


def choosing_first(cams: list[Tensor], classes: Tensor) -> list[Tensor]:
    """Torch at its best: only what is present, and of that as few passes as it can do."""
    fused = []
    for image, present in enumerate(classes):
        chosen = present.nonzero().squeeze(1)
        fused.append(adding_first([maps[image, chosen].unsqueeze(0) for maps in cams])[0])
    return fused


def adding_first(cams: list[Tensor]) -> Tensor:
    """All classes: both orientations of a scale are added before they are resampled (which is linear), and
    everything after that is in place."""
    total: Tensor | None = None
    for straight, mirrored in zip(cams[::2], cams[1::2], strict=True):
        maps = straight + mirrored.flip(-1)
        larger = F.interpolate(maps, SIZE, mode="bilinear", align_corners=False)
        total = larger if total is None else total.add_(larger)
    assert total is not None
    maps = total.relu_()
    return maps.div_(maps.amax((-2, -1), keepdim=True) + 1e-5)


def our_call() -> Call:
    """For the fresh process that measures memory."""
    return Call(partial(ours, *inputs(0), size=(16, 24)), partial(ours, *inputs(1)))
