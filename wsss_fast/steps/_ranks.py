"""Which of several processes this is, by the variables that torchrun sets.

An inference step needs no more than them: ``RANK=3 WORLD_SIZE=8 wsss-fast make-cams ...`` is the fourth of
eight processes that need not know of each other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from wsss_fast.config import ConfigError


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that share a command."""

    rank: int
    """0 to world - 1."""
    world: int
    """How many there are."""
    local_rank: int
    """Its place among those on this machine."""
    local_world: int
    """How many are on this machine."""

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def prefix(self) -> str:
        """What its lines begin with: ``rank 3 of 8: ``, or nothing where it is alone."""
        return f"rank {self.rank} of {self.world}: " if self.world > 1 else ""


def ranks() -> Ranks:
    """By ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE``; without them, one of one.

    Raises `ConfigError` for values that cannot be, such as a rank without a number of ranks.
    """
    if ("RANK" in os.environ) != ("WORLD_SIZE" in os.environ):
        raise ConfigError(
            f"RANK, WORLD_SIZE: expected both or none in the environment, got {os.environ.get('RANK')!r} and "
            f"{os.environ.get('WORLD_SIZE')!r}"
        )
    world = _variable("WORLD_SIZE", 1, low=1)
    rank = _variable("RANK", 0, high=world - 1)
    local_world = _variable("LOCAL_WORLD_SIZE", 1, low=1, high=world)
    local_rank = _variable("LOCAL_RANK", 0, high=local_world - 1)
    return Ranks(rank, world, local_rank, local_world)


def _variable(name: str, default: int, low: int = 0, high: int | None = None) -> int:
    text = os.environ.get(name, str(default))
    value = int(text) if text.strip().isdecimal() and len(text) < 20 else -1
    if value < low or (high is not None and value > high):
        expected = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
        raise ConfigError(f"{name}: expected {expected} in the environment, got {text!r}")
    return value
