"""Addresses, workspace and threads."""

from __future__ import annotations

import torch
from torch import Tensor


def thread_count() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def address(tensor: Tensor) -> int:
    return tensor.data_ptr()


def new_workspace(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)
