"""What each op takes beside the least this machine could take for it: bytes over the bandwidth of a copy, or
operations over the arithmetic peak, whichever is more.

    make roofline
    PYTHONPATH=. python benchmarks/roofline.py --only walk

The counts are formulas in _work.py, the peaks are measured first (_peaks.py).
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import _command
import _fusion
import _machine
import _path
import _peaks
import _table
import _tta
import _walk
import _work
from _machine import Watch
from _peaks import NoCompilerError, Peaks
from _setting import OTHERS, Setting
from _table import Bound, at_most
from _timing import SETTLED, Way, in_turns, threads
from _work import Work

COUNTS = (1, 2)
BAR = 1.2
OFTEN = 3  # times as many repetitions as asked for: most of these take milliseconds

_TITLES = (
    "case",
    "threads",
    "bytes",
    "streamed",
    "operations",
    "memory",
    "arithmetic",
    "measured",
    "new pages",
    "ratio",
    "bar",
    "result",
)
_WIDTHS = (44, 7, 9, 9, 10, 9, 10, 10, 9, 8, 8, 6)


@dataclass(frozen=True)
class FloorRow:
    case: str
    threads: int
    work: Work
    memory: float  # ms
    arithmetic: float  # ms
    measured: Sequence[float]  # ms
    new_pages: int  # bytes that the system handed out during a call
    bar: Bound | None

    @property
    def floor(self) -> float:
        return max(self.memory, self.arithmetic)

    @property
    def ratio(self) -> float:
        return statistics.median(self.measured) / self.floor

    @property
    def met(self) -> bool:
        return self.bar is not None and self.bar.holds(self.ratio)

    @property
    def result(self) -> str:
        if self.bar is None:
            return ""
        return "met" if self.met else "missed"

    def cells(self) -> tuple[str, ...]:
        return (
            self.case,
            str(self.threads),
            _mega(self.work.bytes, "MB"),
            _mega(self.work.streamed, "MB") if self.work.streamed else "",
            _mega(self.work.operations, "M"),
            _ms(self.memory),
            _ms(self.arithmetic),
            _ms(statistics.median(self.measured)),
            _mega(self.new_pages, "MB"),
            f"{self.ratio:.2f} x",
            "" if self.bar is None else f"{self.bar.sign} {self.bar.value:g} x",
            self.result,
        )

    def record(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "threads": self.threads,
            **dataclasses.asdict(self.work),
            "memory_ms": self.memory,
            "arithmetic_ms": self.arithmetic,
            "floor_ms": self.floor,
            "measured_ms": list(self.measured),
            "new_pages_bytes": self.new_pages,
            "ratio": self.ratio,
            "bar": None if self.bar is None else f"{self.bar.sign} {self.bar.value:g}",
            "result": self.result,
        }


def _mega(count: float, unit: str) -> str:
    return f"{count / 1e6:.{1 if count >= 1e7 else 3}f} {unit}"


def _ms(value: float) -> str:
    return f"{value:.{1 if value >= 100 else 3}f} ms"


Inputs = Callable[[int], Callable[[], object]]  # seed -> the call to measure


def rows(
    setting: Setting,
    peaks: Sequence[Peaks],
    name: str,
    make: Inputs,
    work: Callable[[int], Work],
    bar: Bound | None = None,
    often: int = OFTEN,
) -> Iterator[FloorRow]:
    """``work`` is for a number of threads."""

    def ways(seed: int) -> list[Way]:
        run, rehearse = make(seed), make(seed + OTHERS)
        return [Way(run, p.threads, rehearse) for p in peaks]

    for p, measured in zip(peaks, in_turns(setting.rounds(ways, often), SETTLED), strict=True):
        todo = work(p.threads)
        with threads(p.threads):
            pages = _new_pages(make(0))
        row = FloorRow(
            name, p.threads, todo, todo.memory_ms(p, p.cache), todo.arithmetic_ms(p), measured, pages, bar
        )
        yield row
        if todo.streamed:
            slower = todo.memory_ms(p, p.memory)
            yield dataclasses.replace(row, case=f"{name}, streamed at memory's pace", memory=slower)


def _new_pages(run: Callable[[], object]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    result = run()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del result
    return faults * resource.getpagesize()


def walk(setting: Setting, peaks: Sequence[Peaks]) -> Iterator[FloorRow]:
    def call(maps: int, seed: int) -> Callable[[], object]:
        return partial(_walk.ours, *_walk.inputs(maps, seed))

    def work(maps: int, threads: int) -> Work:
        return _work.random_walk(maps, threads, _peaks.core_cache())

    for maps, bar in ((1, at_most(BAR)), (4, None)):
        name = f"random_walk, K={maps}"
        yield from rows(setting, peaks, name, partial(call, maps), partial(work, maps), bar)


def path(setting: Setting, peaks: Sequence[Peaks]) -> Iterator[FloorRow]:
    def call(seed: int) -> Callable[[], object]:
        return partial(_path.forward_backward, _path.ours, *_path.inputs(seed))

    name = f"path_affinity, batch {_path.BATCH}, and backward"
    yield from rows(setting, peaks, name, call, lambda threads: _work.path_affinity(), at_most(BAR))


def fusion(setting: Setting, peaks: Sequence[Peaks]) -> Iterator[FloorRow]:
    def call(classes: int, present: int, seed: int) -> Callable[[], object]:
        return partial(_fusion.ours, *_fusion.inputs(seed, classes, present))

    def work(present: int, threads: int) -> Work:
        return _work.fuse_cams(present)

    for classes, present, bar in ((1, 1, at_most(BAR)), (_fusion.CLASSES, _fusion.PRESENT, None)):
        name = f"fuse_cams, {present} of {classes} classes"
        both = partial(call, classes, present), partial(work, present)
        yield from rows(setting, peaks, name, *both, bar, often=2 * OFTEN)


def tta(setting: Setting, peaks: Sequence[Peaks]) -> Iterator[FloorRow]:
    def call(classes: int, stride: int, output: _tta.Output, seed: int) -> Callable[[], object]:
        activation: _tta.Activation = "sigmoid" if classes == 1 else "softmax"
        return partial(_tta.ours, _tta.inputs(seed, classes, stride), output, activation=activation)

    def work(classes: int, stride: int, output: _tta.Output, threads: int) -> Work:
        return _work.tta_merge(classes, stride, output)

    cases: list[tuple[int, int, _tta.Output]] = [
        (1, 1, "labels"),
        (1, 4, "labels"),
        (1, 4, "mean"),
        (21, 1, "labels"),
        (21, 4, "labels"),
        (21, 4, "mean"),
        (201, 4, "labels"),
    ]
    for case in cases:
        classes, stride, output = case
        name = f"tta_merge, C={classes}, stride {stride}, {output}"
        one = classes == 1
        bar, often = (at_most(BAR), OFTEN) if one else (None, 1)
        yield from rows(setting, peaks, name, partial(call, *case), partial(work, *case), bar, often)


CASES = {"walk": walk, "path": path, "fusion": fusion, "tta": tta}


def main() -> None:
    args = _command.parser(
        __doc__.split("\n\n")[0], CASES, "calls to measure, more where they take milliseconds"
    ).parse_args()
    watch = Watch()
    try:
        peaks = _peaks.measure(COUNTS)
    except NoCompilerError as error:
        sys.exit(f"error: {error}")
    disturbance = {"peaks": watch.others()}
    machine = _machine.describe()
    notes = describe(machine, peaks)
    print("\n\n".join(notes), end="\n\n", flush=True)

    setting = Setting(args.repeats, _command.SHARED)
    line = partial(_table.line, widths=_WIDTHS)
    header = _table.header(_TITLES, _WIDTHS)
    print(header, flush=True)
    cases = {name: partial(CASES[name], setting, peaks) for name in args.only or CASES}
    measured = _command.measure(cases, line, disturbance)
    about = {"machine": machine, "peaks": [dataclasses.asdict(p) for p in peaks]}
    table = [header, *(line(row.cells()) for row in measured.rows)]
    _command.publish(args, "roofline", measured, notes, about, table)


def describe(machine: dict[str, Any], peaks: Sequence[Peaks]) -> list[str]:
    bandwidths = "; ".join(
        f"{p.threads} {'thread' if p.threads == 1 else 'threads'}: {p.memory / 1e9:.1f} GB/s of memory, "
        f"{p.cache / 1e9:.1f} GB/s in the last cache"
        for p in peaks
    )
    arithmetic = "; ".join(
        f"{p.threads}: {p.multiplications / 1e9:.1f}, {p.additions / 1e9:.1f}, {p.both / 1e9:.1f}"
        for p in peaks
    )
    fresh = ", ".join(f"{p.fresh / 1e9:.1f}" for p in peaks)
    return [
        _machine.headline(machine),
        f"Peaks, each the best of several. Copies, read and written bytes both counted: {bandwidths}. In "
        "registers, 10^9 operations on floats a second, multiplications, additions, and as many of both (no "
        f"fused ones), by threads: {arithmetic}.",
        "The floor is the larger of two times. Memory: the bytes of the inputs and outputs at the bandwidth "
        "of memory, and what is streamed again and again (the walk's weights, every step, where they do not "
        f"fit the {_peaks.core_cache() / 2**20:g} MiB that a core has) at that of the last cache; a row of "
        "its own has it at the bandwidth of memory, too. Arithmetic: the operations, where one is an "
        "addition, a multiplication, a maximum or a comparison of one value and an exponential is 20. The "
        "ratio is what was measured (median, each call after one on other inputs) over the floor. Counts are "
        "lower bounds: see benchmarks/_work.py.",
        f"New pages is memory that the system handed out during a call. It writes zeros there first: {fresh} "
        "GB/s by threads, far from a copy's bandwidth. That time is in what was measured and not in the "
        "floor.",
        "The dense CRF has no row: most of its traffic is gathers from lattices, whose sizes the picture "
        "decides and which lie in the last cache, so bytes over bandwidth would be no floor worth the name. "
        "Nor has the loss: the labels decide how many pairs of pixels take part.",
    ]


if __name__ == "__main__":
    main()
