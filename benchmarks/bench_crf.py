"""crf against its reference and against pydensecrf, each round on a different image.

    python -m pytest benchmarks/bench_crf.py --benchmark-group-by=group

One thread for all, as pydensecrf has no more: WSSS_FAST_BENCH_THREADS=2 gives ours and the reference two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral
from wsss_fast.reference.crf import crf as reference

HEIGHT, WIDTH = 375, 500
ROUNDS = 5

# classes, sxy, srgb
CASES = [(2, 50, 5), (4, 50, 5), (21, 50, 5), (21, 80, 13)]


def scene(seed: int) -> Tensor:
    """A picture with what decides the size of a photograph's lattice: a 1/f spectrum, and grain."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None, :]
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / WIDTH) ** 1.6
    shared = rng.normal(size=(HEIGHT, WIDTH))
    channels = []
    for _ in range(3):
        noise = 0.85 * shared + 0.4 * rng.normal(size=(HEIGHT, WIDTH))
        smooth = np.fft.irfft2(np.fft.rfft2(noise) * falloff, s=(HEIGHT, WIDTH))
        channels.append(125 + 55 * smooth / smooth.std() + rng.normal(size=(HEIGHT, WIDTH)) * 4)
    return torch.from_numpy(np.stack(channels).clip(0, 255).round().astype(np.uint8))


def inputs(classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, classes, (8, 10), generator=generator)
    labels = blocks.repeat_interleave(47, 0).repeat_interleave(50, 1)[:HEIGHT, :WIDTH]
    return scene(seed), wsss_fast.unary_from_labels(labels, classes)


def ours(image: Tensor, unary: Tensor, bilateral: Bilateral) -> Tensor:
    return wsss_fast.crf(image, unary, bilateral=bilateral)


def plain_torch(image: Tensor, unary: Tensor, bilateral: Bilateral) -> Tensor:
    return reference(image.unsqueeze(0), unary.unsqueeze(0), bilateral=bilateral)[0]


def pydensecrf(image: Tensor, unary: Tensor, bilateral: Bilateral) -> Tensor:
    dcrf = pytest.importorskip("pydensecrf.densecrf")
    model = dcrf.DenseCRF2D(image.shape[2], image.shape[1], unary.shape[0])
    model.setUnaryEnergy(unary.flatten(1).numpy())
    model.addPairwiseGaussian(sxy=3, compat=3)
    model.addPairwiseBilateral(
        sxy=bilateral.sxy,
        srgb=bilateral.srgb,
        rgbim=np.ascontiguousarray(image.permute(1, 2, 0).numpy()),
        compat=bilateral.compat,
    )
    return torch.from_numpy(np.array(model.inference(10))).reshape(unary.shape)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("WSSS_FAST_BENCH_THREADS", "1")))
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("run", [ours, pydensecrf, plain_torch])
@pytest.mark.parametrize(("classes", "sxy", "srgb"), CASES)
def test_crf(benchmark: Any, run: Callable[..., Tensor], classes: int, sxy: float, srgb: float) -> None:
    benchmark.group = f"crf {WIDTH}x{HEIGHT} C={classes} {sxy}/{srgb}"
    bilateral = Bilateral(sxy, srgb, 10)
    seeds = iter(range(ROUNDS))

    def setup() -> tuple[tuple[Tensor, Tensor, Bilateral], dict[str, Any]]:
        return (*inputs(classes, next(seeds)), bilateral), {}

    rounds = ROUNDS if run is not plain_torch else 1
    benchmark.pedantic(run, setup=setup, rounds=rounds)
