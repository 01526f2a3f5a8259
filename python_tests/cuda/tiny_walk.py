"""The random walk's part of tiny_inputs.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from tiny_case import Case
from torch import Tensor

from wsss_fast import random_walk

# The last has 30 tiles of 8 rows, more than eight for each of the host's three blocks: a launch for each
# step there. On a GPU the steps of all of these are one launch.
SIZES = [(1, 1), (1, 9), (9, 1), (9, 34), (240, 3)]


def maps(n: int, k: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.rand(n, k, h, w, dtype=dtype), torch.rand(n, 1, h, w, dtype=dtype) ** 4]


def walk(cam: Tensor, boundary: Tensor, **options: Any) -> Tensor:
    return random_walk(cam, boundary, **{"steps": 3, **options})


def gradients(cam: Tensor, boundary: Tensor, **options: Any) -> list[Tensor]:
    inputs = [cam.clone().requires_grad_(), boundary.clone().requires_grad_()]
    walk(*inputs, **options).square().sum().backward()
    return [tensor.grad for tensor in inputs if tensor.grad is not None]


def gradient_of_cam(cam: Tensor, boundary: Tensor) -> Tensor:
    given = cam.clone().requires_grad_()
    walk(given, boundary).square().sum().backward()
    assert given.grad is not None
    return given.grad


def walks_of_a_list(*tensors: Tensor) -> list[Tensor]:
    return random_walk(tensors[::2], tensors[1::2], steps=3)


def cases() -> Iterator[Case]:
    for h, w in SIZES:
        for k in (1, 2, 4, 5):
            yield f"walk {h}x{w} K={k}", walk, maps(2, k, h, w)
        yield f"gradients of a walk {h}x{w}", gradients, maps(2, 3, h, w)
    for radius in (2, 7, 15):
        for dtype in (torch.float32, torch.float64):
            given = maps(1, 4, 9, 14, dtype)
            yield f"walk radius={radius} {dtype}", partial(walk, radius=radius), given
            yield f"gradients of a walk radius={radius} {dtype}", partial(gradients, radius=radius), given
    yield "walk step by step", partial(walk, method="power"), maps(2, 3, 9, 14)
    yield "walk without a step", partial(walk, steps=0), maps(2, 3, 9, 14)
    yield "walk beta=2.5", partial(walk, beta=2.5), maps(2, 3, 9, 14)
    yield "gradient of a walk's cam", gradient_of_cam, maps(2, 3, 9, 14)
    yield "walks of a list", walks_of_a_list, [*maps(1, 2, 9, 14), *maps(2, 4, 5, 6), *maps(1, 3, 4, 40)]
