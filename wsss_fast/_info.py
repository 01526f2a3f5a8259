"""What was built."""

from __future__ import annotations

import platform

import torch

from wsss_fast import _C
from wsss_fast._version import __version__


def build_info() -> dict[str, object]:
    """What this installation is: versions, compiler, and whether it has CUDA kernels.

    Returns a dict with ``version``, ``compiler``, ``cuda`` (bool), ``torch``, ``python`` and ``machine``.

    >>> import wsss_fast
    >>> sorted(wsss_fast.build_info())
    ['compiler', 'cuda', 'machine', 'python', 'torch', 'version']
    """
    return {
        "version": __version__,
        **_C.build_info(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
