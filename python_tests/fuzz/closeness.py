"""Comparisons within the suite's table of tolerances, for inputs of any size."""

from __future__ import annotations

import torch
from conftest import TOLERANCE
from torch import Tensor


def assert_within(
    actual: Tensor, expected: Tensor, size: Tensor | float = 1.0, *, roundings: int = 64
) -> None:
    """Equality within the table, whose absolute part is for numbers of about 1.

    ``size``: how large the numbers are that a result was summed from, which is what its rounding error is
    proportional to; broadcast against the result. ``roundings``: how many of them a result may have gone
    through, for what is below the smallest normal number, where a rounding error is no longer relative.
    """
    assert actual.shape == expected.shape
    assert not actual.isnan().any(), "NaN in the result"
    rtol, atol = TOLERANCE[actual.dtype]
    found, truth = actual.double(), expected.double()
    numbers = torch.finfo(actual.dtype)
    allowed = rtol * truth.abs() + atol * size + roundings * numbers.smallest_normal * numbers.eps
    error = torch.where(found == truth, 0.0, (found - truth).abs())  # infinities too
    # Where a library has had denormal numbers flushed to 0, so may be what is allowed.
    worst = torch.where(error == 0, 0.0, error / allowed).max().item() if error.numel() else 0.0
    assert worst <= 1, f"an error of {worst:g} times what is allowed; the largest is {error.max().item():g}"


def assert_between(actual: Tensor, low: Tensor, high: Tensor, size: Tensor | float = 1.0) -> None:
    """At least ``low`` and at most ``high``, within the table."""
    assert not actual.isnan().any(), "NaN in the result"
    found = actual.double()
    nearest = torch.minimum(torch.maximum(found, low.double()), high.double())
    assert_within(actual, nearest, size)


def assert_log_probs(log_probs: Tensor, truth: Tensor, error: Tensor) -> None:
    """Logarithms of probabilities, off by ``error`` at most beside what the table allows."""
    assert_between(log_probs, truth.double() - error, truth.double() + error)


def assert_probs(probs: Tensor, truth: Tensor, error: Tensor) -> None:
    """Probabilities whose logarithms ``truth`` are uncertain by ``error``, for lack of digits in logits.

    Where the error is above about 1 this says nothing of classes that are nearly equal, and holds all
    others to the table still.
    """
    truth = truth.double()
    high = (truth + error).clamp(max=0).exp()
    assert_between(probs, (truth - error).exp(), high)


def first_argmax(values: Tensor, dim: int) -> Tensor:
    """The lowest index of the largest value."""
    count = values.shape[dim]
    index = torch.arange(count).view(-1, *[1] * (values.dim() - 1)).movedim(0, dim % values.dim())
    largest = values == values.amax(dim, keepdim=True)
    return torch.where(largest, index, count).amin(dim)
