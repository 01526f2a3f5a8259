"""The GPU that is measured, and what is put there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

DEVICE = "cuda"

Result = TypeVar("Result")


def there(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies on the GPU, which require a gradient where the tensors do."""
    return [t.detach().to(DEVICE).requires_grad_(t.requires_grad) for t in tensors]


def making_there(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function, what it makes of numbers (index tables) made on the GPU."""

    def run(*arguments: object) -> Result:
        with torch.device(DEVICE):
            return function(*arguments)

    return run
