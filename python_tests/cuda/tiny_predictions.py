"""The part of tiny_inputs.py that merges predictions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from tiny_case import Case, half
from torch import Tensor

import wsss_fast


def merged(*logits: Tensor, **options: Any) -> Tensor:
    flipped = [i % 2 == 1 for i in range(len(logits))]
    return wsss_fast.tta_merge(logits, (7, 9), flipped=flipped, **options)


def merged_of_halves(*logits: Tensor) -> Tensor:
    return merged(*half(logits)).float()


def cases() -> Iterator[Case]:
    # Held by a thread, by several, and by none.
    for classes in (1, 8, 21, 50, 201, 289):
        logits = [torch.randn(2, classes, h, w) * 4 for h, w in ((4, 5), (4, 5), (9, 2), (7, 9))]
        for output in ("mean", "labels"):
            yield f"tta_merge C={classes} {output}", partial(merged, output=output), logits
    small = [torch.randn(2, 11, h, w) for h, w in ((4, 5), (9, 2))]
    for activation in ("sigmoid", "none"):
        for output in ("mean", "labels"):
            call = partial(merged, activation=activation, output=output)
            yield f"tta_merge {activation} {output}", call, small
    yield "tta_merge float64", merged, [z.double() for z in small]
    yield "tta_merge float16", merged_of_halves, small
