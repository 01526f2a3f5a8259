"""random_walk, path_affinity, fuse_cams and tta_merge on arbitrary input, against their references.

The references work in float64 on the numbers that the op was given, so that what is compared with is the
truth for float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from conftest import TOLERANCE
from hypothesis import given
from torch import Tensor

from fuzz.calls import Call, fusion_calls, path_calls, tta_calls, walk_calls
from fuzz.closeness import assert_between, assert_within
from fuzz.counting import cases
from wsss_fast.reference.cam_fusion import fuse_cams as reference_fusion
from wsss_fast.reference.path_affinity import path_affinity as reference_paths
from wsss_fast.reference.random_walk import affinity_matrix
from wsss_fast.reference.tta import tta_merge as reference_tta


def steps_of(call: Call) -> int:
    return call.given.get("steps", 2 ** call.given.get("exp_times", 8))


@given(call=walk_calls())
@cases()
def test_random_walk_is_that_of_the_reference(call: Call) -> None:
    cam, boundary = call["cam"], call["boundary"]
    found = call()
    assert found.shape == cam.shape
    steps = steps_of(call)
    for n in range(len(cam)):
        # Affinities in the op's dtype, whose 1 - m is rounded before a large beta magnifies that.
        dense = affinity_matrix(boundary[n], call["radius"], call["beta"]).to_dense().double()
        degree = dense.sum(0)
        seed = (cam[n] * (1 - boundary[n])).double().flatten(1)
        truth = seed @ torch.linalg.matrix_power(dense / degree, steps)
        # Of maps with other signs or sizes only the own rounding errors reach a pixel; what a step makes of
        # an error is at most the root of the largest ratio of degrees times as large. Every step adds one.
        size = seed.abs().amax(1, keepdim=True) if seed.numel() else seed.sum(1, keepdim=True)
        size = size * (degree.max() / degree.min()).sqrt()
        lost = 2 * call["tol"] if call["method"] == "chebyshev" else 0.0
        each_step = 4 * steps * torch.finfo(cam.dtype).eps
        _, atol = TOLERANCE[cam.dtype]
        size = size * (1 + (lost + each_step) / atol)
        assert_within(found[n].flatten(1), truth, size, roundings=64 + 16 * steps)


@given(call=path_calls())
@cases()
def test_path_affinity_is_that_of_the_reference(call: Call) -> None:
    # One subtraction: not a bit may differ.
    assert torch.equal(call(), reference_paths(**call.given))


def largest_near(maps: Tensor) -> Tensor:
    """How large the samples are that resampling may mix, whichever way their place is rounded."""
    return F.max_pool2d(maps.double().abs(), 3, 1, 1) if maps.numel() else maps.double()


def as_lists(result: Any) -> list[list[Tensor]]:
    """Results of fuse_cams by size and, with classes, by image."""
    by_size = result if isinstance(result, list) else [result]
    return [list(r) for r in by_size]


def in_double(call: Call) -> dict[str, Any]:
    return call.of(lambda t: t.double() if t.dtype.is_floating_point else t).given


@given(call=fusion_calls())
@cases()
def test_fuse_cams_is_that_of_the_reference(call: Call) -> None:
    given = call.given
    if not isinstance(given["size"], list):  # one size is a list of one: the same bits
        one = call()
        given = {**given, "size": [given["size"]], "crop": [given["crop"]]}
        many = call.op(**given)
        for alone, listed in zip(as_lists([one]), as_lists(many), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(alone, listed, strict=True))
    found = as_lists(call.op(**given))
    exact = {**in_double(call), **{name: given[name] for name in ("size", "crop")}}
    truths = as_lists(reference_fusion(**exact))
    # The error of a sum, and the sum itself with its maximum, tell how far the quotient may be off.
    sums = as_lists(reference_fusion(**{**exact, "normalize": "none"}))
    near = [largest_near(c) for c in exact["cams"]]
    sizes = as_lists(reference_fusion(**{**exact, "cams": near, "normalize": "none", "relu": "none"}))
    _, atol = TOLERANCE[given["cams"][0].dtype]
    for of_size in zip(found, truths, sums, sizes, strict=True):
        for fused, truth, total, size in zip(*of_size, strict=True):
            divided = given["normalize"] != "none" and fused.numel() > 0
            if divided:
                axes = (-2, -1) if given["normalize"] == "class" else (-3, -2, -1)
                divisor = total.amax(axes, keepdim=True).clamp(min=0) + 1e-5
                largest = size.amax(axes, keepdim=True)
                least = (divisor - atol * largest).clamp(min=1e-5)  # what is certain of it
                size = size / least + truth.abs() * (largest / least)
            assert_within(fused, truth, size)


@given(call=tta_calls())
@cases()
def test_tta_merge_is_that_of_the_reference(call: Call) -> None:
    logits, activation = call["logits"], call["activation"]
    mean, labels = call(output="mean"), call(output="labels")
    exact = in_double(call)
    near = [largest_near(z) for z in exact["logits"]]
    alone = [
        {**exact, "logits": [z], "flipped": [f]}
        for z, f in zip(exact["logits"], exact["flipped"], strict=True)
    ]
    if not len(mean):
        assert labels.shape == (0, *call["size"])
        return
    size = torch.zeros(())
    low, high = torch.zeros(()), torch.zeros(())
    _, atol = TOLERANCE[mean.dtype]
    for one, samples in zip(alone, near, strict=True):
        value = reference_tta(**{**one, "activation": "none"})
        around = reference_tta(**{**one, "logits": [samples], "activation": "none"})
        if activation == "none":
            size = size + around / len(logits)
            low, high = low + value / len(logits), high + value / len(logits)
            continue
        # A probability is as uncertain as its logit, or as all logits of the pixel.
        error = 2 * atol * (around.amax(1, keepdim=True) if activation == "softmax" else around)
        certain = value.log_softmax(1) if activation == "softmax" else F.logsigmoid(value)
        low = low + (certain - error).exp() / len(logits)
        high = high + (certain + error).clamp(max=0).exp() / len(logits)
    assert_between(mean, low, high, 1.0 if activation != "none" else size)
    # The largest mean, and the first of classes that are alike in every input.
    assert torch.equal(mean.gather(1, labels.long().unsqueeze(1)), mean.amax(1, keepdim=True))
    for n, chosen in enumerate(labels):
        rows = torch.cat([z[n].flatten(1) for z in logits], 1)
        number = torch.unique(rows, dim=0, return_inverse=True)[1].tolist()
        assert all(number.index(number[c]) == c for c in chosen.unique().tolist())
    if activation == "softmax":
        assert_within(mean.sum(1), torch.ones_like(mean[:, 0]))
    assert math.prod(labels.shape) == 0 or int(labels.max()) < mean.shape[1]
