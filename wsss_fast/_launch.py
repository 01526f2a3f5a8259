"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates outputs and
workspace through torch, and keeps all of them alive until the core returns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _threads() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()
