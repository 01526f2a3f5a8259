"""Which kernels serve a tensor: the CPU's or CUDA's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from wsss_fast._info import cuda_kernels

_cpu_stands_in = False


def on_cuda(value: Tensor) -> bool:
    """Whether CUDA kernels work on ``value``."""
    return value.is_cuda or (_cpu_stands_in and value.device.type == "cpu")


@contextmanager
def cpu_stands_in() -> Iterator[None]:
    """For tests of a build whose CUDA kernels run on the host: CPU tensors are taken for CUDA ones."""
    global _cpu_stands_in
    if cuda_kernels() != "host":
        raise RuntimeError("cpu_stands_in: expected a build with WSSS_FAST_CUDA=HOST, got another")
    _cpu_stands_in = True
    try:
        yield
    finally:
        _cpu_stands_in = False
