"""What was built."""

from __future__ import annotations

import platform

import torch

from wsss_fast import _C
from wsss_fast._version import __version__


def cuda_kernels() -> str:
    """``"device"``, ``"none"``, or ``"host"`` where they are built to be tested without a GPU."""
    return _C.CUDA


def build_info() -> dict[str, object]:
    """What this installation is: versions, compiler, whether it has CUDA kernels, what it runs on.

    Returns a dict with ``version``, ``compiler``, ``cuda`` (bool), ``isa``, ``torch``, ``python`` and
    ``machine``. ``isa`` is the instruction set of the CPU kernels, ``"baseline"``, ``"avx2"`` or
    ``"avx512"``: the widest that the CPU has, unless the environment variable ``WSSS_FAST_ISA`` named
    another when it was first needed. ``ValueError`` where that names none, or one that the CPU has not.

    >>> import wsss_fast
    >>> sorted(wsss_fast.build_info())
    ['compiler', 'cuda', 'isa', 'machine', 'python', 'torch', 'version']
    """
    return {
        "version": __version__,
        **_C.build_info(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
