"""A legal call with one argument just outside what is legal: an error that names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable
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
from fuzz.strategies import Draw

# How a good argument becomes a bad one.
Spoil = Callable[[Draw, Any], Any]


def outside(*numbers: Any) -> Spoil:
    return lambda draw, value: draw(st.sampled_from(numbers))


def one_value(*numbers: float) -> Spoil:
    """One of the values of a tensor, or of one in a list, becomes one of the numbers."""

    def spoil(draw: Draw, value: Any) -> Any:
        if isinstance(value, list):
            at = draw(st.integers(0, len(value) - 1))
            return [spoil(draw, v) if i == at else v for i, v in enumerate(value)]
        assume(value.numel() > 0 and value.dtype.is_floating_point)
        bad = value.clone(memory_format=torch.contiguous_format)
        at = draw(st.integers(0, bad.numel() - 1))
        bad.view(-1)[at] = draw(st.sampled_from(numbers))
        return bad

    return spoil


def tensors(*changes: Callable[[Tensor], Tensor]) -> Spoil:
    def spoil(draw: Draw, value: Any) -> Any:
        change = draw(st.sampled_from(changes))
        return [change(value[0]), *value[1:]] if isinstance(value, list) else change(value)

    return spoil


def no_tensor(draw: Draw, value: Any) -> Any:
    return draw(st.sampled_from([None, 3, "maps", value.numpy()]))


def nothing_possible(draw: Draw, unary: Tensor) -> Tensor:
    assume(unary.numel() > 0)
    bad = unary.clone(memory_format=torch.contiguous_format)
    bad[..., draw(st.integers(0, bad.shape[-2] - 1)), draw(st.integers(0, bad.shape[-1] - 1))] = math.inf
    return bad


def bad_label(draw: Draw, labels: Tensor) -> Tensor:
    assume(labels.numel() > 0 and labels.dtype != torch.uint8)
    bad = labels.clone(memory_format=torch.contiguous_format)
    wrong = [-1, -128, *([2**31, 2**40] if labels.dtype == torch.int64 else [])]
    bad.view(-1)[draw(st.integers(0, bad.numel() - 1))] = draw(st.sampled_from(wrong))
    return bad


def longer(t: Tensor) -> Tensor:
    """By a row."""
    return torch.cat([t, t[..., -1:, :]], -2)


def another_axis(t: Tensor) -> Tensor:
    return t[None, None, None]


DTYPES = tensors(Tensor.half, Tensor.bfloat16, Tensor.long, Tensor.bool, lambda t: t.to(torch.complex64))
SHAPES = tensors(
    longer, another_axis, lambda t: t[..., 0, 0], lambda t: torch.cat([t, t[:1]]) if len(t) else t[None]
)
NAN = (math.nan, math.inf, -math.inf)
NOT_IN_01 = (*NAN, -1e-7, 1 + 1e-6, -5.0, 2.0)
NO_CHOICE = outside("", "Softmax", "all", None, 1, True)
NO_INTEGER = (1.0, 2.5, "2", None, True, math.nan)

TABLE: list[tuple[str, st.SearchStrategy[Call], str, Spoil]] = []


def add(op: str, strategy: st.SearchStrategy[Call], *rows: tuple[str, Spoil]) -> None:
    TABLE.extend((op, strategy, *row) for row in rows)


add(
    "crf",
    calls.crf_calls(most=5),
    ("image", no_tensor),
    ("image", one_value(*NAN, -1e-5, 255.01, 1e30)),
    ("image", SHAPES),
    ("image", tensors(Tensor.half, Tensor.int, Tensor.bool)),
    ("unary", no_tensor),
    ("unary", one_value(math.nan, -math.inf)),
    ("unary", DTYPES),
    ("unary", tensors(lambda t: t[..., 0], lambda t: t[None, None])),
    ("unary", nothing_possible),
    ("iterations", outside(-1, 2**31, *NO_INTEGER)),
    ("normalization", outside("both", "", None, 3, ["symmetric"] * 9)),
    ("output", NO_CHOICE),
    ("capacity", outside(0, -1, 1.0, "1", [1] * 9)),
    ("kernels", outside(3, "gaussian", [None], [3], {"gaussian": 3})),
)
add(
    "lattice",
    calls.lattice_calls(most=4),
    ("features", one_value(*NAN, 1e30)),
    ("features", DTYPES),
    ("features", tensors(lambda t: t[0] if len(t) else t[None, None], lambda t: t[:, :0], another_axis)),
    ("features", tensors(lambda t: t[:, :1].expand(-1, 17, *t.shape[2:]))),
    ("values", one_value(*NAN)),
    ("values", DTYPES),
    ("values", SHAPES),
)
add(
    "random_walk",
    calls.walk_calls(most=4, exp_times=4),
    ("cam", no_tensor),
    ("cam", one_value(*NAN)),
    ("cam", DTYPES),
    ("cam", SHAPES),
    ("boundary", no_tensor),
    ("boundary", one_value(*NOT_IN_01)),
    ("boundary", DTYPES),
    ("boundary", SHAPES),
    ("radius", outside(1, 16, 0, -5, 2**40, *NO_INTEGER)),
    ("beta", outside(-1e-30, -1, math.nan, math.inf, None, "10", True)),
    ("exp_times", outside(-1, 13, 2**40, *NO_INTEGER)),
    ("steps", outside(-1, 2**20 + 1, 1.0, 2.5, "2", True, math.nan)),
    ("method", NO_CHOICE),
    ("tol", outside(-1e-30, 1, 1.0, 2, math.nan, math.inf, None, "0")),
)
add(
    "path_affinity",
    calls.path_calls(most=4),
    ("boundary", no_tensor),
    ("boundary", one_value(*NOT_IN_01)),
    ("boundary", DTYPES),
    (
        "boundary",
        tensors(
            lambda t: t[:, :, :1], lambda t: t[..., :2], lambda t: t[None], lambda t: t.expand(-1, 2, -1, -1)
        ),
    ),
    ("radius", outside(1, 65, 0, -5, *NO_INTEGER)),
)
add(
    "loss",
    calls.loss_calls(most=4),
    ("boundary_logits", one_value(math.nan)),
    ("boundary_logits", DTYPES),
    ("displacement", one_value(*NAN)),
    ("displacement", DTYPES),
    ("displacement", SHAPES),
    ("labels", tensors(Tensor.float, Tensor.bool)),
    ("labels", SHAPES),
    ("labels", bad_label),
    ("radius", outside(1, 65, 0, -5, *NO_INTEGER)),
)
add(
    "fuse_cams",
    calls.fusion_calls(most=5),
    ("cams", outside(None, [], 3, [None], ["a"], [3.0])),
    ("cams", DTYPES),
    ("cams", tensors(another_axis, lambda t: t[..., 0, 0], lambda t: t[..., :0, :])),
    ("size", outside((0, 3), (3, -1), (3,), (3, 3, 3), [], 3, None, "12", (3.0, 3), [(3, 0)], (2**31, 1))),
    ("relu", NO_CHOICE),
    ("normalize", NO_CHOICE),
    ("flipped", outside([True] * 9, [], 3, "TF", [0], [None] * 5)),
    ("classes", tensors(Tensor.float, Tensor.int, another_axis)),
)
add(
    "tta_merge",
    calls.tta_calls(most=5),
    ("logits", outside(None, [], 3, [None], ["a"], [3.0])),
    ("logits", one_value(*NAN)),
    ("logits", DTYPES),
    ("logits", tensors(another_axis, lambda t: t[..., 0, 0], lambda t: t[..., :0, :], lambda t: t[:, :0])),
    ("size", outside((0, 3), (3, -1), (3,), (3, 3, 3), [], 3, None, "12", (3.0, 3), [(3, 0)], (2**31, 1))),
    ("flipped", outside([True] * 9, [], None, 3, "TF", [0], [None] * 5)),
    ("activation", NO_CHOICE),
)
OPS = sorted({row[0] for row in TABLE})


@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
@cases(0.5)
def test_error_names_the_argument(op: str, data: st.DataObject) -> None:
    rows = [row for row in TABLE if row[0] == op]
    _, strategy, argument, spoil = data.draw(st.sampled_from(rows))
    call = data.draw(strategy)
    assume(argument in call.given or argument in ("output", "capacity", "steps", "exp_times"))
    if argument == "image":
        call = call.but(
            kernels=[wsss_fast.Bilateral(9, 9, 1)], normalization="symmetric"
        )  # which looks at it
    bad = spoil(data.draw, call.given.get(argument))
    with pytest.raises((ValueError, TypeError)) as error:
        call(**{argument: bad})
    # Two arguments that do not fit each other: either may be the wrong one.
    others = {
        "image": ["unary"],
        "unary": ["image", "features of kernel", "compat of kernel"],
        "cam": ["boundary"],
        "boundary": ["cam"],
        "values": ["features"],
        "features": ["values"],
        "cams": ["classes", "flipped"],
        "logits": ["flipped"],
        "size": ["crop"],
        "boundary_logits": ["displacement", "labels"],
    }
    assert str(error.value).startswith((argument, *others.get(argument, []))), str(error.value)
