"""The cores of the machine, shared by the processes on it."""

from __future__ import annotations

import os

import torch

from wsss_fast.config import Config
from wsss_fast.steps._ranks import ranks


def threads_of(config: Config) -> int:
    """Threads of this process on the CPU."""
    if config.threads is not None:
        return config.threads
    of = ranks()
    if of.world > 1:  # torchrun asks for one thread a process
        return max(1, core_count() // of.local_world)
    return torch.get_num_threads()


def set_threads(config: Config) -> None:
    """Give torch, and by it our ops, the threads that `threads_of` says."""
    threads = threads_of(config)
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def core_count() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
