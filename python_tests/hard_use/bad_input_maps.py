"""Maps and logits of several sizes: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

from typing import Any

import torch
from hard_use.bad_input import (
    Choice,
    Entry,
    Flags,
    Gives,
    Odd,
    Outcome,
    Pair,
    Raises,
    Values,
    wrong_types,
)
from hard_use.bad_tensors import ListOf, Of, not_finite
from hard_use.bad_values import HUGE, uniform

import wsss_fast
from wsss_fast.reference import cam_fusion as plain_cams
from wsss_fast.reference import tta as plain_tta


def _cams_input() -> dict[str, Any]:
    return {
        "cams": [uniform(2, 3, 4, 5), uniform(2, 3, 2, 3, seed=1)],
        "size": (6, 7),
        "crop": (5, 6),
        "flipped": [False, True],
        "relu": "sum",
        "normalize": "class",
    }


def entries() -> list[Entry]:
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
