"""What the tables of bad input have in common: dtypes, and values for arguments that are right."""

from __future__ import annotations

import torch
from torch import Tensor

FLOAT32, FLOAT64, BYTE = torch.float32, torch.float64, torch.uint8
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
HUGE = 3e38  # near the end of float32


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def bytes_(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1))
