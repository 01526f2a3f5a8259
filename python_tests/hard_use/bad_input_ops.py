"""The public ops, their layers and losses: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hard_use.bad_input import (
    Bool,
    Choice,
    Entry,
    Flags,
    Gives,
    Int,
    Kind,
    Number,
    Odd,
    Outcome,
    Pair,
    Raises,
    Values,
    no_numbers,
    wrong_types,
)
from hard_use.bad_tensors import ListOf, Of, not_finite
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, PermutohedralLattice, nn
from wsss_fast.reference import affinity_displacement_loss as plain_loss
from wsss_fast.reference import cam_fusion as plain_cams
from wsss_fast.reference import crf as plain_crf
from wsss_fast.reference import path_affinity as plain_paths
from wsss_fast.reference import random_walk as plain_walk
from wsss_fast.reference import tta as plain_tta

FLOAT32, FLOAT64, BYTE = torch.float32, torch.float64, torch.uint8
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
HUGE = 3e38  # near the end of float32


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def bytes_(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1))


# --- crf and its kernels ---------------------------------------------------------------------------------


def _crf_input() -> dict[str, Any]:
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
        given = _crf_input()
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


def _kernel_of(kind: type[Any], other: Any) -> Kind:
    wrong = [(what, value, Raises(TypeError)) for what, value in wrong_types(kind, other, {}, ())]
    return Values((*wrong, ("None", None, Gives("finite")), ("another", kind(), Gives("finite"))))


def _crf_entries() -> list[Entry]:
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
        _crf_input,
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
            "gaussian": _kernel_of(Gaussian, Bilateral()),
            "bilateral": _kernel_of(Bilateral, Gaussian()),
            "kernels": Values(tuple(kernels)),
            "normalization": Choice(("symmetric", "before", "after", "none"), listed=True),
            "output": Choice(("probs", "log_probs", "labels")),
            "capacity": Values(tuple(capacity)),
        },
        truth=plain_crf.crf,
        more=lambda: [
            ("unary", Odd("+inf for a whole pixel", _impossible(everything=True), Raises(ValueError))),
            ("unary", Odd("+inf for a class", _impossible(everything=False), Gives("truth"))),
            ("unary", Odd("M = 0", torch.empty(2, 0, 3, 4, 5), Gives("truth"))),
            ("unary", Odd("M = 2", 3 * uniform(2, 2, 3, 4, 5), Gives("truth"))),
            ("unary", Odd("a list", list(_crf_input()["unary"]), Raises(TypeError, "image"))),
            ("image", Odd("a list", list(_crf_input()["image"]), Raises(TypeError, "unary"))),
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
    given = _crf_input()
    return plain_crf.crf(given["image"], given["unary"], iterations=2, kernels=[Features(features, compat)])


def _impossible(everything: bool) -> Tensor:
    unary: Tensor = _crf_input()["unary"]
    unary[1, :: 1 if everything else 2, 2, 3] = math.inf
    return unary


# --- the lattice -----------------------------------------------------------------------------------------


def _lattice(features: Any, capacity: Any = None) -> list[Any]:
    lattice = PermutohedralLattice(features, capacity)
    values = torch.arange(float(features.numel() // lattice.dims if lattice.dims else 0)) / 7
    shape = (1, *features.shape[1:]) if features.dim() <= 3 else (len(features), 1, *features.shape[2:])
    return [lattice.filter(values.to(features.dtype).reshape(shape)), lattice.vertices]


def _plain_lattice(features: Tensor, capacity: Any = None) -> list[Any]:
    values = torch.arange(float(features.numel() // features.shape[1])) / 7
    values = values.reshape(len(features), 1, features[0, 0].numel() if len(features) else 0)
    lattices = [plain_crf.PermutohedralLattice(item.flatten(1)) for item in features]
    filtered = [lattice.filter(v) for lattice, v in zip(lattices, values, strict=True)]
    count, _, *space = features.shape
    out = torch.stack(filtered) if filtered else values
    return [out.reshape(count, 1, *space), [v.vertices if v.points else 0 for v in lattices]]


def _filter(values: Any) -> Tensor:
    features = 4 * uniform(2, 2, 4, 5, seed=3)
    return PermutohedralLattice(features).filter(values)


def _plain_filter(values: Tensor) -> Tensor:
    features = 4 * uniform(2, 2, 4, 5, seed=3)
    lattices = [plain_crf.PermutohedralLattice(item.flatten(1)) for item in features]
    pairs = zip(lattices, values.flatten(2), strict=True)
    return torch.stack([lattice.filter(v) for lattice, v in pairs]).reshape(values.shape)


def _lattice_entries() -> list[Entry]:
    return [
        Entry(
            "wsss_fast.PermutohedralLattice",
            _lattice,
            lambda: {"features": 4 * uniform(2, 2, 4, 5), "capacity": None},
            {
                "features": Of(
                    "NdHW",
                    least={"d": 1},
                    ranks=(2, 3, 5),
                    near=(FLOAT64,),
                    bad={**not_finite(), "3e38": HUGE, "1e30": 1e30, "1e7": 1e7},
                    fine={"-0": -0.0, "1e-40": 1e-40},
                    grad="refused",
                ),
                "capacity": Int(1, optional=True),
            },
            truth=_plain_lattice,
            more=lambda: [
                ("features", Odd("17 dimensions", uniform(2, 17, 4, 5), Raises(ValueError))),
                ("features", Odd("a list", [uniform(2, 4)], Raises(TypeError))),
                *(("capacity", Odd(f"{c:.3g}", c, Gives())) for c in (1, 2**31, 2**63, 10**300)),
            ],
        ),
        Entry(
            "wsss_fast.PermutohedralLattice.filter",
            _filter,
            lambda: {"values": uniform(2, 3, 4, 5)},
            {
                "values": Of(
                    "NCHW",
                    tied="NHW",
                    bad={**not_finite(), "3e38": HUGE, "-3e38": -HUGE},
                    fine={"-0": -0.0, "1e-40": 1e-40, "1e30": 1e30},
                )
            },
            truth=_plain_filter,
            more=lambda: [("values", Odd("a list", [uniform(2, 3, 4, 5)], Raises(TypeError)))],
        ),
    ]


# --- the walk and the paths ------------------------------------------------------------------------------


def _walk_input() -> dict[str, Any]:
    return {
        "cam": uniform(2, 3, 4, 5),
        "boundary": uniform(2, 1, 4, 5, seed=1),
        "radius": 3,
        "beta": 10.0,
        "exp_times": 3,
        "steps": None,
        "method": "chebyshev",
        "tol": 1e-5,
    }


def _plain_walk(cam: Tensor, boundary: Tensor, **options: Any) -> Tensor:
    if cam.numel() == 0:
        return cam.clone()
    options = {k: v for k, v in options.items() if k in ("radius", "beta", "exp_times")}
    pairs = zip(cam, boundary, strict=True)
    return torch.stack([plain_walk.random_walk(c, b, **options) for c, b in pairs])


def _walk_entries() -> list[Entry]:
    too_large = {"3e38": HUGE, "-3e38": -HUGE}
    cam = Of(
        "NKhw", tied="Nhw", near=(), bad={**not_finite(), **too_large}, fine={"-0": -0.0, "1e-40": 1e-40}
    )
    outside = {**not_finite(), "-1": -1.0, "just below 0": -1e-38, "1.0001": 1.0001, "2": 2.0}
    ends = {"0": 0.0, "1": 1.0, "-0": -0.0}
    boundary = Of("Nchw", tied="Nchw", bad=outside, fine=ends)
    return [
        Entry(
            "wsss_fast.random_walk",
            wsss_fast.random_walk,
            _walk_input,
            {
                "cam": cam,
                "boundary": boundary,
                "radius": Int(2, 15, runs_high=True),
                "beta": Number(0),
                "exp_times": Int(0, 12, runs_high=True),
                "steps": Int(0, 2**20, optional=True, runs_high=True),
                "method": Choice(("chebyshev", "power")),
                "tol": Number(0, below=1),
            },
            truth=_plain_walk,
            more=lambda: [
                ("cam", Odd("a list", [uniform(3, 4, 5)], Raises(TypeError, "boundary"))),
                ("boundary", Odd("a list", [uniform(1, 4, 5)], Raises(TypeError))),
                *(
                    ("beta", Odd(f"{b}", b, Gives("finite")))
                    for b in (0, 1e-300, 1e300, 10**300, 65.5, 2**70)
                ),
                *(("tol", Odd(f"{t}", t, Gives("finite"))) for t in (0.0, 5e-324, 0.5, 0.999999)),
                ("radius", Odd("1", 1, Raises(ValueError))),
            ],
        ),
        Entry(
            "wsss_fast.random_walk of lists",
            wsss_fast.random_walk,
            lambda: {
                "cam": [uniform(2, 4, 5), uniform(2, 4, 5, seed=2)],
                "boundary": [uniform(1, 4, 5, seed=1)] * 2,
                "radius": 2,
            },
            {
                "cam": ListOf(
                    Of("Khw", tied="hw", ranks=(4,), bad={**not_finite(), **too_large}),
                    empty=Raises(ValueError, "boundary"),
                    inside=Raises(ValueError, "boundary"),
                ),
                "boundary": ListOf(Of("chw", tied="chw", ranks=(4,), bad=outside), inside=Raises(ValueError)),
            },
            truth=lambda cam, boundary, radius: [
                plain_walk.random_walk(c, b, radius=radius) if c.numel() else c
                for c, b in zip(cam, boundary, strict=True)
            ],
        ),
        Entry(
            "wsss_fast.path_affinity",
            wsss_fast.path_affinity,
            lambda: {"boundary": uniform(2, 1, 5, 6), "radius": 2},
            {
                "boundary": Of(
                    "Nchw",
                    tied="c",
                    least={"h": 2, "w": 3},
                    ranks=(3,),
                    near=(FLOAT64,),
                    bad=outside,
                    fine=ends,
                ),
                "radius": Int(2, 64),
            },
            truth=lambda boundary, radius: (
                plain_paths.path_affinity(boundary, radius)
                if len(boundary)
                else boundary.new_empty((0, 4, boundary.shape[2] - 1, boundary.shape[3] - 2))
            ),
            more=lambda: [
                ("boundary", Odd("a list", [uniform(1, 5, 6)], Raises(TypeError))),
                ("radius", Odd("too large for the map", 5, Raises(ValueError))),
                ("radius", Odd("the highest", 64, Raises(ValueError))),
            ],
        ),
        Entry(
            "wsss_fast.path_offsets",
            wsss_fast.path_offsets,
            lambda: {"radius": 3},
            {"radius": Int(2, 64, runs_high=True)},
        ),
    ]


# --- maps and logits of several sizes --------------------------------------------------------------------


def _cams_input() -> dict[str, Any]:
    return {
        "cams": [uniform(2, 3, 4, 5), uniform(2, 3, 2, 3, seed=1)],
        "size": (6, 7),
        "crop": (5, 6),
        "flipped": [False, True],
        "relu": "sum",
        "normalize": "class",
    }


def _cams_entries() -> list[Entry]:
    summands = {**not_finite(), "3e38": HUGE, "-3e38": -HUGE}
    fine = {"-0": -0.0, "1e-40": 1e-40, "-5": -5.0}
    cams = Of("NKhw", tied="NK", least={"h": 1, "w": 1}, bad=summands, fine=fine, grad="refused")
    logits = Of("NChw", tied="NC", least={"h": 1, "w": 1}, bad=summands, fine=fine, grad="refused")
    sizes: list[tuple[str, Any, Outcome]] = [
        ("an empty list", [], Raises(ValueError)),
        ("None in a list", [None], Raises(TypeError)),
        ("a list of a number too many", [(6, 7), (6, 7, 8)], Raises(ValueError)),
        ("a list with a 0", [(6, 7), (6, 0)], Raises(ValueError)),
        ("a list with a float", [(6, 7), (6, 7.0)], Raises(TypeError)),
        ("a list, without a list of crops", [(6, 7)], Raises(ValueError, "crop")),
        ("too large a result", (2**31 - 1, 2**31 - 1), Gives("shape")),
    ]
    crops: list[tuple[str, Any, Outcome]] = [
        ("None", None, Gives("finite")),
        ("too high", (7, 7), Raises(ValueError)),
        ("too wide", (6, 8), Raises(ValueError)),
        ("a list of crops", [(5, 6)], Raises((TypeError, ValueError))),
    ]
    present = torch.tensor([[True, False, True], [False, False, False]])
    return [
        Entry(
            "wsss_fast.fuse_cams",
            wsss_fast.fuse_cams,
            _cams_input,
            {
                "cams": ListOf(cams),
                "size": Pair(),
                "crop": Pair(optional=True),
                "flipped": Flags(optional=True),
                "classes": Values(
                    (
                        *((what, value, Raises(TypeError)) for what, value in wrong_types(present.numpy())),
                        ("a list of bool", present.tolist(), Raises(TypeError)),
                        ("uint8", present.byte(), Raises(TypeError)),
                        ("int64", present.long(), Raises(TypeError)),
                        ("float32", present.float(), Raises(TypeError)),
                        ("complex", present.to(torch.complex64), Raises(TypeError)),
                        ("sparse", present.to_sparse(), Raises(TypeError)),
                        ("on meta", present.to("meta"), Raises(ValueError)),
                        ("of one image", present[:1], Raises(ValueError)),
                        ("of two classes", present[:, :2], Raises(ValueError)),
                        ("of four classes", torch.ones(2, 4, dtype=torch.bool), Raises(ValueError)),
                        ("of rank 0", present[0, 0], Raises(ValueError)),
                        ("of rank 1", present[0], Raises(ValueError)),
                        ("of rank 3", present[None], Raises(ValueError)),
                        ("empty", torch.empty(0, 0, dtype=torch.bool), Raises(ValueError)),
                        ("None", None, Gives()),
                        ("in Fortran order", present.T.contiguous().T, Gives("truth")),
                        ("expanded", torch.tensor([True, False, True]).expand(2, 3), Gives("truth")),
                        ("of none", torch.zeros(2, 3, dtype=torch.bool), Gives("truth")),
                    )
                ),
                "relu": Choice(("sum", "each", "none")),
                "normalize": Choice(("class", "image", "none")),
            },
            truth=plain_cams.fuse_cams,
            more=lambda: [
                *(("size", Odd(what, value, outcome)) for what, value, outcome in sizes),
                *(("crop", Odd(what, value, outcome)) for what, value, outcome in crops),
            ],
        ),
        Entry(
            "wsss_fast.tta_merge",
            wsss_fast.tta_merge,
            lambda: {
                "logits": [uniform(2, 3, 4, 5), uniform(2, 3, 2, 3, seed=1)],
                "size": (6, 7),
                "flipped": [False, True],
                "activation": "softmax",
                "output": "mean",
            },
            {
                "logits": ListOf(logits),
                "size": Pair(),
                "flipped": Flags(),
                "activation": Choice(("softmax", "sigmoid", "none")),
                "output": Choice(("mean", "labels")),
            },
            truth=plain_tta.tta_merge,
            more=lambda: [
                ("logits", Odd("no class", [torch.empty(2, 0, 4, 5)] * 2, Raises(ValueError))),
                ("size", Odd("a list of sizes", [(6, 7)], Raises((TypeError, ValueError)))),
            ],
        ),
    ]


# --- unaries and settings --------------------------------------------------------------------------------


def _labels(grad: str = "none", **numbers: Any) -> Of:
    return Of("NHW", same=INTEGERS, grad=grad, **numbers)


def _unary_entries() -> list[Entry]:
    return [
        Entry(
            "wsss_fast.unary_from_labels",
            wsss_fast.unary_from_labels,
            lambda: {
                "labels": bytes_(2, 4, 5).remainder(3).byte(),
                "n_labels": 3,
                "gt_prob": 0.7,
                "zero_unsure": False,
            },
            {
                "labels": _labels(ranks=(2, 4), bad={"3": 3, "255": 255}, fine={"2": 2}),
                "n_labels": Int(1, 2**31 - 1),
                "gt_prob": Number(0, exclusive=True, below=1),
                "zero_unsure": Bool(),
            },
            truth=_plain_unary,
            more=lambda: [
                *(
                    ("labels", Odd(f"{v}", torch.full((1, 2), v), Raises(ValueError)))
                    for v in (-1, -(2**63), 2**63 - 1, 2**31, 2**32, 3)
                ),
                *(("gt_prob", Odd(f"{p}", p, Gives("finite"))) for p in (5e-324, 1e-300, 1 - 2**-53)),
                ("n_labels", Odd("fewer than the labels", 2, Raises(ValueError, "labels"))),
                ("zero_unsure", Odd("numpy's False", np.False_, Raises(TypeError))),
            ],
        ),
        Entry(
            "wsss_fast.unary_from_probs",
            wsss_fast.unary_from_probs,
            lambda: {"probs": uniform(2, 3, 4, 5), "clip": 1e-5},
            {
                "probs": Of(
                    "NCHW",
                    ranks=(3, 5),
                    near=(FLOAT64,),
                    bad={**not_finite(), "-0.1": -0.1, "1.1": 1.1, "-1e-38": -1e-38},
                    fine={"0": 0.0, "1": 1.0, "1e-40": 1e-40},
                ),
                "clip": Number(0, below=1, optional=True),
            },
            truth=lambda probs, clip: -probs.clamp_min(clip).log(),
            more=lambda: [
                ("clip", Odd("None", None, Gives("finite"))),
                ("clip", Odd("0", 0, Gives("finite"))),
                ("probs", Odd("a list", [uniform(3, 4, 5)], Raises(TypeError))),
            ],
        ),
        Entry(
            "wsss_fast.check_values",
            _check_values,
            lambda: {"enabled": True},
            {"enabled": Bool()},
        ),
        Entry("wsss_fast.build_info", lambda: sorted(wsss_fast.build_info()), dict, {}),
    ]


def _check_values(enabled: Any) -> Tensor:
    with wsss_fast.check_values(enabled):
        return wsss_fast.crf(**_crf_input())


def _plain_unary(labels: Tensor, n_labels: int, gt_prob: float, zero_unsure: bool) -> Tensor:
    chosen = torch.nn.functional.one_hot(labels.long(), n_labels).movedim(-1, -3).bool()
    rest = (1 - gt_prob) / (n_labels - 1)
    return -torch.where(chosen, gt_prob, rest).log().float()


# --- layers and losses -----------------------------------------------------------------------------------


def _layer(**arguments: Any) -> Any:
    """The layer's state, and what it makes of an image."""
    layer = nn.DenseCRF(**arguments)
    image, logits = bytes_(1, 3, 4, 5).byte(), uniform(1, layer.classes, 4, 5)
    return [layer, layer(image, logits)]


def _loss_input() -> dict[str, Any]:
    return {
        "boundary_logits": 4 * uniform(2, 1, 5, 6) - 2,
        "displacement": 4 * uniform(2, 2, 5, 6, seed=1) - 2,
        "labels": bytes_(2, 5, 6).remainder(3).byte(),
    }


class _Network(torch.nn.Module):
    """A mean over the channels, so that any number of them will do."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(1, keepdim=True)
        return torch.cat([mean, -mean, mean / 2], 1)


class _Answers(torch.nn.Module):
    """A network that returns what it is told to, whatever the image."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: Tensor) -> Any:
        return self.answer


def _run_tta(**arguments: Any) -> Tensor:
    return nn.TTA(**arguments)(uniform(1, 3, 4, 5))


def _dense_crf_entries() -> list[Entry]:
    costs: list[tuple[str, Any, Outcome]] = [
        ("costs in a list", Gaussian(compat=[1.0, 2.0, 3.0]), Raises(ValueError, "compat")),
        ("costs in a tensor", Gaussian(compat=torch.eye(3)), Raises(ValueError, "compat")),
        ("a tensor as its weight", Gaussian(compat=torch.tensor(3.0)), Raises(ValueError, "compat")),
    ]
    kernels: list[tuple[str, Any, Outcome]] = [
        *(
            (what, value, Raises(TypeError))
            for what, value in wrong_types(Gaussian())
            if not isinstance(value, list)
        ),
        ("a number in a list", [3], Raises(TypeError)),
        ("guides", [Features(uniform(1, 2, 4, 5))], Raises(TypeError)),
        ("nothing", [], Gives("finite")),
        ("a tuple", (Gaussian(3, 3), Bilateral(50, 5, 10)), Gives()),
    ]
    return [
        Entry(
            "wsss_fast.nn.DenseCRF",
            _layer,
            lambda: {
                "classes": 3,
                "iterations": 2,
                "normalization": "symmetric",
                "weights_per": "kernel",
                "output": "log_probs",
            },
            {
                "classes": Int(1, 2**31 - 1),
                "iterations": Int(0, 2**31 - 1),
                "gaussian": _kernel_of(Gaussian, Bilateral()),
                "bilateral": _kernel_of(Bilateral, Gaussian()),
                "kernels": Values(tuple(kernels)),
                "normalization": Choice(("symmetric", "before", "after", "none"), listed=True),
                "weights_per": Choice(("kernel", "class")),
                "output": Choice(("log_probs", "probs")),
            },
            more=lambda: [
                *(("gaussian", Odd(what, value, outcome)) for what, value, outcome in costs),
                ("normalization", Odd("one in a list", ["none"], Raises(ValueError))),
                ("normalization", Odd("a tuple", ("symmetric",) * 2, Gives())),
            ],
        ),
        Entry(
            "wsss_fast.nn.DenseCRF.forward",
            lambda image, logits: nn.DenseCRF(3, iterations=2, output="probs")(image, logits),
            lambda: {"image": bytes_(2, 3, 4, 5).float(), "logits": 3 * uniform(2, 3, 4, 5) - 1},
            {
                "image": Of(
                    "NCHW",
                    tied="NCHW",
                    same=(BYTE, FLOAT64),
                    bad={**not_finite(), "-1": -1.0, "256": 256.0},
                    fine={"-0": -0.0},
                    grad="refused",
                    ranks=(3,),
                ),
                "logits": Of(
                    "NCHW",
                    tied="NCHW",
                    near=(FLOAT64,),
                    extreme={
                        "3e38": (HUGE, Gives("finite")),
                        "-3e38": (-HUGE, Gives("finite")),
                        "NaN": (math.nan, Raises(ValueError, "unary")),
                        "inf": (math.inf, Raises(ValueError, "unary")),
                    },
                ),
            },
            truth=lambda image, logits: plain_crf.crf(image, -logits, iterations=2),
            more=lambda: [
                ("logits", Odd("-inf for a class", -_impossible(everything=False), Gives("truth"))),
                (
                    "logits",
                    Odd("-inf for a pixel", -_impossible(everything=True), Raises(ValueError, "unary")),
                ),
                ("logits", Odd("a list", [uniform(3, 4, 5)], Raises(TypeError))),
                ("image", Odd("a list", [uniform(3, 4, 5)], Raises(TypeError))),
            ],
        ),
    ]


def _loss_entries() -> list[Entry]:
    loss = nn.AffinityDisplacementLoss(2)
    crf_loss = nn.DenseCRFLoss(1.0, 15.0, 50.0)
    tied = {"tied": "Nchw", "ranks": ()}
    return [
        Entry(
            "wsss_fast.nn.AffinityDisplacementLoss",
            lambda radius: nn.AffinityDisplacementLoss(radius)(
                torch.zeros(1, 1, 64, 127), torch.zeros(1, 2, 64, 127), torch.zeros(1, 64, 127, dtype=BYTE)
            ),
            lambda: {"radius": 3},
            {"radius": Int(2, 64)},
        ),
        Entry(
            "wsss_fast.nn.AffinityDisplacementLoss.forward",
            lambda **arguments: loss(**arguments),
            _loss_input,
            {
                "boundary_logits": Of(
                    "Nchw",
                    **tied,
                    bad={"NaN": math.nan},
                    fine={"-0": -0.0, "1e-40": 1e-40},
                    extreme={what: (v, Gives("finite")) for what, v in _far().items()},
                ),
                "displacement": Of("Nchw", **tied, bad=not_finite(), fine={"-0": -0.0, "1e30": 1e30}),
                "labels": Of("Nhw", tied="Nhw", same=INTEGERS, fine={"255": 255}, grad="none"),
            },
            truth=lambda **arguments: plain_loss.affinity_displacement_loss(**arguments, radius=2),
            more=lambda: [
                *(
                    ("labels", Odd(f"{v}", torch.full((2, 5, 6), v), Raises(ValueError)))
                    for v in (-1, -(2**63), 2**31, 2**63 - 1)
                ),
                ("labels", Odd("2^31 - 1", torch.full((2, 5, 6), 2**31 - 1), Gives("truth"))),
                ("labels", Odd("int8", torch.ones(2, 5, 6, dtype=torch.int8), Gives("truth"))),
                ("labels", Odd("all 255", torch.full((2, 5, 6), 255), Gives("truth"))),
            ],
        ),
        Entry(
            "wsss_fast.nn.DenseCRFLoss",
            lambda **arguments: nn.DenseCRFLoss(**arguments)(bytes_(1, 3, 4, 5).byte(), uniform(1, 3, 4, 5)),
            lambda: {"weight": 1.0, "sigma_rgb": 15.0, "sigma_xy": 100.0, "scale_factor": 0.5},
            {
                "weight": Number(0),
                "sigma_rgb": Number(0, exclusive=True),
                "sigma_xy": Number(0, exclusive=True),
                "scale_factor": Number(0, exclusive=True, most=1),
            },
            more=lambda: [
                *(("sigma_rgb", Odd(f"{s}", s, Raises(ValueError))) for s in (1e-300, 1e-30, 5e-324)),
                *(("sigma_xy", Odd(f"{s}", s, Raises(ValueError))) for s in (1e-300, 1e-30, 5e-324)),
                *(("scale_factor", Odd(f"{s}", s, Gives("finite"))) for s in (1e-3, 1e-9)),
                ("weight", Odd("0", 0, Gives("finite"))),
                ("sigma_rgb", Odd("1e300", 1e300, Gives("finite"))),
                ("sigma_xy", Odd("1e300", 1e300, Gives("finite"))),
            ],
        ),
        Entry(
            "wsss_fast.nn.DenseCRFLoss.forward",
            lambda image, probs, roi: crf_loss(image, probs, roi),
            lambda: {
                "image": bytes_(2, 3, 4, 6).float(),
                "probs": uniform(2, 3, 4, 6),
                "roi": uniform(2, 4, 6, seed=2),
            },
            {
                "image": Of(
                    "NCHW",
                    tied="NCHW",
                    same=(BYTE, FLOAT64),
                    bad={**not_finite(), "-1": -1.0, "256": 256.0},
                    grad="refused",
                ),
                "probs": Of(
                    "NCHW", tied="NHW", least={"C": 1}, bad={**not_finite(), "3e38": HUGE, "-3e38": -HUGE}
                ),
                "roi": Of(
                    "NHW",
                    tied="NHW",
                    bad={**not_finite(), "-1": -1.0, "1.5": 1.5},
                    fine={"0": 0.0, "1": 1.0},
                    finite=(torch.bool,),
                    grad="refused",
                    optional=True,
                ),
            },
            truth=_plain_crf_loss,
            more=lambda: [
                ("roi", Odd("None", None, Gives("finite"))),
                ("roi", Odd("all of it", torch.ones(2, 4, 6, dtype=torch.bool), Gives("finite"))),
            ],
        ),
    ]


def _far() -> dict[str, float]:
    return {"inf": math.inf, "-inf": -math.inf, "3e38": HUGE, "-3e38": -HUGE}


def _plain_crf_loss(image: Tensor, probs: Tensor, roi: Tensor) -> Tensor:
    total = torch.zeros((), dtype=FLOAT64)
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in image.shape[2:]), indexing="ij")
    for colours, of_classes, region in zip(image, probs, roi, strict=True):
        points = torch.cat([torch.stack([x, y]) / 50, colours / 15]).flatten(1)
        lattice = plain_crf.PermutohedralLattice(points)
        inside, region = (of_classes * region).flatten(1), region.flatten().unsqueeze(0)
        total += (inside * (lattice.filter(region) - lattice.filter(inside))).double().sum()
    return (total / len(image)).to(probs.dtype)


def _tta_entries() -> list[Entry]:
    images: list[tuple[str, Any, Outcome]] = [
        *((f"of {what}", _Answers(answer), Raises(error, "model")) for what, answer, error in _answers()),
        ("None", None, Raises(TypeError)),
        ("a function", torch.sigmoid, Raises(TypeError)),
        ("a type", torch.nn.Sigmoid, Raises(TypeError)),
    ]
    scales: list[tuple[str, Any, Outcome]] = [
        *((what, value, Raises(TypeError)) for what, value in wrong_types() if not isinstance(value, list)),
        ("an empty list", [], Raises(ValueError)),
        *(
            (f"[1, {what}]", [1, value], Raises(TypeError))
            for what, value in (*no_numbers(), ("a tensor", torch.tensor(2.0)))
        ),
        *(
            (f"[1, {value:g}]", [1, value], Raises(ValueError))
            for value in (0, -1.0, math.nan, math.inf, 1e300, 1e10)
        ),
        ("[1, 1e400]", [1, 10**400], Raises(ValueError)),
        ("a tuple", (1.0, 2.0), Gives()),
        ("very small", [1e-300, 5e-324], Gives("shape")),
    ]
    return [
        Entry(
            "wsss_fast.nn.TTA",
            _run_tta,
            lambda: {
                "model": _Network(),
                "scales": [1.0, 2.0],
                "hflip": True,
                "stride": 2,
                "activation": "softmax",
                "output": "mean",
            },
            {
                "model": Values(tuple(images)),
                "scales": Values(tuple(scales)),
                "hflip": Bool(),
                "stride": Int(1, 2**31 - 1),
                "activation": Choice(("softmax", "sigmoid", "none")),
                "output": Choice(("mean", "labels")),
            },
        ),
        Entry(
            "wsss_fast.nn.TTA.forward",
            lambda image: nn.TTA(_Network(), (1, 2))(image),
            lambda: {"image": uniform(2, 3, 4, 5)},
            {
                "image": Values(
                    (
                        *(
                            (what, v, Raises(TypeError))
                            for what, v in wrong_types()
                            if not isinstance(v, Tensor)
                        ),
                        ("None", None, Raises(TypeError)),
                        ("a list", [uniform(3, 4, 5)], Raises(TypeError)),
                        ("uint8", bytes_(2, 3, 4, 5).byte(), Raises(TypeError)),
                        ("int64", bytes_(2, 3, 4, 5), Raises(TypeError)),
                        ("bool", bytes_(2, 3, 4, 5).bool(), Raises(TypeError)),
                        ("complex", uniform(2, 3, 4, 5).to(torch.complex64), Raises(TypeError)),
                        ("sparse", uniform(2, 3, 4, 5).to_sparse(), Raises(TypeError)),
                        ("on meta", uniform(2, 3, 4, 5).to("meta"), Raises(ValueError, "logits")),
                        *(
                            (f"rank {r}", uniform(*[2, 3, 4, 5, 6, 7][:r]), Raises(ValueError))
                            for r in (0, 1, 2, 3, 5, 6)
                        ),
                        ("no row", uniform(2, 3, 0, 5), Raises(ValueError)),
                        ("no column", uniform(2, 3, 4, 0), Raises(ValueError)),
                        ("in Fortran order", _fortran(uniform(2, 3, 4, 5)), Gives("near")),
                        ("float64", uniform(2, 3, 4, 5).double(), Gives("near")),
                        ("needs a gradient", uniform(2, 3, 4, 5).requires_grad_(), Gives()),
                    )
                )
            },
        ),
    ]


def _answers() -> list[tuple[str, Any, type[Exception]]]:
    """What no network should return."""
    return [
        ("nothing", None, TypeError),
        ("a list", [uniform(1, 3, 4, 5)], TypeError),
        ("a tuple", (uniform(1, 3, 4, 5),), TypeError),
        ("a dict without logits", {"x": uniform(1, 3, 4, 5)}, TypeError),
        ("a dict of None", {"out": None}, TypeError),
        ("an array", uniform(1, 3, 4, 5).numpy(), TypeError),
        ("rank 3", uniform(3, 4, 5), ValueError),
        ("rank 5", uniform(1, 1, 3, 4, 5), ValueError),
    ]


def _fortran(value: Tensor) -> Tensor:
    turned = tuple(reversed(range(value.dim())))
    return value.permute(turned).contiguous().permute(turned)


def entries() -> list[Entry]:
    return [
        *_crf_entries(),
        *_lattice_entries(),
        *_walk_entries(),
        *_cams_entries(),
        *_unary_entries(),
        *_dense_crf_entries(),
        *_loss_entries(),
        *_tta_entries(),
    ]
