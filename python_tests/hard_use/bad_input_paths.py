"""The walk and the paths: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

from typing import Any

import torch
from hard_use.bad_input import (
    Choice,
    Entry,
    Gives,
    Int,
    Number,
    Odd,
    Raises,
)
from hard_use.bad_tensors import ListOf, Of, not_finite
from hard_use.bad_values import FLOAT64, HUGE, uniform
from torch import Tensor

import wsss_fast
from wsss_fast.reference import path_affinity as plain_paths
from wsss_fast.reference import random_walk as plain_walk


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


def entries() -> list[Entry]:
    too_large = {"3e38": HUGE, "-3e38": -HUGE}
    cam = Of(
        "NKhw", tied="Nhw", near=(), bad={**not_finite(), **too_large}, fine={"-0": -0.0, "1e-40": 1e-40}
    )
    outside = {**not_finite(), "-1": -1.0, "just below 0": -2e-38, "1.0001": 1.0001, "2": 2.0}
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
                *(("tol", Odd(f"{t}", t, Gives("finite"))) for t in (0.0, 2.3e-308, 0.5, 0.999999)),
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
