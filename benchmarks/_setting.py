"""What a case of the table of ops gets, and the rows that every op has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _compare import differing_by_threads
from _table import Row, at_most
from _timing import Way
from torch import Tensor

THREADS = 2
OTHERS = 1_000_000  # added to a seed for inputs to rehearse on


@dataclass(frozen=True)
class Setting:
    repeats: int
    shared: Path  # the folder that has golden/
    dense: bool = False  # whether there are minutes to spend on the dense random walk
    former: dict[str, Any] = field(default_factory=dict)  # the result file of a former run on such a machine
    about: dict[str, Any] = field(default_factory=dict)  # for this run's: a case may add to it

    def rounds(
        self, ways: Callable[[int], Sequence[Way]], times: int = 1
    ) -> list[Callable[[], Sequence[Way]]]:
        """``ways`` gets a seed, another one each round; the first round warms up. What takes about a
        millisecond is repeated ``times`` as often. Inputs are made as late as possible."""
        return [partial(ways, seed) for seed in range(times * self.repeats + 1)]


Case = Callable[[Setting], Iterator[Row]]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same_bits(name: str, run: Callable[[], Sequence[Tensor]]) -> Row:
    return Row(
        f"{name}: differing values",
        [differing_by_threads(run)],
        at_most(0),
        "count",
        worst=True,
        against="1, 2 and 4 threads",
    )
