"""The dense CRF's part of tiny_inputs.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from tiny_case import Case
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, PermutohedralLattice
from wsss_fast.nn import DenseCRF, DenseCRFLoss

SIZES = [(1, 1), (1, 7), (5, 1), (9, 14)]
CLASSES = [1, 2, 4, 5, 21]
DIMS = [1, 2, 5, 16]


def picture(images: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8)


def crf(image: Tensor, unary: Tensor, *compats: Tensor, **options: Any) -> Tensor:
    """``compats``: of the Gaussian, then of the bilateral kernel."""
    if compats:
        options["kernels"] = [Gaussian(3, compats[0]), Bilateral(20, 9, compats[1])]
    return wsss_fast.crf(image, unary, iterations=2, **options)


def crf_of_features(image: Tensor, unary: Tensor, features: Tensor) -> Tensor:
    return wsss_fast.crf(image, unary, iterations=2, kernels=[Features(features, 4.0)])


def gradients(image: Tensor, unary: Tensor, output: str) -> Tensor:
    energies = unary.clone().requires_grad_()
    q = wsss_fast.crf(image, energies, iterations=2, output=output)
    (q * torch.linspace(-1, 1, q.numel(), device=q.device).view(q.shape)).sum().backward()
    assert energies.grad is not None
    return energies.grad


def layer(image: Tensor, logits: Tensor) -> list[Tensor]:
    module = DenseCRF(logits.shape[1], iterations=2).to(logits.device)
    scores = logits.clone().requires_grad_()
    module(image, scores)[:, 0].sum().backward()
    parameters = [p.grad for p in module.parameters() if p.grad is not None]
    assert scores.grad is not None
    return [scores.grad, *parameters]


def loss(image: Tensor, logits: Tensor) -> Tensor:
    scores = logits.clone().requires_grad_()
    module = DenseCRFLoss(weight=1e-3, sigma_rgb=15, sigma_xy=20, scale_factor=1.0)
    module(image, scores.softmax(1)).backward()
    assert scores.grad is not None
    return scores.grad


def lattice(features: Tensor, values: Tensor, capacity: int | None) -> list[Tensor]:
    given = values.clone().requires_grad_()
    filtered = PermutohedralLattice(features, capacity=capacity).filter(given)
    filtered.square().sum().backward()
    assert given.grad is not None
    return [filtered.detach(), given.grad]


def cases() -> Iterator[Case]:
    for height, width in SIZES:
        for classes in CLASSES:
            unary = torch.rand(2, classes, height, width) * 3
            yield f"crf {height}x{width} C={classes}", crf, [picture(2, height, width), unary]
    image, unary = picture(2, 9, 14), torch.rand(2, 3, 9, 14) * 3
    small = image, unary
    for output in ("labels", "log_probs"):
        yield output, partial(crf, output=output), [*small]
    for normalization in ("before", "after", "none"):
        yield normalization, partial(crf, normalization=normalization), [*small]
    for leave_out in ("gaussian", "bilateral"):
        options: dict[str, Any] = {leave_out: None}
        yield f"no {leave_out}", partial(crf, **options), [*small]
    scalar, vector, matrix = torch.tensor(3.0), -torch.rand(3), -torch.rand(3, 3)
    for compats in ((scalar, vector), (vector, matrix), (matrix, scalar)):
        shapes = ", ".join(f"{list(compat.shape)}" for compat in compats)
        yield f"compats {shapes}", crf, [*small, *compats]
    yield "no iteration", partial(wsss_fast.crf, iterations=0), [*small]
    yield "sets", crf, [image, torch.rand(2, 3, 3, 9, 14)]
    yield "float image", crf, [image.float(), unary]
    yield "float64", crf, [image.double(), unary.double()]
    yield "capacity", partial(crf, capacity=9 * 14 * 6), [*small]
    yield "labels of 300 classes", partial(crf, output="labels"), [picture(1, 3, 4), torch.rand(1, 300, 3, 4)]
    yield "one flat image", crf, [torch.full((1, 3, 20, 30), 7, dtype=torch.uint8), torch.rand(1, 2, 20, 30)]
    for dims in DIMS:
        features = torch.randn(2, dims, 9, 14)
        yield f"features d={dims}", crf_of_features, [image, unary, features]
        for capacity in (None, 9 * 14 * (dims + 1)):
            call = partial(lattice, capacity=capacity)
            yield f"lattice d={dims} capacity {capacity}", call, [features, torch.rand(2, 3, 9, 14)]
    for output in ("probs", "log_probs"):
        yield f"gradient of {output}", partial(gradients, output=output), [*small]
    yield "nn.DenseCRF", layer, [*small]
    yield "nn.DenseCRFLoss", loss, [*small]
