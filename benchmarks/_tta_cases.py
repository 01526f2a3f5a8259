"""tta_merge against its bars: 6 predictions (scales 0.5, 1 and 2, each mirrored too) to 512 x 512."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import _memory
import _tta
from _compare import check_same
from _memory import MEGABYTE
from _setting import THREADS, Case, Setting, same_bits
from _table import Row, at_least, at_most, ratios
from _timing import SETTLED, Way, in_turns

BARS = {21: 6, 201: 8}  # by the number of classes
STRIDES = (1, 4)


def name(classes: int, stride: int, output: str) -> str:
    return f"tta_merge, C={classes}, stride {stride}, {output}"


def speed(classes: int) -> Case:
    def rows(setting: Setting, stride: int) -> Iterator[Row]:
        outputs: tuple[_tta.Output, ...] = ("labels", "mean")

        def ways(seed: int) -> list[Way]:
            logits = _tta.inputs(seed, classes, stride)
            if seed == 0:
                ours, theirs = _tta.ours(logits, "mean"), _tta.ttach(logits, "mean")
                check_same("tta_merge and ttach", [ours], [theirs], 1e-4)
                del ours, theirs
            both = [
                Way(partial(function, logits, output), THREADS)
                for output in outputs
                for function in (_tta.ttach, _tta.ours)
            ]
            if stride == 1:
                return both
            upsampling = partial(_tta.ttach, logits, "labels", network_upsamples=True)
            return [*both, Way(upsampling, THREADS)]

        labels_theirs, labels_ours, mean_theirs, mean_ours, *upsampled = in_turns(
            setting.rounds(ways), SETTLED
        )
        found = [("labels", "ttach", labels_theirs, labels_ours), ("mean", "ttach", mean_theirs, mean_ours)]
        found += [("labels", "ttach, resampled twice", theirs, labels_ours) for theirs in upsampled]
        for output, against, theirs, ours in found:
            yield Row(
                name(classes, stride, output),
                ratios(theirs, ours),
                at_least(BARS[classes]),
                threads=THREADS,
                against=against,
                theirs=theirs,
                ours=ours,
            )

    def case(setting: Setting) -> Iterator[Row]:
        _tta.require()
        for stride in STRIDES:
            yield from rows(setting, stride)

    return case


def memory(setting: Setting) -> Iterator[Row]:
    """At stride 4: at 1 both take the same beyond their inputs, which are larger by far."""
    _tta.require()
    stride = 4
    for classes in BARS:
        theirs = _memory.peak(partial(_tta.ttach_call, classes, stride), THREADS) / MEGABYTE
        for count in (1, 2):
            ours = _memory.peak(partial(_tta.our_call, classes, stride), count) / MEGABYTE
            yield Row(
                f"{name(classes, stride, 'labels')}: peak memory",
                [100 * ours / theirs],
                at_most(1),
                "share",
                threads=count,
                against="ttach",
                theirs=[theirs],
                ours=[ours],
                unit="MB",
            )


def bits(setting: Setting) -> Iterator[Row]:
    logits = _tta.inputs(0, 21, 4)
    yield same_bits(
        "tta_merge, C=21, stride 4", lambda: [_tta.ours(logits, "mean"), _tta.ours(logits, "labels")]
    )


CASES: dict[str, Case] = {
    **{f"tta-c{classes}": speed(classes) for classes in BARS},
    "tta-memory": memory,
    "tta-bits": bits,
}
