"""Where a run computes, and how it is seeded."""

from __future__ import annotations

import atexit
import os
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from torch import nn

from wsss_fast._info import cuda_kernels
from wsss_fast.config import Config, ConfigError
from wsss_fast.steps._cores import set_threads
from wsss_fast.steps._ranks import Ranks, ranks

Network = TypeVar("Network", bound=nn.Module)

_FROM_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def make_fabric(config: Config) -> Fabric:
    """The engine of a training, which places models and data and does mixed precision.

    With several processes (see `_ranks`) it has met the others: gloo sends between CPUs, nccl between GPUs.
    A process has one group, which its later trainings use too, and leaves it when it ends.
    """
    accelerator = _accelerator(config)
    of = ranks()
    if of.world > 1:
        _check_places(of, accelerator)
    set_threads(config)
    if of.world == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=config.precision)
    fabric = Fabric(
        accelerator=accelerator,
        strategy="ddp",
        devices=of.local_world,
        num_nodes=of.world // of.local_world,
        precision=config.precision,
        plugins=[TorchElasticEnvironment()],
    )
    met = torch.distributed.is_initialized()
    fabric.launch()
    if not met and accelerator == "cpu":  # that of GPUs Fabric leaves itself
        atexit.register(torch.distributed.destroy_process_group)
    return fabric


def device_of(config: Config) -> torch.device:
    """Where this process runs networks that are trained; it needs no other process for that.

    Those of a machine share its GPUs in turn. Sets the threads of the process as ``threads`` says.
    """
    set_threads(config)
    return _device_at(config, ranks().local_rank)


def _device_at(config: Config, local_rank: int) -> torch.device:
    if _accelerator(config) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def _accelerator(config: Config) -> str:
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("device: expected a device that is there, got 'cuda' (torch sees no GPU)")
    return "cuda"


def _check_places(of: Ranks, accelerator: str) -> None:
    missing = [name for name in _FROM_TORCHRUN if name not in os.environ]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: expected in the environment of a training by {of.world} processes, got "
            "nothing; start it by torchrun"
        )
    if of.world % of.local_world:
        raise ConfigError(
            f"LOCAL_WORLD_SIZE: expected as many processes on every machine, got {of.local_world} of "
            f"{of.world} on this one"
        )
    if accelerator == "cuda" and of.local_world > torch.cuda.device_count():
        raise ConfigError(
            f"LOCAL_WORLD_SIZE: expected at most one process a GPU in training, got {of.local_world} for "
            f"{torch.cuda.device_count()}"
        )


def op_device(device: torch.device) -> torch.device:
    """Where the ops take what a network computed on ``device``: there, if this build has kernels for it."""
    return device if device.type == "cpu" or cuda_kernels() == "device" else torch.device("cpu")


def channels_last(model: Network) -> Network:
    """The model with its convolutions laid out channels last, which they and their inputs then stay in.

    On a CPU a step of training DeepLabv3+ took 5 to 8 % less time so.
    """
    return model.to(memory_format=torch.channels_last)


def seed_epoch(config: Config, step_name: str, epoch: int) -> torch.Generator:
    """Seed everything for one epoch of one training; the generator is for the order of the images.

    Each epoch starts from its own seed, the same in all processes: they draw the same order, and together
    what one would (see `wsss_fast.models.joint_dropout`).
    """
    seed = _seed(config, step_name, epoch)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed + 1)


def seed_step(config: Config, step_name: str, optimizer_step: int) -> None:
    """Seed what a network draws from here on, where how it would have gone on is not known."""
    torch.manual_seed(_seed(config, step_name, -2 - optimizer_step))


def seed_first_weights(config: Config, step_name: str) -> None:
    """Seed what a new network draws its first weights from."""
    torch.manual_seed(_seed(config, step_name, epoch=-1))


def _seed(config: Config, step_name: str, epoch: int) -> int:
    """A seed of its own for every training, epoch and ``config.seed``."""
    seed = sum(ord(c) * 31**i for i, c in enumerate(step_name)) + 1_000_003 * config.seed + 7919 * epoch
    return seed % 2**62
