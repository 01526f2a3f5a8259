"""The CAM fusion's part of tiny_inputs.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from tiny_case import Case, half
from torch import Tensor

import wsss_fast


def fused(*cams: Tensor, classes: list[list[bool]] | None = None, **options: Any) -> list[Tensor]:
    mask = None if classes is None else torch.tensor(classes)
    flipped = [i % 2 == 1 for i in range(len(cams))]
    results = wsss_fast.fuse_cams(
        cams, [(19, 150), (3, 1)], crop=[(17, 140), None], flipped=flipped, classes=mask, **options
    )
    return results if mask is None else [tensor for of_size in results for tensor in of_size]


def fused_of_halves(*cams: Tensor) -> list[Tensor]:
    return [tensor.float() for tensor in fused(*half(cams))]


def cases() -> Iterator[Case]:
    cams = [torch.rand(2, 3, h, w) - 0.3 for h, w in ((4, 5), (4, 5), (9, 2), (1, 1))]
    for relu, normalize in (("sum", "class"), ("each", "image"), ("none", "none")):
        yield f"fuse_cams {relu} {normalize}", partial(fused, relu=relu, normalize=normalize), cams
    present = [[True, False, True], [False, False, False]]
    yield "fuse_cams of present classes", partial(fused, classes=present), cams
    yield "fuse_cams float64", fused, [c.double() for c in cams]
    yield "fuse_cams float16", fused_of_halves, cams
    yield "fuse_cams of many maps", fused, [torch.rand(2, 60, 3, 2)]
