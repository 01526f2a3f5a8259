"""The random walk's inputs, and what it is compared with: sparse products of torch, and the dense matrix."""

from __future__ import annotations

import warnings
from functools import partial

import torch
import torch.nn.functional as F
from _memory import Call
from _setting import generator
from torch import Tensor

import wsss_fast
from wsss_fast.reference import random_walk as reference

HEIGHT, WIDTH = 94, 125
RADIUS, BETA, EXP_TIMES = 5, 10, 8
STEPS = 2**EXP_TIMES


def inputs(
    maps: int, seed: int, images: int | None = None, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> tuple[Tensor, Tensor]:
    """cam, and a boundary as a network draws it: bands along the outlines of regions, saturated inside them
    and almost 0 elsewhere. With a number of images, batched.

    Saturation costs time: the affinity of pixels with a boundary of 0.9999 between them is 1e-40, which
    has no normal float32, and processors are slow with those.
    """
    random = generator(seed)
    count = 1 if images is None else images
    regions = torch.randn(count, 1, 8, 11, generator=random)
    outlines = F.interpolate(regions, size, mode="bicubic", align_corners=False).abs()
    boundary = torch.sigmoid(9 - 24 * outlines)
    cam = torch.rand(count, maps, *size, generator=random)
    return (cam[0], boundary[0]) if images is None else (cam, boundary)


def noise(maps: int, seed: int) -> tuple[Tensor, Tensor]:
    """cam, and a boundary of white noise: no saturation, and nothing spreads far."""
    random = generator(seed)
    cam = torch.rand(maps, HEIGHT, WIDTH, generator=random)
    return cam, torch.rand(1, HEIGHT, WIDTH, generator=random) ** 2


def ours(cam: Tensor, boundary: Tensor) -> Tensor:
    return wsss_fast.random_walk(cam, boundary, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)


def transition(boundary: Tensor) -> Tensor:
    """The transposed transition matrix of a boundary [1,h,w] in CSR, so that maps are columns."""
    matrix = reference.affinity_matrix(boundary, RADIUS, BETA).coalesce()
    rows, columns = matrix.indices()
    degree = torch.zeros(matrix.shape[0]).index_add_(0, columns, matrix.values())
    transposed = torch.sparse_coo_tensor(
        torch.stack([columns, rows]),
        matrix.values() / degree[columns],
        matrix.shape,
        check_invariants=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return transposed.to_sparse_csr()


def seeds(cam: Tensor, boundary: Tensor) -> Tensor:
    """Maps as columns, [h*w,K]."""
    return (cam * (1 - boundary)).flatten(1).t().contiguous()


def sparse_steps(matrix: Tensor, maps: Tensor) -> Tensor:
    for _ in range(STEPS):
        maps = matrix @ maps
    return maps


def dense(cam: Tensor, boundary: Tensor) -> Tensor:
    return reference.random_walk(cam, boundary, RADIUS, BETA, EXP_TIMES)


# For the fresh process that measures memory.


def our_call(maps: int) -> Call:
    return Call(partial(ours, *inputs(maps, 0, size=(12, 16))), partial(ours, *inputs(maps, 1)))


def dense_call(maps: int) -> Call:
    return Call(partial(dense, *inputs(maps, 0, size=(12, 16))), partial(dense, *inputs(maps, 1)))


def sparse_call(maps: int) -> Call:
    """Products alone: the matrix counts as input."""
    cam, boundary = inputs(maps, 1)
    tiny_cam, tiny_boundary = inputs(maps, 0, size=(12, 16))
    return Call(
        partial(sparse_steps, transition(tiny_boundary), seeds(tiny_cam, tiny_boundary)),
        partial(sparse_steps, transition(boundary), seeds(cam, boundary)),
    )
