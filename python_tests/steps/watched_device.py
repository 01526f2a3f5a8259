"""The CPU by another name, which stands for a device whose values the host has to wait for.

``DEVICE`` is the CPU with an index. Under :class:`Watch`, what is put there, and all that is computed from
it, counts as being there, and whatever would read it back is noted. Ops run on the CPU as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree as pytree

DEVICE = torch.device("cpu", 0)

# What a host gets out of a device, other than by a copy that does not block.
_READS = {
    *(
        Tensor.cpu,
        Tensor.numpy,
        Tensor.item,
        Tensor.tolist,
        Tensor.__array__,
        Tensor.__bool__,
        Tensor.__int__,
    ),
    *(Tensor.__float__, Tensor.__index__, Tensor.__contains__, Tensor.__repr__),
    *(
        Tensor.nonzero,
        torch.nonzero,
        torch.argwhere,
        Tensor.argwhere,
        torch.masked_select,
        Tensor.masked_select,
    ),
    *(torch.unique, Tensor.unique, torch.equal, Tensor.equal, torch.allclose, Tensor.allclose),
}


class Watch(TorchFunctionMode):
    """Notes in ``reads`` what reads a value of the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self._looking = True

    @contextmanager
    def away(self) -> Iterator[None]:
        """For what may read."""
        self._looking = False
        try:
            yield
        finally:
            self._looking = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        values = pytree.tree_leaves((args, kwargs))
        there = any(_is_there(value) for value in values)
        if there and func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return DEVICE
        leaves = there and func is Tensor.to and torch.device("cpu") in map(_device_of, values[1:])
        if self._looking and there and (_reads(func, args) or (leaves and not kwargs.get("non_blocking"))):
            self.reads.append(str(resolve_name(func)))
        result = func(*args, **kwargs)
        if leaves or func is Tensor.cpu:
            return result.detach()  # another tensor, which is not there
        if there or DEVICE in map(_device_of, values):
            for tensor in pytree.tree_leaves(result):
                if isinstance(tensor, Tensor):
                    tensor.is_there = True  # type: ignore[attr-defined]
        return result


def _is_there(value: Any) -> bool:
    return isinstance(value, Tensor) and "is_there" in value.__dict__


def _device_of(value: Any) -> torch.device | None:
    """The device that an argument names."""
    if isinstance(value, str) and value == "cpu":
        return torch.device("cpu")
    return value if isinstance(value, torch.device) else None


def _reads(func: Callable[..., Any], args: Any) -> bool:
    return func in _READS or (
        func in (Tensor.__getitem__, Tensor.__setitem__)
        and any(_is_there(i) and i.dtype == torch.bool for i in pytree.tree_leaves(args[1]))
    )
