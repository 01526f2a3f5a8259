"""Between host and device: uploads that nothing waits for, and one wait for all that comes back."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor there. The host does not wait until the device, which may be behind, takes it."""
    return tensor.to(device, non_blocking=True)


def to_host(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors on the CPU. All are copied before the device is waited for, once.

    In the steps this is the only way from a device to the host; whatever else looks at a value there (a mask
    as an index, ``.item()``, ``nonzero``) would wait as well.
    """
    on_device = list(tensors)
    # From CUDA into pinned memory, as torch does for copies that do not block.
    copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in on_device]
    for device in {tensor.device for tensor in on_device}:
        _wait(device)
    return copies


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
