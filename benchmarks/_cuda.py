"""What the GPU benchmarks solve: batches of pictures with unaries like the CPU's, and the calls on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from _cuda_device import DEVICE
from _photos import HEIGHT, WIDTH
from _problem import problem
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Gaussian, PermutohedralLattice

PIXELS = HEIGHT * WIDTH
ITERATIONS = 10
SMOOTHNESS, APPEARANCE = 3.0, 10.0  # compats
GAUSSIAN = Gaussian(3, SMOOTHNESS)
FINE = Bilateral(50, 5, APPEARANCE)
COARSE = Bilateral(80, 13, APPEARANCE)


@dataclass(frozen=True)
class Batch:
    image: Tensor  # uint8 [N,3,H,W]
    unary: Tensor  # float32 [N,C,H,W]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.nbytes + self.unary.nbytes


def batch(images: Sequence[Tensor], count: int, classes: int, seed: int) -> Batch:
    """``count`` of the images in turn, from the one of number ``seed`` on, in memory of their own."""
    chosen = [images[(seed + k) % len(images)] for k in range(count)]
    solved = [problem(image, classes, seed + k) for k, image in enumerate(chosen)]
    return Batch(
        torch.stack([p.image for p in solved]).to(DEVICE), torch.cat([p.unary for p in solved]).to(DEVICE)
    )


def batch_size(count: int, classes: int) -> int:
    """Bytes of a :class:`Batch`, without making one."""
    return count * PIXELS * (3 + 4 * classes)


def crf(
    of: Batch, bilateral: Bilateral, normalization: str = "symmetric", capacity: int | None = None
) -> Tensor:
    """With a capacity, without the read-back of how many vertices there are."""
    return wsss_fast.crf(
        of.image,
        of.unary,
        iterations=ITERATIONS,
        gaussian=GAUSSIAN,
        bilateral=bilateral,
        normalization=normalization,
        capacity=capacity,
    )


def position_features(count: int, scale: float) -> Tensor:
    """[N,2,H,W]"""
    y, x = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    return (torch.stack([x, y]) / scale).expand(count, -1, -1, -1).contiguous()


def colour_features(image: Tensor, bilateral: Bilateral) -> Tensor:
    """[N,5,H,W] of a batch of images, with its equal scales of x and y and of the channels."""
    sxy, srgb = bilateral.scales[0], bilateral.scales[2]
    position = position_features(len(image), sxy).to(image.device)
    return torch.cat([position, image.float() / srgb], 1)


def vertices(images: Sequence[Tensor], bilateral: Bilateral) -> list[int]:
    """Of the bilateral lattice of each image, built on the CPU."""
    return [
        PermutohedralLattice(colour_features(image.unsqueeze(0), bilateral)[0]).vertices[0]
        for image in images
    ]
