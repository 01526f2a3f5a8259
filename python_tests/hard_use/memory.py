"""How much memory this process has in use, and allocations that fail. Linux with glibc only."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def has_exact_count() -> bool:
    try:
        return hasattr(ctypes.CDLL(None), "mallinfo2")  # glibc 2.33
    except OSError:
        return False


def bytes_in_use() -> int:
    """What the C library has handed out, in all its arenas: no noise of pages it keeps."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def addresses_of(library: str) -> tuple[int, int]:
    """Between which addresses the code of a loaded library lies."""
    spans = [
        [int(address, 16) for address in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if library in line and line.split()[1].startswith("r-x")
    ]
    return min(begin for begin, _ in spans), max(end for _, end in spans)
