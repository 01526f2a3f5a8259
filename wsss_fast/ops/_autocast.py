"""What the ops do under autocast: they compute in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_HALVES = (torch.float16, torch.bfloat16)


def widened(value: Any) -> Any:
    """Under autocast a float16 or bfloat16 tensor as float32; anything else as it is, for the checks."""
    if isinstance(value, Tensor) and value.dtype in _HALVES and torch.is_autocast_enabled(value.device.type):
        return value.float()
    return value


def widened_list(values: Any) -> Any:
    """:func:`widened` for each item of a list or tuple."""
    if isinstance(values, (list, tuple)):
        return [widened(value) for value in values]
    return values
