"""AffinityDisplacementLoss on arbitrary input, value and gradient, against the published form."""

from __future__ import annotations

import torch
from conftest import TOLERANCE
from hypothesis import given
from torch import Tensor

from fuzz.calls import Call, loss_calls
from fuzz.closeness import assert_between, assert_within
from fuzz.counting import cases
from wsss_fast.reference.affinity_displacement_loss import affinity_displacement_loss as reference
from wsss_fast.reference.path_affinity import path_affinity


def published(call: Call, boundary_off_by: float = 0.0) -> list[Tensor]:
    """In float64, with the boundary map that much higher."""
    given = call.given
    radius = given["radius"]

    def affinity(boundary: Tensor) -> Tensor:
        return path_affinity((boundary + boundary_off_by).clamp(0, 1), radius)

    exact = [given[name].double() for name in ("boundary_logits", "displacement")]
    return list(reference(*exact, given["labels"], radius, affinity_of=affinity))


@given(call=loss_calls())
@cases()
def test_loss_is_the_published_one(call: Call) -> None:
    losses = call()
    # The logarithm of an affinity near 0 (and of 1 - affinity) magnifies the rounding of the boundary map.
    # Both parts are monotone in the boundary, so that two maps bound them.
    step = 2 * torch.finfo(losses.total.dtype).eps
    below, above = published(call, -step), published(call, step)
    size = 1 + call["displacement"].abs().amax() if call["displacement"].numel() else 1.0
    # The total adds a part that rises to one that falls: each may be off on its own.
    both = (below[1] - above[1]).abs() / 2 + (below[2] - above[2]).abs() / 2
    for part, one, other, slack in zip(losses, below, above, (both, 0, 0, 0, 0), strict=True):
        assert_between(part, torch.minimum(one, other) - slack, torch.maximum(one, other) + slack, size)


@given(call=loss_calls())
@cases()
def test_gradient_is_the_published_one(call: Call) -> None:
    names = ("boundary_logits", "displacement")
    inputs = [call[name].detach().requires_grad_() for name in names]
    found = torch.autograd.grad(call(**dict(zip(names, inputs, strict=True))).total, inputs)
    exact = [value.detach().double().requires_grad_() for value in inputs]

    def affinity(boundary: Tensor) -> Tensor:
        # torch's sigmoid has other last bits for the last few numbers of a tensor: it breaks ties on a path.
        values, which = exact[0].detach().unique(return_inverse=True)
        return path_affinity(boundary + (values.sigmoid()[which] - boundary).detach(), call["radius"])

    losses = reference(*exact, call["labels"], call["radius"], affinity_of=affinity)
    truth = torch.autograd.grad(losses[0], exact)
    boundary = exact[0].detach().sigmoid()
    if not boundary.numel():
        assert all(gradient.shape == value.shape for gradient, value in zip(found, inputs, strict=True))
        return
    # A pair's gradient is its share times a / (a + 1e-5), or that of 1 - a; the rounding of an a near 0,
    # which is that of numbers near 1, moves it by up to this.
    steepest = 1 / (torch.minimum(boundary.min(), 1 - boundary.max()) + 1e-5)
    uncertain = torch.finfo(inputs[0].dtype).eps * steepest / TOLERANCE[inputs[0].dtype][1]
    assert_within(found[0], truth[0], 1 + uncertain)
    assert_within(found[1], truth[1])
