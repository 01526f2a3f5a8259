"""Peak memory of the first call of a fresh process, above what its inputs and its outputs take.

What came before the call does not count: imports, inputs, the start-up of libraries (a call on a tiny input)
and freed memory that the allocator still held are all in the baseline, from which the high-water mark of
resident memory is taken anew.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MEGABYTE = 1e6


class PeakMemoryError(RuntimeError):
    """The peak cannot be measured on this system, or the process that measures it failed."""


@dataclass(frozen=True)
class Call:
    """Inputs that are in memory, and what is measured on them."""

    warm_up: Callable[[], object]  # the same on a tiny input
    run: Callable[[], object]  # returns all that is output: tensors, arrays, lists and tuples of them


@dataclass(frozen=True)
class FirstCall:
    peak: int  # bytes
    milliseconds: float


def peak(prepare: Callable[[], Call], threads: int) -> int:
    """Bytes. See :func:`first_call`."""
    return first_call(prepare, threads).peak


def first_call(prepare: Callable[[], Call], threads: int) -> FirstCall:
    """``prepare`` runs in the fresh process, to which it is sent: a function of a module, or a partial of
    one with functions, numbers and strings."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as process:
        try:
            return process.submit(_measure, prepare, threads).result()
        except BrokenProcessPool as error:
            raise PeakMemoryError("peak memory: the process that measures it died") from error


def _measure(prepare: Callable[[], Call], threads: int) -> FirstCall:
    torch.set_num_threads(threads)
    call = prepare()
    call.warm_up()
    _release()
    _reset_high_water()
    before = _high_water()
    start = time.perf_counter()
    output = call.run()
    elapsed = time.perf_counter() - start
    # What the allocator could not give back may hold all of a small output.
    beyond = max(0, _high_water() - before - size_of(output))
    return FirstCall(beyond, 1000 * elapsed)


def size_of(output: Any) -> int:
    """Bytes of the tensors and arrays in it."""
    if isinstance(output, (Tensor, np.ndarray)):
        return int(output.nbytes)
    return sum(size_of(item) for item in output)


def _release() -> None:
    """Give freed memory back: what the allocator kept would serve the call without raising the peak."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only; others keep less
    if trim is not None:
        trim(0)


def _reset_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise PeakMemoryError(
            f"peak memory: needs Linux with a writable /proc/self/clear_refs, got: {error}"
        ) from error


def _high_water() -> int:
    """Bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise PeakMemoryError("peak memory: /proc/self/status has no VmHWM")
    return int(found[1]) * 1024
