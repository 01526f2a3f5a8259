"""What the parts of tiny_inputs.py are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

# A name, and tensors and what they are given to: the same function and arguments go to both devices.
Case = tuple[str, Callable[..., Any], list[Tensor]]
