"""The lattice: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

from typing import Any

import torch
from hard_use.bad_input import (
    Entry,
    Gives,
    Int,
    Odd,
    Raises,
)
from hard_use.bad_tensors import Of, not_finite
from hard_use.bad_values import FLOAT64, HUGE, uniform
from torch import Tensor

from wsss_fast import PermutohedralLattice
from wsss_fast.reference import crf as plain_crf


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


def entries() -> list[Entry]:
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
