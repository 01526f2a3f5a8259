"""fuse_cams against its bars: 20 classes of which 2 are present, 4 scales and flip, to 375 x 500."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import _fusion
import _memory
from _compare import check_same
from _memory import MEGABYTE
from _setting import OTHERS, THREADS, Case, Setting, same_bits
from _table import Row, at_most, beside
from _timing import SETTLED, Way, in_turns

NAME = f"fuse_cams, {_fusion.PRESENT} of {_fusion.CLASSES} classes"
OFTEN = 6  # times as many repetitions as of what takes longer than milliseconds


def speed(setting: Setting) -> Iterator[Row]:
    functions = (_fusion.established, _fusion.choosing_first, _fusion.ours)

    def ways(seed: int) -> list[Way]:
        inputs = _fusion.inputs(seed)
        if seed == 0:
            established, first, ours = (f(*inputs) for f in functions)
            check_same("fuse_cams and the established order", ours, established, 1e-5)
            check_same("fuse_cams and choosing first", ours, first, 1e-5)
        others = _fusion.inputs(seed + OTHERS)
        return [Way(partial(f, *inputs), THREADS, rehearse=partial(f, *others)) for f in functions]

    *rivals, ours = in_turns(setting.rounds(ways, OFTEN), SETTLED)
    bars = {"established order": 20, "torch, choosing first": 1.5}
    yield from beside(NAME, bars, rivals, ours, THREADS)


def memory(setting: Setting) -> Iterator[Row]:
    for count in (1, 2):
        peak = _memory.peak(_fusion.our_call, count) / MEGABYTE
        yield Row(f"{NAME}: peak memory", [peak], at_most(4), "MB", threads=count)


def bits(setting: Setting) -> Iterator[Row]:
    inputs = _fusion.inputs(0)
    yield same_bits(NAME, lambda: _fusion.ours(*inputs))


CASES: dict[str, Case] = {"fusion": speed, "fusion-memory": memory, "fusion-bits": bits}
