"""The rows that the GPU's tables have of every op."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from _compare import differing, relative_error
from _memory import MEGABYTE, size_of
from _table import Bound, Row, at_most
from torch import Tensor


def times(
    name: str,
    against: str,
    theirs: Sequence[float],
    ours: Sequence[float],
    bar: Bound | None,
    threads: int | None = None,
) -> Row:
    """How many times as long they take, each of their times over our median."""
    median = statistics.median(ours)
    figures = [time / median for time in theirs]
    return Row(name, figures, bar, threads=threads, against=against, theirs=theirs, ours=ours)


def share(name: str, moved: int, taken: Sequence[float], bandwidth: float, bar: Bound | None = None) -> Row:
    """``moved`` bytes over the times, as a share of what a copy moves in them."""
    shares = [100 * moved / (time / 1000) / bandwidth for time in taken]
    against = f"copy {bandwidth / 1e9:.0f} GB/s, {moved / 1e6:.0f} MB"
    return Row(f"bytes: {name}", shares, bar, "share", against=against, ours=taken)


def same_bits(name: str, run: Callable[[], Tensor | Sequence[Tensor]]) -> Row:
    first, second = ([found] if isinstance(found, Tensor) else found for found in (run(), run()))
    return Row(
        f"values that differ between two runs, {name}",
        [differing(first, second)],
        at_most(0),
        "count",
        worst=True,
        against="the same call",
    )


def beside_cpu(name: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> Row:
    """Of several results, an entry each."""
    errors = [relative_error(f.cpu(), e) for f, e in zip(found, expected, strict=True)]
    return Row(
        f"{name}: relative error", errors, at_most(1e-5), "small", worst=True, against="our CPU", unit=""
    )


def peak(run: Callable[[], object]) -> int:
    """Bytes on the GPU that a call needs at most, beyond what there was before it and what it returns."""
    run()  # libraries make room for themselves at their first call
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output = run()
    torch.cuda.synchronize()
    return max(0, torch.cuda.max_memory_allocated() - before - size_of(output))


def memory(name: str, against: str, theirs: int, ours: int, bar: Bound) -> Row:
    return Row(
        f"{name}: peak memory",
        [100 * ours / theirs],
        bar,
        "share",
        against=against,
        theirs=[theirs / MEGABYTE],
        ours=[ours / MEGABYTE],
        unit="MB",
    )
