"""Our side of the CRF benchmarks, held to the peer's parameters: Gaussian 3/3, 10 iterations."""

from __future__ import annotations

from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Gaussian


def crf(image: Tensor, unary: Tensor, bilateral: Bilateral) -> Tensor:
    """Q like ``unary`` [C,H,W] or [M,C,H,W], of an image [3,H,W]."""
    return wsss_fast.crf(image, unary, iterations=10, gaussian=Gaussian(3, 3), bilateral=bilateral)


def construct_ours(image: Tensor, unary: Tensor, sxy: float, srgb: float) -> Tensor:
    """Both lattices of an image [3,H,W] and their normalisation, and a little more.

    The peer's calls compute features from the image, build the lattice and filter ones on it, all in one.
    Ours happen inside ``crf``: without an iteration and for a single class, for which ``unary`` is [1,H,W],
    it does them all and adds as little as can be, the softmax of the unary.
    """
    return wsss_fast.crf(
        image, unary, iterations=0, gaussian=Gaussian(3, 3), bilateral=Bilateral(sxy, srgb, 10)
    )
