"""The stand-in for pydensecrf: how its functions and methods are called rightly, and with what kinds of
arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hard_use.bad_arrays import Array, any_of, numbers_that_are_none
from hard_use.bad_input import (
    Bool,
    Entry,
    Gives,
    Int,
    Kind,
    Number,
    Odd,
    Outcome,
    Raises,
    Values,
    no_numbers,
    wrong_types,
)

import wsss_fast.compat
from wsss_fast.compat.pydensecrf import densecrf, eigen, utils

PACKAGE = "wsss_fast.compat.pydensecrf"
FLOATS = any_of("f8", "g", ">f4", ">f8") | any_of("f2", what="rough")
ALL_NUMBERS = any_of("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4", ">u2")
HUGE = 3e38
LABELS, WIDTH, HEIGHT = 3, 5, 4
POINTS = WIDTH * HEIGHT


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def _bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def _model() -> Any:
    d = densecrf.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    d.setUnaryEnergy(3 * _random(LABELS, POINTS))
    return d


def _after(method: str) -> Callable[..., np.ndarray]:
    """What a model infers after a call of one of its methods."""

    def run(**arguments: Any) -> np.ndarray:
        d = _model()
        getattr(d, method)(**arguments)
        result: np.ndarray = d.inference(2)
        return result

    return run


def _step(Q: Any, tmp1: Any = None, tmp2: Any = None) -> np.ndarray:
    d = _model()
    d.addPairwiseGaussian(2, 3)
    d.stepInference(Q, tmp1, tmp2)
    return np.array(Q)


def _divergence(Q: Any) -> float:
    d = _model()
    d.addPairwiseGaussian(2, 3)
    return float(d.klDivergence(Q))


def _infer(niter: Any) -> np.ndarray:
    d = _model()
    d.addPairwiseGaussian(2, 3)
    return np.array(d.inference(niter))


def _energies(name_of_points: str = "P", **more: Any) -> Array:
    return Array(
        "C" + name_of_points,
        right=FLOATS,
        bad={"NaN": math.nan, "-inf": -math.inf},
        fine={"3e38": HUGE, "-3e38": -HUGE, "-0": -0.0, "1e-40": 1e-40},
        lists=True,
        **more,
    )


def _compats() -> Kind:
    nothing: list[tuple[str, Any, Outcome]] = [
        (what, value, Raises(TypeError))
        for what, value in no_numbers()
        if what not in ("a list", "an empty list", "a tuple", "an array", "a tensor [4]")
    ]
    for what, value in {
        "NaN": math.nan,
        "inf": math.inf,
        "1e300": 1e300,
        "1e400": 10**400,
        "an empty list": [],
        "two": [1.0, 2.0],
        "four": [1.0, 2.0, 3.0, 4.0],
        "a NaN": [1.0, math.nan, 2.0],
        "an inf": np.diag([1.0, math.inf, 2.0]),
        "a matrix of another size": np.eye(2),
        "no square": np.ones((3, 2)),
        "rank 3": np.ones((3, 3, 3)),
        "a number in a list": [3],
    }.items():
        error = (TypeError, ValueError) if what == "1e400" else ValueError
        nothing.append((what, value, Raises(error)))
    fine: dict[str, Any] = {
        "an int": 3,
        "numpy's float32": np.float32(3),
        "numpy's float64": np.float64(3),
        "rank 0": np.array(3.0),
        "a tensor": torch.tensor(3.0),
    }
    costs: dict[str, Any] = {
        "costs": [-3, -3, -3],
        "costs with negative strides": np.array([-3.0, -3, -3])[::-1],
        "a matrix in Fortran order": np.asfortranarray(-3 * np.eye(3)),
        "a matrix with negative strides": (-3 * np.eye(3))[::-1, ::-1],
    }
    return Values(
        (
            *nothing,
            *((what, value, Gives()) for what, value in fine.items()),
            *((what, value, Gives("near")) for what, value in costs.items()),
        )
    )


def _members(count: int) -> Kind:
    bad: list[tuple[str, Any, Outcome]] = [
        (f"{value}"[:20], value, Raises(ValueError)) for value in (-1, count, 10**12, 1.5, math.nan)
    ]
    bad += [
        (f"a {type(value).__name__}", value, Raises((TypeError, ValueError)))
        for value in (None, "CONST_KERNEL", [], {}, object(), 3j, np.zeros(2))
    ]
    return Values((*bad, *((f"{value}", value, Gives("finite")) for value in range(count))))


def _widths(count: int) -> Kind:
    bad: list[tuple[str, Any, Outcome]] = [
        (what, value, Raises(TypeError))
        for what, value in no_numbers()
        if what not in ("a list", "an empty list", "a tuple", "an array", "a tensor [4]")
    ]
    for what, value in {
        "0": 0,
        "-1": -1.0,
        "NaN": math.nan,
        "inf": math.inf,
        "1e300": 1e300,
        "1e-300": 1e-300,
        "nothing": (),
        "one too many": (3.0,) * (count + 1),
        "a 0": (3.0,) * (count - 1) + (0.0,),
        "a NaN": (math.nan,) + (3.0,) * (count - 1),
        "a matrix": np.full((count, count), 3.0),
        "one in a list": [3.0],
    }.items():
        if not (count == 1 and what == "one in a list"):
            bad.append((what, value, Raises(ValueError)))
    bad.append(("1e400", 10**400, Raises((TypeError, ValueError))))
    fine = {
        "an int": 3,
        "numpy's float32": np.float32(3),
        "numpy's int8": np.int8(3),
        "rank 0": np.array(3.0),
        "a list": [3.0] * count,
        "an array with negative strides": np.full(count, 3.0)[::-1],
        "a tensor": torch.full((count,), 3.0),
    }
    return Values((*bad, *((what, value, Gives()) for what, value in fine.items())))


def _pairwise(**kinds: Kind) -> dict[str, Kind]:
    return {**kinds, "compat": _compats(), "kernel": _members(3), "normalization": _members(4)}


def _model_entries() -> list[Entry]:
    image = _bytes(HEIGHT, WIDTH, 3)
    options = {"compat": 3.0, "kernel": densecrf.DIAG_KERNEL, "normalization": densecrf.NORMALIZE_SYMMETRIC}
    size = Int(1, 2**31 - 1)
    points = 3 * _random(2, POINTS)
    options_of_both: dict[str, Any] = {
        "right": FLOATS,
        "bad": numbers_that_are_none(),
        "fine": {"-0": -0.0, "1e30": 1e30},
    }
    # That their product is no energy for the model is told by its name.
    weights = Array("CD", tied="CD", tied_names={"C": "u"}, **options_of_both)
    features = Array("DP", tied="DP", tied_names={"P": "u"}, **options_of_both)
    given = Array("DP", tied="DP", optional=True, **options_of_both)
    q = np.full((LABELS, POINTS), 1 / LABELS, dtype=np.float32)
    marginals = Array(
        "CP",
        tied="CP",
        right=FLOATS,
        bad={**numbers_that_are_none(), "3e38": HUGE, "-3e38": -HUGE},
        fine={"0": 0.0, "1": 1.0, "1e-40": 1e-40},
    )
    return [
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF",
            lambda nvar, nlabels: densecrf.DenseCRF(nvar, nlabels).inference(1),
            lambda: {"nvar": POINTS, "nlabels": LABELS},
            {"nvar": size, "nlabels": size},
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF2D",
            lambda w, h, nlabels: densecrf.DenseCRF2D(w, h, nlabels).inference(1),
            lambda: {"w": WIDTH, "h": HEIGHT, "nlabels": LABELS},
            {"w": size, "h": size, "nlabels": size},
            more=lambda: [
                ("w", Odd("too many with h", 2**31 - 1, Raises(ValueError))),
                ("h", Odd("too many with w", 2**30, Raises(ValueError))),
            ],
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.setUnary",
            _after("setUnary"),
            lambda: {"u": densecrf.ConstUnary(3 * _random(LABELS, POINTS))},
            {
                "u": Values(
                    (
                        ("None", None, Raises(TypeError)),
                        *((what, v, Raises(TypeError)) for what, v in wrong_types(densecrf.ConstUnary)),
                        ("two labels", densecrf.ConstUnary(_random(2, POINTS)), Raises(ValueError)),
                        ("one point", densecrf.ConstUnary(_random(LABELS, 1)), Raises(ValueError)),
                    )
                )
            },
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.setUnaryEnergy",
            _after("setUnaryEnergy"),
            lambda: {"u": 3 * _random(LABELS, POINTS), "f": None},
            {
                "u": _energies(tied="CP"),
                "f": Values(
                    tuple(
                        (f"a {type(value).__name__}", value, Raises((TypeError, ValueError)))
                        for value in (
                            3,
                            "x",
                            [1, 2],
                            {},
                            object(),
                            np.zeros(3, "f4"),
                            np.zeros((2, 20), "f4"),
                        )
                    )
                ),
            },
            more=lambda: [
                ("u", Odd("inf for a pixel", np.full((LABELS, POINTS), np.inf), Raises(ValueError, "unary"))),
            ],
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.setUnaryEnergy of features",
            _after("setUnaryEnergy"),
            lambda: {"u": _random(LABELS, 2), "f": points},
            {"u": weights, "f": given},
            more=lambda: [("f", Odd("3e38", np.full_like(points, HUGE), Raises(ValueError)))],
        ),
        Entry(
            f"{PACKAGE}.densecrf.ConstUnary",
            lambda u: _after("setUnary")(u=densecrf.ConstUnary(u)),
            lambda: {"u": 3 * _random(LABELS, POINTS)},
            {"u": _energies(tied="CP")},
        ),
        Entry(
            f"{PACKAGE}.densecrf.LogisticUnary",
            lambda L, f: _after("setUnary")(u=densecrf.LogisticUnary(L, f)),
            lambda: {"L": _random(LABELS, 2), "f": points},
            {"L": weights, "f": features},
            more=lambda: [("L", Odd("3e38", np.full((LABELS, 2), HUGE), Raises(ValueError)))],
        ),
        Entry(f"{PACKAGE}.densecrf.Unary", lambda: None, dict, {}),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.addPairwiseEnergy",
            _after("addPairwiseEnergy"),
            lambda: {"features": points, **options},
            _pairwise(
                features=Array(
                    "dP",
                    tied="P",
                    least={"d": 1},
                    right=FLOATS,
                    bad=numbers_that_are_none(),
                    fine={"-0": -0.0, "1e-40": 1e-40},
                )
            ),
            more=lambda: [
                ("features", Odd("17 dimensions", _random(17, POINTS), Raises(ValueError))),
                ("features", Odd("3e38", np.full((1, POINTS), HUGE, "f4"), Raises(ValueError))),
            ],
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF2D.addPairwiseGaussian",
            _after("addPairwiseGaussian"),
            lambda: {"sxy": 3.0, **options},
            _pairwise(sxy=_widths(2)),
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF2D.addPairwiseBilateral",
            _after("addPairwiseBilateral"),
            lambda: {"sxy": 3.0, "srgb": 3.0, "rgbim": image, **options},
            _pairwise(sxy=_widths(2), srgb=_widths(3), rgbim=Array("hwc", tied="hwc")),
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.inference",
            _infer,
            lambda: {"niter": 2},
            {"niter": Int(0, 2**31 - 1)},
        ),
        Entry(f"{PACKAGE}.densecrf.DenseCRF.startInference", lambda: _model().startInference()[0], dict, {}),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.stepInference",
            _step,
            lambda: {"Q": q.copy(), "tmp1": None, "tmp2": None},
            {
                "Q": Array(
                    "CP",
                    tied="CP",
                    right=any_of(),
                    bad={**numbers_that_are_none(), "3e38": HUGE, "-3e38": -HUGE},
                    fine={"0": 0.0, "1": 1.0},
                    lists=False,
                    write=True,
                ),
                "tmp1": Values((("anything", "x", Gives()),)),
                "tmp2": Values((("anything", object(), Gives()),)),
            },
        ),
        Entry(
            f"{PACKAGE}.densecrf.DenseCRF.klDivergence",
            _divergence,
            lambda: {"Q": q.copy()},
            {"Q": marginals},
        ),
    ]


def _utils_entries() -> list[Entry]:
    labels = np.random.default_rng(2).integers(0, 3, (4, 5))
    any_int = any_of("u1", "i1", "u2", "i2", "u4", "i4", "u8", ">i4", ">u2")
    of_labels = Array("hw", right=any_int, ranks=(0, 1, 3, 4, 5), bad={"-1": -1, "3": 3}, fine={"2": 2})
    unsure = Array("hw", right=any_int, ranks=(0, 1, 3, 4, 5), bad={"-1": -1, "4": 4}, fine={"3": 3})
    chance = Number(0, exclusive=True, below=1, numpy_too=True)
    probs = Array(
        "Cp",
        right=any_of("f8", "g", ">f4", ">f8", "f2", what="rough") | {n: Gives("finite") for n in ALL_NUMBERS},
        ranks=(1, 3, 4, 5),
        least={"C": 1, "p": 1},
        bad={"NaN": math.nan},
        fine={"0": 0.0, "1": 1.0, "2": 2.0, "-1": -1.0, "inf": math.inf, "-inf": -math.inf, "3e38": HUGE},
    )
    volume = _random(3, 4, 5)
    sdims = _axes(3)
    return [
        Entry(
            f"{PACKAGE}.utils.unary_from_labels",
            utils.unary_from_labels,
            lambda: {"labels": labels, "n_labels": 3, "gt_prob": 0.7, "zero_unsure": False},
            {"labels": of_labels, "n_labels": Int(1, 2**31 - 1), "gt_prob": chance, "zero_unsure": Truth()},
            more=lambda: (
                [
                    ("labels", Odd(f"{v}", np.full((1, 2), v), Raises(ValueError)))
                    for v in (-(2**63), 2**63 - 1, 2**31)
                ]
                + [
                    (
                        "labels",
                        Odd("2^64 - 1", np.full((1, 2), 2**64 - 1, dtype=np.uint64), Raises(ValueError)),
                    )
                ]
            ),
        ),
        Entry(
            f"{PACKAGE}.utils.compute_unary",
            utils.compute_unary,
            lambda: {"labels": labels, "M": 3, "GT_PROB": 0.7},
            {
                "labels": unsure,
                "M": _renamed(Int(1, 2**31 - 1), "n_labels"),
                "GT_PROB": _renamed(chance, "gt_prob"),
            },
        ),
        Entry(
            f"{PACKAGE}.utils.unary_from_softmax",
            utils.unary_from_softmax,
            lambda: {"sm": _random(3, 20), "scale": 0.9, "clip": 1e-5},
            {
                "sm": probs,
                "scale": Number(0, exclusive=True, most=1, optional=True, numpy_too=True),
                "clip": Number(0, below=1, optional=True, numpy_too=True),
            },
            more=lambda: [("clip", Odd("None", None, Gives("finite")))],
        ),
        Entry(
            f"{PACKAGE}.utils.softmax_to_unary",
            utils.softmax_to_unary,
            lambda: {"sm": _random(3, 20), "GT_PROB": 0.9},
            {
                "sm": Values(
                    (
                        ("NaN", np.full((3, 20), np.nan), Raises(ValueError)),
                        ("-1", np.full((3, 20), -1.0), Raises(ValueError)),
                        ("None", None, Raises(TypeError)),
                        ("empty", np.zeros((0, 3)), Raises(ValueError)),
                        ("rank 0", np.array(0.5), Raises(ValueError)),
                        ("complex", np.full((3, 20), 1j), Raises(TypeError)),
                    )
                ),
                "GT_PROB": Number(0, exclusive=True, most=1, numpy_too=True, optional=True),
            },
        ),
        Entry(
            f"{PACKAGE}.utils.create_pairwise_gaussian",
            utils.create_pairwise_gaussian,
            lambda: {"sdims": (1.0, 2.0, 3.0), "shape": (3, 4, 5)},
            {"sdims": sdims, "shape": _lengths()},
        ),
        Entry(
            f"{PACKAGE}.utils.create_pairwise_bilateral",
            utils.create_pairwise_bilateral,
            lambda: {"sdims": (1.0, 2.0, 3.0), "schan": 3.0, "img": volume, "chdim": -1},
            {
                "sdims": sdims,
                "schan": _widths(1),
                "img": Array(
                    "abc",
                    right=any_of("f8", "g", ">f4", ">f8")
                    | any_of("f2", what="rough")
                    | any_of(*ALL_NUMBERS, what="finite"),
                    ranks=(3,),
                    bad=numbers_that_are_none(),
                    fine={"-1": -1.0, "0": 0.0},
                    sizes=False,
                ),
                "chdim": Int(-3, 2),
            },
            more=lambda: [
                ("img", Odd("rank 0", np.float32(1), Raises(ValueError))),
                ("img", Odd("rank 2", volume[0], Raises(ValueError, "sdims"))),
                ("img", Odd("rank 4", volume[None], Raises(ValueError, "sdims"))),
                ("img", Odd("without pixels", volume[:, :0], Gives("finite"))),
                ("chdim", Odd("channels", 2, Raises(ValueError, "sdims"))),
            ],
        ),
        *(
            Entry(
                f"{PACKAGE}.eigen.{name}",
                getattr(eigen, name),
                lambda good=good: {"arr": good},
                {
                    "arr": Array(
                        axes, right=FLOATS, least=dict.fromkeys(axes, 1), fine={"-0": -0.0, "3e38": HUGE}
                    )
                },
            )
            for name, good, axes in (("matrixXf", _random(3, 4), "rc"), ("vectorXf", _random(4), "n"))
        ),
        Entry("wsss_fast.compat.install", wsss_fast.compat.install, dict, {}),
    ]


class Truth(Bool):
    """What is taken for a boolean by its truth, as the original does it."""

    def odd(self, name: str, good: Any) -> Any:
        for value in (True, 1, 0, 1.0, None, "", np.True_, torch.tensor(False)):
            yield Odd(f"{value}", value, Gives("finite"))
        yield Odd("an array", np.zeros(2), Raises((TypeError, ValueError)))


def _renamed(kind: Kind, name: str) -> Kind:
    """The kind of an argument that errors call by another name."""

    class Renamed:
        def odd(self, _: str, good: Any) -> Any:
            for odd in kind.odd(name, good):
                outcome = odd.outcome
                if isinstance(outcome, Raises):
                    outcome = Raises(outcome.error, name)
                yield Odd(odd.what, odd.value, outcome, odd.around)

    return Renamed()


def _axes(count: int) -> Kind:
    """A standard deviation for each axis."""
    bad: list[tuple[str, Any, Outcome]] = [
        (f"a {type(value).__name__} {value}"[:30], value, Raises((TypeError, ValueError)))
        for value in (
            None,
            3,
            3.0,
            "abc",
            True,
            object(),
            {},
            [None] * count,
            ["a"] * count,
            [True] * count,
            3j,
        )
    ]
    bad += [
        (f"{value}"[:30], value, Raises(ValueError))
        for value in ([], [1.0] * (count - 1), [1.0] * (count + 1), [0.0] * count, [-1.0] * count)
    ]
    bad += [
        (f"{number} for all", [number] * count, Raises(ValueError))
        for number in (math.nan, math.inf, -math.inf, 1e300, 1e-300)
    ]
    bad.append(("1e400", [10**400] * count, Raises((TypeError, ValueError))))
    return Values((*bad, ("an array", np.array([1.0, 2.0, 3.0]), Gives()), ("a list", [1, 2, 3], Gives())))


def _lengths() -> Kind:
    bad: list[tuple[str, Any, Outcome]] = [
        (f"a {type(value).__name__}", value, Raises(TypeError))
        for value in (None, 3, 3.0, "abc", True, object(), [3.0] * 3, [None] * 3, [True] * 3, ["3"] * 3)
    ]
    bad += [
        ("nothing", (), Raises(ValueError)),
        ("a 0", (3, 0, 5), Raises(ValueError)),
        ("-1", (3, -1, 5), Raises(ValueError)),
        ("1e12 each", (10**12,) * 3, Raises(ValueError)),
        ("1e400", (10**400, 3, 5), Raises(ValueError)),
        ("two", (3, 4), Raises(ValueError)),
        ("four", (3, 4, 5, 6), Raises(ValueError)),
        ("seventy", (1,) * 70, Raises(ValueError)),
    ]
    fine = [
        ("numpy's", np.array([3, 4, 5])),
        ("a list", [3, np.int8(4), 5]),
        ("a size", torch.Size((3, 4, 5))),
    ]
    return Values((*bad, *((what, value, Gives()) for what, value in fine)))


def entries() -> list[Entry]:
    return [*_model_entries(), *_utils_entries()]
