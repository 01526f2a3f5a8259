"""Addresses, element types, workspace, threads and streams."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_fast import _C


def thread_count() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def address(tensor: Tensor) -> int:
    return tensor.data_ptr()


def new_workspace(size: int, device: torch.device | None = None) -> Tensor:
    """On CUDA a tensor may be let go right after the launches that use it: its memory then goes to what is
    launched on the same stream later."""
    return torch.empty(size, dtype=torch.uint8, device=device)


def cuda_place(tensor: Tensor) -> tuple[int, int]:
    """The number of the tensor's device and the address of torch's current stream on it.

    Both are 0 where CUDA kernels run on the host.
    """
    if not tensor.is_cuda:
        return 0, 0
    return tensor.device.index, torch.cuda.current_stream(tensor.device).cuda_stream


def element_of(tensor: Tensor) -> _C.Element:
    """What a CUDA kernel finds at the tensor's address."""
    return {
        torch.float32: _C.Element.float32,
        torch.float64: _C.Element.float64,
        torch.float16: _C.Element.float16,
        torch.bfloat16: _C.Element.bfloat16,
    }[tensor.dtype]


def working_dtype(tensor: Tensor) -> torch.dtype:
    """What is computed with: nothing is in half precision."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
