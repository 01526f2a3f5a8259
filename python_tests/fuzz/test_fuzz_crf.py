"""crf and the lattice on arbitrary input, against the reference."""

from __future__ import annotations

import torch
from conftest import TOLERANCE
from hypothesis import given
from torch import Tensor

from fuzz.calls import Call, crf_calls, lattice_calls
from fuzz.closeness import assert_log_probs, assert_probs, assert_within, first_argmax
from fuzz.counting import cases
from wsss_fast.reference.crf import PermutohedralLattice, Term, next_logits, pairwise_terms


def magnitude(energy: Tensor, terms: list[Term], q: Tensor) -> Tensor:
    """[P]: how large the numbers are that the logits of a pixel are the sum of."""
    finite = energy.abs().masked_fill(energy.isinf(), 0)
    # A scalar is a weight, the others are costs.
    costs = [(-compat.abs() if compat.dim() == 0 else compat.abs(), *rest) for compat, *rest in terms]
    return -next_logits(finite, costs, q).amin(0)


@given(call=crf_calls())
@cases(2)
def test_each_update_is_that_of_the_reference(call: Call) -> None:
    # From the Q of one iteration less: over many iterations rounding errors may grow without bound, as mean
    # field with strong kernels has no stable solution, but one update magnifies them by a known factor.
    iterations = call["iterations"]
    found = {output: call(output=output) for output in ("probs", "log_probs", "labels")}
    assert torch.equal(found["labels"].long(), first_argmax(found["probs"], -3))
    before = call(iterations=max(iterations - 1, 0))
    image, unary, kernels = call["image"], call["unary"], call["kernels"]
    names = call["normalization"]
    names = [names] * len(kernels) if isinstance(names, str) else names
    for n in range(len(unary)):
        terms = pairwise_terms(image, kernels, names, n, unary) if iterations else []
        shape = (-1, *unary.shape[-3:])
        for m, energy in enumerate(unary[n].reshape(shape).flatten(2)):
            q, probs, log_probs = (
                t[n].reshape(shape)[m].flatten(1) for t in (before, found["probs"], found["log_probs"])
            )
            truth = next_logits(energy, terms, q).double().log_softmax(0)
            error = 2 * TOLERANCE[unary.dtype][1] * (1 + magnitude(energy, terms, q).double())
            assert_log_probs(log_probs, truth, error)
            assert_probs(probs, truth, error)
            assert_within(probs.sum(0), torch.ones_like(probs[0]))


@given(call=lattice_calls())
@cases()
def test_lattice_is_that_of_the_reference(call: Call) -> None:
    features, values = call["features"], call["values"]
    found = call()
    for n in range(len(features)):
        lattice = PermutohedralLattice(features[n].flatten(1))
        given = values[n].flatten(1)
        assert_within(found[n].flatten(1), lattice.filter(given), lattice.filter(given.abs()))
