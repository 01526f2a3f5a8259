"""Sums and messages between the processes of a training.

All of these are collective: every process has to call them, in the same order. Without a process group there
is one process, and nothing is sent.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _together() else 1


def process_rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if _together() else 0


def summed(tensor: Tensor) -> Tensor:
    """The sum of the tensors of all processes, which takes the place of ``tensor``. Nothing waits for a GPU;
    there is no gradient."""
    if process_count() > 1:
        by_gpu = dist.get_backend() == "nccl" and tensor.device.type == "cpu"  # which it does not send from
        sent = tensor.cuda() if by_gpu else tensor
        dist.all_reduce(sent)
        if by_gpu:
            tensor.copy_(sent)
    return tensor


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """A sum over pixels by their number: of one process, the mean.

    Of several it is such that the mean of theirs is the sum over all by the number of all: the loss of the
    joint batch, whose gradient comes from the mean of theirs. Where nothing takes part it is 0.

    ``count``: an integer scalar.
    """
    return process_count() * total / summed(count).clamp(min=1)


def gathered(value: Value) -> list[Value]:
    """The small values of all processes in the order of their ranks."""
    if process_count() == 1:
        return [value]
    values: list[Any] = [None] * process_count()
    dist.all_gather_object(values, value)
    return values


def from_first(value: Value | None) -> Value:
    """The value of the first process; what the others pass does not matter."""
    if process_count() > 1:
        values: list[Any] = [value]
        dist.broadcast_object_list(values)
        return cast(Value, values[0])
    return cast(Value, value)


def is_lost_process(error: BaseException) -> bool:
    """Whether an error of a collective call says that another process is gone."""
    if process_count() == 1:
        return False
    # gloo raises no kind of its own.
    by_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return by_gloo or isinstance(error, (dist.DistBackendError, dist.DistNetworkError))


def _together() -> bool:
    return bool(dist.is_available() and dist.is_initialized())
