"""Our side of the CRF benchmarks, held to the peer's parameters: Gaussian 3/3, 10 iterations."""

from __future__ import annotations

import torch
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Gaussian, PermutohedralLattice


def crf(image: Tensor, unary: Tensor, bilateral: Bilateral) -> Tensor:
    """Q like ``unary`` [C,H,W] or [M,C,H,W], of an image [3,H,W]."""
    return wsss_fast.crf(image, unary, iterations=10, gaussian=Gaussian(3, 3), bilateral=bilateral)


def construct_ours(image: Tensor, sxy: float, srgb: float) -> list[Tensor]:
    """Both lattices of an image [3,H,W] and their normalisation.

    The peer's calls compute features from the image, build the lattice and filter ones on it, all in one:
    so all of it is done and counted here too.
    """
    _, height, width = image.shape
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    position = torch.stack([x, y])
    norms = []
    for features in (position / 3, torch.cat([position / sxy, image.float() / srgb])):
        ones = torch.ones(1, height, width)
        norms.append((PermutohedralLattice(features).filter(ones) + 1e-20).rsqrt())
    return norms
