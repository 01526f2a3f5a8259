"""What must not change a bit of a result: threads, strides, the batch around an image, half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

import wsss_fast
from fuzz import calls
from fuzz.calls import Call
from fuzz.counting import cases
from wsss_fast import Features

# Large enough for work to be shared out to threads; the core takes a fraction of the references' time.
LARGE: dict[str, st.SearchStrategy[Call]] = {
    "crf": calls.crf_calls(most=60, batch=2, dims=4),
    "lattice": calls.lattice_calls(most=160, batch=2, channels=3),
    "random_walk": calls.walk_calls(most=40, batch=3, exp_times=8),
    "path_affinity": calls.path_calls(most=50, batch=3, radius=12),
    "loss": calls.loss_calls(most=50, batch=3, radius=10),
    "fuse_cams": calls.fusion_calls(most=50, batch=3),
    "tta_merge": calls.tta_calls(most=40, batch=3),
}
SMALL: dict[str, st.SearchStrategy[Call]] = {
    "crf": calls.crf_calls(batch=3, wild=False),
    "lattice": calls.lattice_calls(batch=3, wild=False),
    "random_walk": calls.walk_calls(batch=3, exp_times=7, wild=False),
    "path_affinity": calls.path_calls(batch=3),
    "fuse_cams": calls.fusion_calls(batch=3, wild=False),
    "tta_merge": calls.tta_calls(batch=3, wild=False),
    "loss": calls.loss_calls(batch=3),
}
OUTPUTS = {"crf": ("probs", "log_probs", "labels"), "tta_merge": ("mean", "labels")}


def drawn(data: st.DataObject, op: str, pool: dict[str, st.SearchStrategy[Call]]) -> Call:
    call = data.draw(pool[op])
    if op in OUTPUTS:
        return call.but(output=data.draw(st.sampled_from(OUTPUTS[op])))
    if op == "fuse_cams" and not isinstance(call["size"], list):
        return call.but(size=[call["size"]], crop=[call["crop"]])
    return call


def same(one: Any, other: Any) -> bool:
    """To the bit, in whatever lists."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("op", LARGE)
@given(data=st.data())
@cases(0.5)
def test_threads(op: str, data: st.DataObject) -> None:
    call = drawn(data, op, LARGE)
    results = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        results.append(call())
    torch.set_num_threads(1)
    assert same(*results)


@pytest.mark.parametrize("op", SMALL)
@given(data=st.data())
@cases(0.5)
def test_strides(op: str, data: st.DataObject) -> None:
    call = drawn(data, op, SMALL)
    assert same(call(), call.of(lambda t: t.contiguous())())


def of_image(op: str, result: Any, n: int) -> Any:
    return [of_size[n] for of_size in result] if op == "fuse_cams" else result[n]


@pytest.mark.parametrize("op", [op for op in SMALL if op != "loss"])  # which is one of its batch
@given(data=st.data())
@cases(0.5)
def test_an_image_alone_in_a_batch_or_in_a_list(op: str, data: st.DataObject) -> None:
    call = drawn(data, op, SMALL)
    together = call()
    count = len(next(t for v in call.given.values() if (t := first_tensor(v)) is not None))
    for n in range(count):
        expected = of_image(op, together, n)
        assert same(of_image(op, call.of(lambda t, n=n: t[n : n + 1])(), 0), expected)
        if op != "lattice" or call["features"].dim() == 4:  # a volume needs its N
            assert same(call.of(lambda t, n=n: t[n])(), expected)
    if op == "crf" and call["unary"].dim() == 5:
        for m in range(call["unary"].shape[1]):
            assert same(call(unary=call["unary"][:, m]), together[:, m])
    if op in ("crf", "random_walk"):
        names = ("image", "unary") if op == "crf" else ("cam", "boundary")
        lists: dict[str, Any] = {name: list(call[name]) for name in names}
        if op == "crf":
            lists["kernels"] = [
                Features(list(k.features), k.compat) if isinstance(k, Features) else k
                for k in call["kernels"]
            ]
        assert same(call(**lists), list(together))


@given(one=calls.walk_calls(wild=False, exp_times=6), other=calls.walk_calls(wild=False, exp_times=6))
@cases()
def test_walks_of_different_sizes_in_one_list(one: Call, other: Call) -> None:
    tensors = [
        {name: c[name].to(one["cam"].dtype) for name in ("cam", "boundary")} for c in (one, other, one)
    ]
    together = one(**{name: [t[name] for t in tensors] for name in ("cam", "boundary")})
    assert same(together, [one(**t) for t in tensors])


@given(one=calls.crf_calls(wild=False), other=calls.crf_calls(wild=False))
@cases()
def test_images_of_different_sizes_in_one_list(one: Call, other: Call) -> None:
    # What fits images of any size and any number of classes.
    kernels = [k for k in one["kernels"] if not isinstance(k, Features) and isinstance(k.compat, float)]
    call = one.but(kernels=kernels, normalization="symmetric")
    tensors = [{name: c[name] for name in ("image", "unary")} for c in (one, other, one)]
    together = call(**{name: [t[name] for t in tensors] for name in ("image", "unary")})
    assert same(together, [call(**t) for t in tensors])


def first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, list) and value:
        return first_tensor(value[0])
    return value if isinstance(value, Tensor) else None


@pytest.mark.parametrize("op", SMALL)
@given(data=st.data(), half=st.sampled_from([torch.bfloat16, torch.float16]))
@cases(0.25)
def test_half_precision_is_taken_as_float32_under_autocast(
    op: str, data: st.DataObject, half: torch.dtype
) -> None:
    call = drawn(data, op, SMALL)

    def rounded(t: Tensor) -> Tensor:
        return t.to(half) if t.dtype.is_floating_point else t

    def widened(t: Tensor) -> Tensor:
        return rounded(t).float() if t.dtype.is_floating_point else t

    expected = call.of(widened)()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(call.of(rounded)(), expected)


@given(
    data=st.data(),
    classes=st.integers(1, 300),
    gt_prob=st.floats(1e-6, 1 - 1e-6),
    zero_unsure=st.booleans(),
)
@cases()
def test_unary_from_labels(data: st.DataObject, classes: int, gt_prob: float, zero_unsure: bool) -> None:
    shape = data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=4))
    dtype = data.draw(st.sampled_from([torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]))
    most = classes if zero_unsure else classes - 1
    assume(most <= torch.iinfo(dtype).max)
    labels = torch.randint(most + 1, shape, generator=data.draw(calls.generators())).to(dtype)
    labels = calls.laid_out(data.draw, labels)
    unary = wsss_fast.unary_from_labels(labels, classes, gt_prob, zero_unsure)
    assert unary.dtype == torch.float32
    assert unary.shape == (*labels.shape[:-2], classes, *labels.shape[-2:])
    known = labels.long() - int(zero_unsure)
    one_hot = torch.nn.functional.one_hot(known.clamp(min=0), classes).movedim(-1, -3)
    probs = torch.where(one_hot == 1, gt_prob, (1 - gt_prob) / max(classes - 1, 1)).double()
    probs = torch.where((known < 0).unsqueeze(-3), 1 / classes, probs)
    torch.testing.assert_close(unary, -probs.log().float(), rtol=1e-6, atol=1e-6)


@given(data=st.data(), clip=st.one_of(st.none(), st.just(0.0), st.floats(0, 0.999, allow_subnormal=False)))
@cases()
def test_unary_from_probs(data: st.DataObject, clip: float | None) -> None:
    shape = data.draw(st.lists(st.integers(0, 5), min_size=3, max_size=5))
    probs = calls.fractions(data.draw, shape, data.draw(calls.dtypes()))
    unary = wsss_fast.unary_from_probs(probs, clip)
    assert unary.dtype == probs.dtype
    assert torch.equal(unary, -probs.clamp(min=clip or 0.0).log())
