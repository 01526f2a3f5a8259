"""Layers and losses: how each is called rightly, and of what kind its arguments are."""

from __future__ import annotations

import math
from typing import Any

import torch
from hard_use.bad_input import (
    Bool,
    Choice,
    Entry,
    Gives,
    Int,
    Number,
    Odd,
    Outcome,
    Raises,
    Values,
    no_numbers,
    wrong_types,
)
from hard_use.bad_input_crf import impossible, kernel_of
from hard_use.bad_tensors import Of, not_finite
from hard_use.bad_values import BYTE, FLOAT64, HUGE, INTEGERS, bytes_, uniform
from torch import Tensor

from wsss_fast import Bilateral, Features, Gaussian, nn
from wsss_fast.reference import affinity_displacement_loss as plain_loss
from wsss_fast.reference import crf as plain_crf


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
                "gaussian": kernel_of(Gaussian, Bilateral()),
                "bilateral": kernel_of(Bilateral, Gaussian()),
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
                ("logits", Odd("-inf for a class", -impossible(everything=False), Gives("truth"))),
                (
                    "logits",
                    Odd("-inf for a pixel", -impossible(everything=True), Raises(ValueError, "unary")),
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
                *(("sigma_rgb", Odd(f"{s}", s, Raises(ValueError))) for s in (1e-300, 1e-30, 2.3e-308)),
                *(("sigma_xy", Odd(f"{s}", s, Raises(ValueError))) for s in (1e-300, 1e-30, 2.3e-308)),
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
        ("very small", [1e-300, 2.3e-308], Gives("shape")),
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
    return [*_dense_crf_entries(), *_loss_entries(), *_tta_entries()]
