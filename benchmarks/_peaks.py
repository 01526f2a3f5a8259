"""What the machine can do: bytes a second when copying, float operations a second in registers."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from _timing import threads

_SOURCE = Path(__file__).with_name("_peak.cpp")
_REPETITIONS = 9
_LARGE = 256 * 2**20  # beyond any cache
_DEFAULT_L2 = 2**20
_KINDS = ("multiplications", "additions", "both")


class NoCompilerError(Exception):
    """The arithmetic peak cannot be measured; the message says what is missing."""


@dataclass(frozen=True)
class Peaks:
    """Of so many threads together, a second. Copied bytes count twice, as read and as written."""

    threads: int
    memory: float  # bytes, arrays larger than the caches
    cache: float  # bytes, arrays that fit the last cache but no core's own
    fresh: float  # bytes written into memory that the system has yet to hand out
    multiplications: float
    additions: float  # and comparisons and maxima, which no processor does faster
    both: float  # of multiplications and additions, as many of each


def core_cache() -> int:
    """Bytes of the second-level cache, a core's own; 1 MiB where the system does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    found = re.fullmatch(r"(\d+)K", path.read_text().strip()) if path.exists() else None
    return int(found[1]) * 1024 if found else _DEFAULT_L2


def measure(counts: tuple[int, ...]) -> list[Peaks]:
    with tempfile.TemporaryDirectory() as folder:
        library = _built(Path(folder))
        found = []
        for count in counts:
            # Twice as large as the caches of the cores at work, source and copy each.
            cached = 2 * core_cache() * count
            arithmetic = {kind: _operations(library, i, count) for i, kind in enumerate(_KINDS)}
            with threads(count):
                found.append(
                    Peaks(count, _copy(_LARGE), _copy(cached, _LARGE // cached), _fresh(_LARGE), **arithmetic)
                )
        return found


def _seconds(run: Callable[[], object]) -> float:
    """The shortest: what others do on the machine can only hide a peak, and a floor that it lifted would
    flatter us."""
    times = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _copy(size: int, times: int = 1) -> float:
    source, copy = torch.zeros(size // 4), torch.zeros(size // 4)

    def run() -> None:
        for _ in range(times):
            copy.copy_(source)

    return 2 * size * times / _seconds(run)


def _fresh(size: int) -> float:
    return size / _seconds(lambda: torch.empty(size // 4).fill_(1))


def _built(folder: Path) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise NoCompilerError(
            "the arithmetic peak is measured by a small program: needs a C++ compiler (CXX)"
        )
    library = folder / "peak.so"
    options = ["-O3", "-march=native", "-ffp-contract=off", "-Wno-psabi", "-shared", "-fPIC"]
    command = [*compiler.split(), *options, str(_SOURCE), "-o", str(library)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", None) or error
        raise NoCompilerError(f"the arithmetic peak: {' '.join(command)} failed: {why}") from error
    loaded = ctypes.CDLL(str(library))
    real = ctypes.c_float
    loaded.operations.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, real, real]
    loaded.operations.restype = real
    return loaded


def _operations(library: ctypes.CDLL, kind: int, count: int) -> float:
    """The better of both widths of a vector. ctypes runs without Python's lock."""
    rounds, operations_of_round = 1_000_000, 12

    def rate(width: int) -> float:
        def run() -> None:
            for job in [pool.submit(library.operations, kind, width, rounds, 1, 0) for _ in range(count)]:
                job.result()

        return count * rounds * operations_of_round * (width // 4) / _seconds(run)

    with ThreadPoolExecutor(count) as pool:
        return max(rate(32), rate(64))
