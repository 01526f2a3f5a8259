"""random_walk against its bars: 94 x 125, radius 5, beta 10, 256 steps."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import _memory
import _walk
import numpy as np
import torch
from _compare import check_same, relative_error
from _memory import MEGABYTE
from _setting import THREADS, Case, Setting, same_bits
from _table import LeftOut, Row, at_least, at_most, ratios
from _timing import SETTLED, Way, in_turns
from torch import Tensor

import wsss_fast

SPARSE = "sparse products"
DENSE = "dense_random_walk"  # its place in a result file
Inputs = Callable[[int, int], tuple[Tensor, Tensor]]  # number of maps and seed -> cam and boundary
MAPS = 4  # the number that the bars are about


def speed(setting: Setting) -> Iterator[Row]:
    """Ours from boundary to result; of the rival the products alone, with its matrix built beforehand."""
    for name, maps, make in (
        ("K=1", 1, _walk.inputs),
        ("K=2", 2, _walk.inputs),
        ("K=4", MAPS, _walk.inputs),
        ("K=4, boundary of noise", MAPS, _walk.noise),
    ):

        def ways(seed: int, maps: int = maps, make: Inputs = make) -> list[Way]:
            cam, boundary = make(maps, seed)
            matrix, columns = _walk.transition(boundary), _walk.seeds(cam, boundary)
            if seed == 0:
                expected = _walk.sparse_steps(matrix, columns).t().reshape(cam.shape)
                # The products in float32 are off by 3e-4 themselves.
                check_same("random_walk and sparse products", [_walk.ours(cam, boundary)], [expected], 1e-3)
            return [
                Way(partial(_walk.sparse_steps, matrix, columns), THREADS),
                Way(partial(_walk.ours, cam, boundary), THREADS),
                Way(partial(_walk.transition, boundary), THREADS),
            ]

        sparse, ours, matrix = in_turns(setting.rounds(ways), SETTLED)
        judged = name == f"K={MAPS}"
        yield Row(
            f"random_walk, {name}",
            ratios(sparse, ours),
            at_least(12) if judged else None,
            aim=at_least(12),
            threads=THREADS,
            against=SPARSE,
            theirs=sparse,
            ours=ours,
        )
        if judged:
            yield Row(
                f"random_walk, {name}: to the rival's matrix alone",
                ratios(matrix, ours),
                None,
                threads=THREADS,
                against="building the matrix",
                theirs=matrix,
                ours=ours,
            )


def dense(setting: Setting) -> Iterator[Row]:
    """Minutes: measured when asked for, and otherwise what a former run found."""
    if setting.dense:
        call = _memory.first_call(partial(_walk.dense_call, MAPS), THREADS)
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        setting.about[DENSE] = {"milliseconds": call.milliseconds, "peak_bytes": call.peak, "date": today}
    elif DENSE in setting.former:
        setting.about[DENSE] = setting.former[DENSE]
    else:
        raise LeftOut("no former run has measured the dense random walk here; --dense does, in minutes")
    theirs = setting.about[DENSE]

    def ways(seed: int) -> list[Way]:
        return [Way(partial(_walk.ours, *_walk.inputs(MAPS, seed)), THREADS)]

    (ours,) = in_turns(setting.rounds(ways), SETTLED)
    peak = _memory.peak(partial(_walk.our_call, MAPS), THREADS)
    against = f"dense, {theirs['date']}:"
    yield Row(
        f"random_walk, K={MAPS}: to the dense matrix",
        [theirs["milliseconds"] / statistics.median(ours)],
        None,
        threads=THREADS,
        against=against,
        theirs=[theirs["milliseconds"]],
        ours=ours,
    )
    yield Row(
        f"random_walk, K={MAPS}: memory to the dense matrix",
        [theirs["peak_bytes"] / peak],
        None,
        threads=THREADS,
        against=against,
        theirs=[theirs["peak_bytes"] / MEGABYTE],
        ours=[peak / MEGABYTE],
        unit="MB",
    )


def memory(setting: Setting) -> Iterator[Row]:
    sparse = _memory.peak(partial(_walk.sparse_call, MAPS), THREADS) / MEGABYTE
    for count in (1, 2):
        ours = _memory.peak(partial(_walk.our_call, MAPS), count) / MEGABYTE
        yield Row(
            f"random_walk, K={MAPS}: peak memory",
            [ours],
            at_most(10),
            "MB",
            threads=count,
            against=SPARSE,
            theirs=[sparse],
            unit="MB",
        )


def batch(setting: Setting) -> Iterator[Row]:
    images = 8

    def ways(seed: int) -> list[Way]:
        return [Way(partial(_walk.ours, *_walk.inputs(MAPS, seed, count)), THREADS) for count in (1, images)]

    one, many = in_turns(setting.rounds(ways), SETTLED)
    yield Row(
        f"random_walk, K={MAPS}: batch of {images}",
        ratios(many, one),
        at_most(images),
        threads=THREADS,
        against="one image",
        theirs=one,
        ours=many,
    )


def accuracy(setting: Setting) -> Iterator[Row]:
    """Against dense matrix powers in float64; beside it what the same in float32 is off by."""
    yield same_bits(f"random_walk, K={MAPS}", lambda: [_walk.ours(*_walk.inputs(MAPS, 0))])
    paths = sorted((setting.shared / "golden").glob("random_walk_*.npz"))
    if not paths:
        raise LeftOut(f"no random_walk_*.npz in {setting.shared / 'golden'} (set WSSS_FAST_SHARED)")
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            cam, boundary, exact, in_float32 = (
                torch.from_numpy(data[key]) for key in ("cam", "boundary", "out_float64", "out_float32_dense")
            )
        yield Row(
            f"{path.stem}: relative error",
            [relative_error(wsss_fast.random_walk(cam, boundary), exact)],
            at_most(1e-4),
            "small",
            worst=True,
            against="float32 dense, its own",
            theirs=[relative_error(in_float32, exact)],
            unit="",
        )


CASES: dict[str, Case] = {
    "walk": speed,
    "walk-dense": dense,
    "walk-batch": batch,
    "walk-memory": memory,
    "walk-accuracy": accuracy,
}
