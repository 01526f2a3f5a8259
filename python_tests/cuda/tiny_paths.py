"""The part of tiny_inputs.py that is about paths: their affinities, and the training loss on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from tiny_case import Case
from torch import Tensor

from wsss_fast import path_affinity
from wsss_fast.nn import AffinityDisplacementLoss

# Radii with the boundary in shared memory and read from where it lies, in single and in double precision; of
# the gradient with its sums in less of shared memory, in more, and in none.
AFFINITIES = [
    (2, torch.float32),
    (5, torch.float32),
    (12, torch.float32),
    (32, torch.float32),
    (5, torch.float64),
    (16, torch.float64),
]
# The same of the loss, whose backward pass has less room.
LOSSES = [
    (2, torch.float32),
    (5, torch.float32),
    (17, torch.float32),
    (5, torch.float64),
    (13, torch.float64),
]


def gradient_of_affinity(boundary: Tensor, radius: int) -> Tensor:
    given = boundary.clone().requires_grad_()
    path_affinity(given, radius).square().sum().backward()
    assert given.grad is not None
    return given.grad


def loss(logits: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> list[Tensor]:
    given = [logits.clone().requires_grad_(), displacement.clone().requires_grad_()]
    losses = AffinityDisplacementLoss(radius)(*given, labels)
    losses.total.backward()
    return [
        *(part.detach() for part in losses),
        *(tensor.grad for tensor in given if tensor.grad is not None),
    ]


def cases() -> Iterator[Case]:
    for radius, dtype in AFFINITIES:
        for images in (1, 3):
            name = f"affinity of {images} radius={radius} {dtype}"
            boundary = torch.rand(images, 1, radius + 2, 2 * radius + 3, dtype=dtype)
            yield name, partial(path_affinity, radius=radius), [boundary]
            yield f"gradient of {name}", partial(gradient_of_affinity, radius=radius), [boundary]
    tall = torch.rand(1, 1, 40, 44)
    yield "affinity of several tiles", partial(path_affinity, radius=3), [tall]
    yield "gradient of affinity of several tiles", partial(gradient_of_affinity, radius=3), [tall]
    for radius, dtype in LOSSES:
        for h, w in ((radius, 2 * radius - 1), (radius + 9, 2 * radius + 12)):
            labels = torch.tensor([0, 0, 1, 7, 255])[torch.randint(5, (2, h, w))]
            maps = torch.randn(2, 3, h, w, dtype=dtype)
            given = [maps[:, :1], maps[:, 1:], labels.to(torch.uint8)]
            yield f"loss {h}x{w} radius={radius} {dtype}", partial(loss, radius=radius), given
    for label_dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        labels = torch.randint(3, (1, 40, 44)).to(label_dtype)
        given = [torch.randn(1, 1, 40, 44), torch.randn(1, 2, 40, 44), labels]
        yield f"loss of labels in {label_dtype}", partial(loss, radius=3), given
