"""crf and its kernels: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hard_use.bad_input import (
    Choice,
    Entry,
    Gives,
    Int,
    Kind,
    Odd,
    Outcome,
    Raises,
    Values,
    no_numbers,
    wrong_types,
)
from hard_use.bad_tensors import Of, not_finite
from hard_use.bad_values import BYTE, FLOAT64, HUGE, bytes_, uniform
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian
from wsss_fast.reference import crf as plain_crf


def crf_input() -> dict[str, Any]:
    return {
        "image": bytes_(2, 3, 4, 5).float(),
        "unary": 3 * uniform(2, 3, 4, 5),
        "iterations": 2,
        "normalization": "symmetric",
        "output": "probs",
    }


def _widths(count: int) -> Kind:
    """A number above 0 or ``count`` of them."""
    bad: list[tuple[str, Any, Outcome]] = [
        (what, value, Raises(ValueError))
        for what, value in {
            "0": 0,
            "-1": -1.0,
            "NaN": math.nan,
            "inf": math.inf,
            "1e400": 10**400,
            "-1e400": -(10**400),
            "none of them": (),
            "one in a tuple": (3.0,),
            "one too many": (3.0,) * (count + 1),
            "a 0 in them": (3.0,) * (count - 1) + (0.0,),
            "a NaN in them": (math.nan,) + (3.0,) * (count - 1),
            "1e400 in them": (10**400,) + (3.0,) * (count - 1),
        }.items()
    ]
    for what, value in no_numbers():
        if not isinstance(value, (tuple, list)):
            bad.append((what, value, Raises(TypeError)))
            bad.append((f"{what} in them", (value,) + (3.0,) * (count - 1), Raises(TypeError)))
    fine = [("an int", 3), ("numpy's float64", np.float64(3)), ("a list", [3.0] * count)]
    return Values((*bad, *((what, value, Gives()) for what, value in fine)))


def _compats() -> Kind:
    wrong: list[tuple[str, Any, Outcome]] = [
        (what, value, Raises(TypeError))
        for what, value in {
            "None": None,
            "True": True,
            "a str": "3",
            "bytes": b"3",
            "complex": 3j,
            "an object": object(),
            "a dict": {1: 2},
            "a set": {1.0},
            "a list of str": ["a", "b", "c"],
            "a list of None": [None, None, None],
            "1e400 in a list": [1.0, 10**400, 1.0],
            "a ragged list": [[1.0, 2.0], [3.0]],
            "a complex array": np.full(3, 1j),
            "a bool array": np.full(3, True),
            "an array of str": np.array(["1", "2", "3"]),
            "an array of dates": np.array(["2020-01-01"] * 3, dtype="datetime64[D]"),
            "a complex tensor": torch.ones(3, dtype=torch.complex64),
            "a bool tensor": torch.ones(3, dtype=torch.bool),
            "a sparse tensor": torch.eye(3).to_sparse(),
            "a sparse CSR tensor": torch.eye(3).to_sparse_csr(),
            "a quantized tensor": torch.quantize_per_tensor(torch.eye(3), 0.5, 0, torch.qint8),
            "a nested tensor": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        }.items()
    ]
    for what, value in {
        "NaN": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "1e400": 10**400,
        "1e300": 1e300,
        "-1e300": -1e300,
        "a NaN in a list": [1.0, math.nan, 1.0],
        "1e300 in a list": [1.0, 1e300, 1.0],
        "an inf in a matrix": [[1.0, 2.0, math.inf]] * 3,
        "an inf in a tensor": torch.tensor([1.0, 2.0, math.inf]),
        "1e300 in a tensor": torch.tensor([1.0, 2.0, 1e300], dtype=FLOAT64),
        "two classes": [1.0, 2.0],
        "no class": [],
        "a matrix that is no square": torch.ones(3, 2),
        "a matrix of another size": torch.ones(2, 2),
        "an empty matrix": torch.ones(0, 0),
        "of rank 3": torch.ones(3, 3, 3),
        "an array of rank 4": np.ones((1, 1, 1, 1)),
        "on meta": torch.ones((), device="meta"),
        "a matrix on meta": torch.ones(3, 3, device="meta"),
    }.items():
        wrong.append((what, value, Raises(ValueError)))
    base = torch.full((3,), 3.0)
    fine: dict[str, Any] = {
        "an int": 3,
        "numpy's float32": np.float32(3),
        "numpy's int8": np.int8(3),
        "an array of rank 0": np.array(3.0),
        "a tensor": torch.tensor(3.0),
        "an int tensor": torch.tensor(3),
        "a half tensor": torch.tensor(3.0, dtype=torch.float16),
        "a parameter": torch.nn.Parameter(torch.tensor(3.0)),
        "a read-only array": np.broadcast_to(np.float32(3), ()),
        "of negated memory": torch._neg_view(torch.tensor(-3.0)),
    }
    costs: dict[str, Any] = {
        "costs in a list": [-3.0, -3.0, -3.0],
        "costs in an array with negative strides": np.array([-3.0, -3, -3])[::-1],
        "costs, expanded": torch.tensor(-3.0).expand(3),
        "a matrix": -3 * torch.eye(3),
        "a matrix of integers": -3 * torch.eye(3, dtype=torch.int64),
        "a matrix in Fortran order": np.asfortranarray(-3 * np.eye(3)),
        "a negative weight's opposite": base.neg(),
    }
    return Values(
        (
            *wrong,
            *((what, value, Gives()) for what, value in fine.items()),
            *((what, value, Gives("near")) for what, value in costs.items()),
        )
    )


def _run_kernel(make: Callable[..., Any]) -> Callable[..., Tensor]:
    """crf with the kernel of these arguments: some can only be wrong for a number of classes."""

    def run(**arguments: Any) -> Tensor:
        given = crf_input()
        return wsss_fast.crf(given["image"], given["unary"], iterations=2, kernels=[make(**arguments)])

    return run


def _guide() -> Of:
    return Of(
        "NdHW",
        tied="NHW",
        least={"d": 1},
        near=(FLOAT64,),
        bad={**not_finite(), "3e38": HUGE, "1e30": 1e30},
        grad="refused",
    )


def kernel_of(kind: type[Any], other: Any) -> Kind:
    wrong = [(what, value, Raises(TypeError)) for what, value in wrong_types(kind, other, {}, ())]
    return Values((*wrong, ("None", None, Gives("finite")), ("another", kind(), Gives("finite"))))


def entries() -> list[Entry]:
    kernels: list[tuple[str, Any, Outcome]] = [
        (what, value, Raises(TypeError))
        for what, value in (*wrong_types(Gaussian(), {Gaussian()}, {0: Gaussian()}), ("a type", Gaussian))
        if not isinstance(value, list)
    ]
    kernels += [
        (f"{what} in a list", [Gaussian(), v], Raises(TypeError)) for what, v in wrong_types(Gaussian)
    ]
    kernels += [
        ("None in a list", [None], Raises(TypeError)),
        ("a list in a list", [[Gaussian()]], Raises(TypeError)),
        ("nothing", [], Gives("finite")),
        ("a tuple", (Gaussian(3, 3), Bilateral(50, 5, 10)), Gives()),
        ("a hundred", [Gaussian()] * 100, Gives("finite")),
        ("guides in a list", [Features([torch.rand(2, 4, 5)] * 2)], Raises(TypeError, "features")),
    ]
    bad_capacities = [
        (what, value, Raises(TypeError))
        for what, value in no_numbers()
        if not isinstance(value, (list, tuple))
    ]
    capacity: list[tuple[str, Any, Outcome]] = [c for c in bad_capacities if c[1] is not None]
    for value in (0, -1, -(10**400), [], [1], [1, 2, 3], [0, 5], [5, -1]):
        capacity.append((repr(value)[:20], value, Raises(ValueError)))
    capacity += [
        ("[5, 2.5]", [5, 2.5], Raises(TypeError)),
        ("[5, None]", [5, None], Raises(TypeError)),
        ("[True, 5]", [True, 5], Raises(TypeError)),
        ("None", None, Gives()),
        *((f"{value:.3g}", value, Gives()) for value in (2**31, 2**63 - 1, 2**63, 10**300)),
        ("1e300 in a list", [10**300, 240], Gives()),
        ("two", (240, np.int64(120)), Gives()),
    ]
    names: list[tuple[str, Any, Outcome]] = [
        ("an empty list", [], Raises(ValueError)),
        ("one in a list", ["none"], Raises(ValueError)),
        ("three", ["none"] * 3, Raises(ValueError)),
        ("a wrong one", ["none", "nothing"], Raises(ValueError)),
        ("a number in a list", ["none", 3], Raises(TypeError)),
        ("None in a list", ["none", None], Raises(TypeError)),
        ("a tuple", ("symmetric", "symmetric"), Gives()),
    ]
    energies = Of(
        "NCHW",
        tied="NHW",
        least={"C": 1},
        ranks=(5,),
        near=(FLOAT64,),
        bad={"NaN": math.nan, "-inf": -math.inf},
        extreme={"3e38": (HUGE, Gives("finite")), "-3e38": (-HUGE, Gives("finite"))},
    )
    crf = Entry(
        "wsss_fast.crf",
        wsss_fast.crf,
        crf_input,
        {
            "image": Of(
                "NCHW",
                tied="NCHW",
                ranks=(3,),
                same=(BYTE, FLOAT64),
                bad={**not_finite(), "-1": -1.0, "255.5": 255.5, "256": 256.0},
                fine={"-0": -0.0},
                grad="refused",
            ),
            "unary": energies,
            "iterations": Int(0, 2**31 - 1),
            "gaussian": kernel_of(Gaussian, Bilateral()),
            "bilateral": kernel_of(Bilateral, Gaussian()),
            "kernels": Values(tuple(kernels)),
            "normalization": Choice(("symmetric", "before", "after", "none"), listed=True),
            "output": Choice(("probs", "log_probs", "labels")),
            "capacity": Values(tuple(capacity)),
        },
        truth=plain_crf.crf,
        more=lambda: [
            ("unary", Odd("+inf for a whole pixel", impossible(everything=True), Raises(ValueError))),
            ("unary", Odd("+inf for a class", impossible(everything=False), Gives("truth"))),
            ("unary", Odd("M = 0", torch.empty(2, 0, 3, 4, 5), Gives("truth"))),
            ("unary", Odd("M = 2", 3 * uniform(2, 2, 3, 4, 5), Gives("truth"))),
            ("unary", Odd("a list", list(crf_input()["unary"]), Raises(TypeError, "image"))),
            ("image", Odd("a list", list(crf_input()["image"]), Raises(TypeError, "unary"))),
            *(("normalization", Odd(what, value, outcome)) for what, value, outcome in names),
        ],
    )
    of_lists = Entry(
        "wsss_fast.crf of lists",
        wsss_fast.crf,
        lambda: {
            "image": [bytes_(3, 4, 5).float(), bytes_(3, 4, 5).float()],
            "unary": [3 * uniform(3, 4, 5), 3 * uniform(3, 4, 5, seed=1)],
            "iterations": 1,
        },
        {
            "image": Values(
                (
                    ("one", [bytes_(3, 4, 5)], Raises(ValueError, "unary")),
                    ("none", [], Raises(ValueError, "unary")),
                    ("None in it", [bytes_(3, 4, 5).byte(), None], Raises(TypeError, "image[1]")),
                    (
                        "a list in it",
                        [bytes_(3, 4, 5).byte(), [bytes_(3, 4, 5)]],
                        Raises(TypeError, "image[1]"),
                    ),
                    (
                        "another size",
                        [bytes_(3, 4, 5).byte(), bytes_(3, 5, 4).byte()],
                        Raises(ValueError, "image[1]"),
                    ),
                    ("a tuple", tuple(bytes_(3, 4, 5).byte() for _ in range(2)), Gives()),
                )
            ),
            "unary": Values(
                (
                    ("three", [uniform(3, 4, 5)] * 3, Raises(ValueError)),
                    (
                        "on meta",
                        [uniform(3, 4, 5), uniform(3, 4, 5).to("meta")],
                        Raises(ValueError, "unary[1]"),
                    ),
                    ("a NaN", [uniform(3, 4, 5), uniform(3, 4, 5) * math.nan], Raises(ValueError)),
                )
            ),
            "kernels": Values(
                (
                    ("one guide", [Features(uniform(2, 4, 5))], Raises(ValueError, "features")),
                    ("three guides", [Features([uniform(2, 4, 5)] * 3)], Raises(ValueError, "features")),
                    ("two guides", [Features([uniform(2, 4, 5)] * 2)], Gives("finite")),
                )
            ),
        },
    )
    kernel_classes = [
        Entry(
            "wsss_fast.Gaussian",
            _run_kernel(Gaussian),
            lambda: {"sxy": 3.0, "compat": 3.0},
            {"sxy": _widths(2), "compat": _compats()},
        ),
        Entry(
            "wsss_fast.Bilateral",
            _run_kernel(Bilateral),
            lambda: {"sxy": 3.0, "srgb": 3.0, "compat": 3.0},
            {"sxy": _widths(2), "srgb": _widths(3), "compat": _compats()},
        ),
        Entry(
            "wsss_fast.Features",
            _run_kernel(Features),
            lambda: {"features": 3 * uniform(2, 2, 4, 5), "compat": 3.0},
            {"features": _guide(), "compat": _compats()},
            truth=_run_plain_features,
            more=lambda: [
                ("features", Odd("17 dimensions", uniform(2, 17, 4, 5), Raises(ValueError))),
                ("features", Odd("16 dimensions", uniform(2, 16, 4, 5), Gives("truth"))),
                ("features", Odd("an empty list", [], Raises(TypeError))),
                ("features", Odd("None in a list", [None], Raises(TypeError))),
            ],
        ),
    ]
    return [crf, of_lists, *kernel_classes]


def _run_plain_features(features: Tensor, compat: float) -> Tensor:
    given = crf_input()
    return plain_crf.crf(given["image"], given["unary"], iterations=2, kernels=[Features(features, compat)])


def impossible(everything: bool) -> Tensor:
    unary: Tensor = crf_input()["unary"]
    unary[1, :: 1 if everything else 2, 2, 3] = math.inf
    return unary
