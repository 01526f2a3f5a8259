"""The gradients of the ops on arbitrary input, against autograd through their references."""

from __future__ import annotations

from typing import Any

import torch
from conftest import TOLERANCE
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fuzz.calls import Call, crf_calls, lattice_calls, path_calls, walk_calls
from fuzz.closeness import assert_within
from fuzz.counting import cases
from fuzz.strategies import generators
from fuzz.test_fuzz_maps import steps_of
from wsss_fast.kernels import Kernel
from wsss_fast.reference.crf import PermutohedralLattice, next_logits, pairwise_terms
from wsss_fast.reference.path_affinity import path_affinity as reference_paths
from wsss_fast.reference.random_walk import affinity_matrix


def leaf(value: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return value.detach().to(dtype or value.dtype).requires_grad_()


def weights_for(result: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(result.shape, generator=generator, dtype=torch.float64).to(result.dtype)


@given(call=lattice_calls(wild=False), generator=generators())
@cases()
def test_lattice(call: Call, generator: torch.Generator) -> None:
    values = leaf(call["values"])
    found = call(values=values)
    weights = weights_for(found, generator)
    (gradient,) = torch.autograd.grad(found, values, weights)
    for n in range(len(values)):
        lattice = PermutohedralLattice(call["features"][n].flatten(1))
        own = leaf(values[n].flatten(1))
        given = weights[n].flatten(1)
        (truth,) = torch.autograd.grad(lattice.filter(own), own, given)
        (size,) = torch.autograd.grad(lattice.filter(own), own, given.abs())
        assert_within(gradient[n].flatten(1), truth, size)


def with_compats(kernels: list[Kernel], compats: list[Tensor]) -> list[Kernel]:
    made: list[Kernel] = []
    for kernel, compat in zip(kernels, compats, strict=True):
        widths: Any = {
            name: getattr(kernel, name) for name in ("sxy", "srgb", "features") if hasattr(kernel, name)
        }
        made.append(type(kernel)(**widths, compat=compat))
    return made


@given(
    call=crf_calls(most=6, compat=3.0, wild=False, dims=8),
    generator=generators(),
    output=st.sampled_from(["probs", "log_probs"]),
)
@cases()
def test_crf(call: Call, generator: torch.Generator, output: str) -> None:
    unary = leaf(call["unary"])
    dtype = unary.dtype
    iterations = min(call["iterations"], 3)
    compats = [leaf(torch.as_tensor(k.compat, dtype=dtype)) for k in call["kernels"]]
    kernels = with_compats(call["kernels"], compats)
    found = call(unary=unary, kernels=kernels, output=output, iterations=iterations)
    # No loss may weigh the logarithm of what is impossible: it would be infinite.
    weights = weights_for(found, generator).masked_fill(found.isinf(), 0)
    gradients = torch.autograd.grad(found, [unary, *compats], weights)
    names = call["normalization"]
    names = [names] * len(kernels) if isinstance(names, str) else names

    truths = [torch.zeros_like(t) for t in (unary, *compats)]
    gain = 1.0
    shape = (-1, *unary.shape[-3:])
    for n in range(len(unary)):
        terms = pairwise_terms(call["image"], kernels, names, n, unary)
        # What an update makes of an error of Q at most: it is what all errors together add up to.
        with torch.no_grad():
            ones = torch.ones_like(unary[n].reshape(shape)[0].flatten(1))
            costs = [(-c.abs() if c.dim() == 0 else c.abs(), *rest) for c, *rest in terms]
            gain = max(gain, float(-next_logits(torch.zeros_like(ones), costs, ones).min()))
        for m in range(unary[n].reshape(shape).shape[0]):
            energy = leaf(unary[n].reshape(shape)[m].flatten(1))
            q = torch.softmax(-energy, 0)
            logits = -energy
            for _ in range(iterations):
                logits = next_logits(energy, terms, q)
                q = torch.softmax(logits, 0)
            result = q if output == "probs" else torch.log_softmax(logits, 0)
            own = torch.autograd.grad(
                result,
                [energy, *compats],
                weights[n].reshape(shape)[m].flatten(1),
                allow_unused=True,
                materialize_grads=True,
                retain_graph=True,
            )
            truths[0][n].view(shape)[m].copy_(own[0].reshape(shape[1:]))
            for total, part in zip(truths[1:], own[1:], strict=True):
                total += part
    # Gradients pass through all iterations, each of which magnifies errors by the gain.
    for gradient, truth in zip(gradients, truths, strict=True):
        if gradient.numel():
            points = max(1, found.numel())
            assert_within(
                gradient, truth, max(1.0, float(truth.abs().max())) * gain**iterations * points**0.5
            )


@given(call=path_calls(), generator=generators())
@cases()
def test_path_affinity(call: Call, generator: torch.Generator) -> None:
    boundary = leaf(call["boundary"])
    found = call(boundary=boundary)
    weights = weights_for(found, generator)
    (gradient,) = torch.autograd.grad(found, boundary, weights)
    exact = leaf(call["boundary"], torch.float64)
    (truth,) = torch.autograd.grad(reference_paths(exact, call["radius"]), exact, weights.double())
    # As many terms in a sum as paths may have their largest value at one pixel.
    assert_within(gradient, truth, max(1.0, float(weights.abs().sum()) ** 0.5) if weights.numel() else 1.0)


@given(call=walk_calls(most=5, exp_times=6, wild=False), generator=generators())
@cases()
def test_random_walk(call: Call, generator: torch.Generator) -> None:
    call = call.but(tol=min(call["tol"], 1e-16), radius=min(call["radius"], 8))
    beta, steps = call["beta"], steps_of(call)
    cam, boundary = leaf(call["cam"]), leaf(call["boundary"])
    found = call(cam=cam, boundary=boundary)
    weights = weights_for(found, generator)
    gradients = torch.autograd.grad(found, [cam, boundary], weights)
    assert all(bool(g.isfinite().all()) for g in gradients)
    if 0 < beta < 1 and bool((boundary == 1).any()):
        return  # the reference has the infinite slope of the power there, and NaN from it
    _, atol = TOLERANCE[cam.dtype]
    for n in range(len(cam)):
        own_cam, own = leaf(cam[n], torch.float64), leaf(boundary[n], torch.float64)
        matrix = affinity_matrix(own, call["radius"], beta).to_dense()
        degree = matrix.sum(0)
        walked = (own_cam * (1 - own)).flatten(1) @ torch.linalg.matrix_power(matrix / degree, steps)
        truths = torch.autograd.grad(
            walked.view(own_cam.shape), [own_cam, own], weights[n].double(), materialize_grads=True
        )
        # Of a power as of its exponent: 1 - m is rounded before it. Of the steps as in the op's own result.
        spread = float((degree.max() / degree.min()).detach().sqrt())
        uncertain = 1 + (4 * steps + 4 * beta) * torch.finfo(cam.dtype).eps / atol
        for gradient, truth in zip((g[n] for g in gradients), truths, strict=True):
            if truth.numel():
                largest = max(
                    1.0,
                    float(truth.abs().max()),
                    float(weights[n].abs().sum()) if weights[n].numel() else 0.0,
                )
                assert_within(gradient, truth, largest * spread * uncertain, roundings=64 + 16 * steps)
