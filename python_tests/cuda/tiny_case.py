"""What the parts of tiny_inputs.py are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from wsss_fast import _device

# A name, and tensors and what they are given to: the same function and arguments go to both devices.
Case = tuple[str, Callable[..., Any], list[Tensor]]


def half(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """In half precision where kernels read it, elsewhere the same numbers."""
    rounded = [tensor.half() for tensor in tensors]
    return rounded if _device.on_cuda(rounded[0]) else [tensor.float() for tensor in rounded]
