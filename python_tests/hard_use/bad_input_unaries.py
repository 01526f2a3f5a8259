"""Unaries and settings: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hard_use.bad_input import (
    Bool,
    Entry,
    Gives,
    Int,
    Number,
    Odd,
    Raises,
)
from hard_use.bad_input_crf import crf_input
from hard_use.bad_tensors import Of, not_finite
from hard_use.bad_values import FLOAT64, INTEGERS, bytes_, uniform
from torch import Tensor

import wsss_fast


def _labels(grad: str = "none", **numbers: Any) -> Of:
    return Of("NHW", same=INTEGERS, grad=grad, **numbers)


def entries() -> list[Entry]:
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
                *(("gt_prob", Odd(f"{p}", p, Gives("finite"))) for p in (2.3e-308, 1e-300, 1 - 2**-53)),
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
                    bad={**not_finite(), "-0.1": -0.1, "1.1": 1.1, "-2e-38": -2e-38},
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
        return wsss_fast.crf(**crf_input())


def _plain_unary(labels: Tensor, n_labels: int, gt_prob: float, zero_unsure: bool) -> Tensor:
    chosen = torch.nn.functional.one_hot(labels.long(), n_labels).movedim(-1, -3).bool()
    rest = (1 - gt_prob) / (n_labels - 1)
    return -torch.where(chosen, gt_prob, rest).log().float()
