"""crf, also on a GPU where there is one, against its reference and against pydensecrf, each round on a
different image.

    python -m pytest benchmarks/bench_crf.py --benchmark-group-by=group

One thread for all, as pydensecrf has no more: WSSS_FAST_BENCH_THREADS=2 gives ours and the reference two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import _ours
import _peer
import numpy as np
import pytest
import torch
from _photos import HEIGHT, WIDTH, Scene
from _problem import Problem, problem
from torch import Tensor

from wsss_fast import Bilateral
from wsss_fast._info import cuda_kernels
from wsss_fast.reference.crf import crf as reference

ROUNDS = 5

# classes, sxy, srgb
CASES = [(2, 50, 5), (4, 50, 5), (21, 50, 5), (21, 80, 13)]


def ours(p: Problem, bilateral: Bilateral) -> Tensor:
    return _ours.crf(p.image, p.unary[0], bilateral)


def ours_on_cuda(p: Problem, bilateral: Bilateral) -> Tensor:
    """One image, which is there already. Batches are in cuda_table.py."""
    q = _ours.crf(p.image, p.unary[0], bilateral)
    torch.cuda.synchronize()
    return q


def plain_torch(p: Problem, bilateral: Bilateral) -> Tensor:
    return reference(p.image.unsqueeze(0), p.unary, bilateral=bilateral)[0]


def pydensecrf(p: Problem, bilateral: Bilateral) -> np.ndarray:
    return _peer.crf(p.peer_image, p.peer_unaries[0], bilateral)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("WSSS_FAST_BENCH_THREADS", "1")))
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("run", [ours, ours_on_cuda, pydensecrf, plain_torch])
@pytest.mark.parametrize(("classes", "sxy", "srgb"), CASES)
def test_crf(benchmark: Any, run: Callable[..., Any], classes: int, sxy: float, srgb: float) -> None:
    if run is pydensecrf:
        pytest.importorskip("pydensecrf.densecrf")
    if run is ours_on_cuda and not (torch.cuda.is_available() and cuda_kernels() == "device"):
        pytest.skip("needs a GPU and a build with CUDA kernels")
    benchmark.group = f"crf {WIDTH}x{HEIGHT} C={classes} {sxy}/{srgb}"
    bilateral = Bilateral(sxy, srgb, 10)
    seeds = iter(range(ROUNDS))

    def setup() -> tuple[tuple[Problem, Bilateral], dict[str, Any]]:
        seed = next(seeds)
        p = problem(Scene(seed).at(HEIGHT, WIDTH), classes, seed)
        if run is ours_on_cuda:
            p = replace(p, image=p.image.cuda(), unary=p.unary.cuda())
        return (p, bilateral), {}

    rounds = ROUNDS if run is not plain_torch else 1
    if run is ours_on_cuda:
        arguments, _ = setup()
        seeds = iter(range(ROUNDS))
        run(*arguments)  # the first call starts CUDA
    benchmark.pedantic(run, setup=setup, rounds=rounds)
