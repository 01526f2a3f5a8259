"""Which kernels serve a tensor: the CPU's or CUDA's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from wsss_fast._info import cuda_kernels

_cpu_stands_in = False


def on_cuda(value: Tensor) -> bool:
    """Whether CUDA kernels work on ``value``."""
    return value.is_cuda or (_cpu_stands_in and value.device.type == "cpu")


HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, torch.float64)


def floats_for(value: Any) -> tuple[torch.dtype, ...]:
    """The dtypes that the kernels which serve ``value`` read: CUDA's take half precision too."""
    return (*FLOATS, *HALVES) if isinstance(value, Tensor) and on_cuda(value) else FLOATS


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
