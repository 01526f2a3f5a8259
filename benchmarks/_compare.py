"""Whether two ways give the same, so that only like is compared with like; and whether threads do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from _timing import threads
from torch import Tensor


class DisagreementError(RuntimeError):
    """Two ways to do one thing do not give the same: their times may not be compared."""


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of the largest expected magnitude."""
    difference = (found.double() - expected.double()).abs().max()
    return (difference / expected.double().abs().max()).item()


def check_same(what: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], within: float) -> None:
    """``within`` is of the largest value of each."""
    for found, expected in zip(ours, theirs, strict=True):
        error = relative_error(found, expected)
        if not error <= within:
            raise DisagreementError(f"{what}: expected results within {within:g}, they differ by {error:.2g}")


def differing_by_threads(run: Callable[[], Sequence[Tensor]]) -> int:
    """How many values of the results of 2 and 4 threads have not the bits of 1, the worse of the two."""
    found = []
    for count in (1, 2, 4):
        with threads(count):
            found.append(run())
    return max(differing(other, found[0]) for other in found[1:])


def differing(ones: Sequence[Tensor], others: Sequence[Tensor]) -> int:
    """How many values have not the same bits."""
    return sum(int((_bits(a) != _bits(b)).any(1).sum()) for a, b in zip(ones, others, strict=True))


def _bits(tensor: Tensor) -> Tensor:
    """[values, bytes of one]"""
    return tensor.detach().reshape(-1, 1).contiguous().view(torch.uint8)
