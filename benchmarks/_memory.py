"""Peak memory of the first CRF call of a fresh process, above what its inputs and its output take.

`peak` starts this file as that process. What came before the call does not count: imports, inputs, the
start-up of libraries (a call on a tiny image) and freed memory that the allocator still held are all in the
baseline, from which the high-water mark of resident memory is taken anew.
"""

from __future__ import annotations

import ctypes
import gc
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _problem import Problem

_TINY = 12, 16


class PeakMemoryError(RuntimeError):
    """The peak cannot be measured on this system, or the process that measures it failed."""


def peak(side: str, problem: Problem, threads: int) -> int:
    """Bytes, for one unary with sxy 50 and srgb 5; ``side`` is "peer" or "ours"."""
    if side == "peer":
        image, unary = problem.peer_image, problem.peer_unaries[0]
    else:
        image, unary = problem.image.numpy(), problem.unary[0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "image.npy"), image)
        np.save(Path(folder, "unary.npy"), unary)
        command = [sys.executable, __file__, side, folder, str(threads)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise PeakMemoryError(f"peak memory of {side}: the process that measures it failed:\n{child.stderr}")
    return int(child.stdout)


def _run(side: str, threads: int) -> Callable[[np.ndarray, np.ndarray], int]:
    """The CRF of a side: image and unary -> bytes of Q, with Q alive until it is known."""
    import _ours
    import _peer
    import torch

    from wsss_fast import Bilateral

    torch.set_num_threads(threads)
    bilateral = Bilateral(sxy=50, srgb=5, compat=10)

    def peer(image: np.ndarray, unary: np.ndarray) -> int:
        return _peer.crf(image, unary, bilateral).nbytes

    def ours(image: np.ndarray, unary: np.ndarray) -> int:
        return _ours.crf(torch.from_numpy(image), torch.from_numpy(unary), bilateral).nbytes

    return {"peer": peer, "ours": ours}[side]


def _tiny(side: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = _TINY
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    unary = np.ones((classes, height, width), np.float32)
    if side == "peer":
        return image, unary.reshape(classes, -1)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), unary


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


def _measure(side: str, folder: Path, threads: int) -> int:
    # Loaded without a temporary copy, and touched: an input is resident before the call.
    image, unary = np.load(folder / "image.npy"), np.load(folder / "unary.npy")
    run = _run(side, threads)
    run(*_tiny(side, unary.shape[0]))
    _release()
    _reset_high_water()
    before = _high_water()
    output = run(image, unary)
    return _high_water() - before - output


if __name__ == "__main__":
    print(_measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
