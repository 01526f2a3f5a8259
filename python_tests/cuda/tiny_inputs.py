"""Every form of the CUDA kernels once, on a few pixels, for tools that watch each access:

    compute-sanitizer --tool racecheck python python_tests/cuda/tiny_inputs.py cuda

Results are compared with the CPU's. With `cuda-host` the kernels are those of a build that runs them on the
host.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, PermutohedralLattice, _device
from wsss_fast._info import cuda_kernels
from wsss_fast.nn import DenseCRF, DenseCRFLoss

SIZES = [(1, 1), (1, 7), (5, 1), (9, 14)]
CLASSES = [1, 2, 4, 5, 21]
DIMS = [1, 2, 5, 16]

# Tensors and what they are given to: the same function and arguments go to both devices.
Case = tuple[str, Callable[..., Any], list[Tensor]]


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


def half(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """In half precision where kernels read it, elsewhere the same numbers."""
    rounded = [tensor.half() for tensor in tensors]
    return rounded if _device.on_cuda(rounded[0]) else [tensor.float() for tensor in rounded]


def fused(*cams: Tensor, classes: list[list[bool]] | None = None, **options: Any) -> list[Tensor]:
    mask = None if classes is None else torch.tensor(classes)
    flipped = [i % 2 == 1 for i in range(len(cams))]
    results = wsss_fast.fuse_cams(
        cams, [(19, 150), (3, 1)], crop=[(17, 140), None], flipped=flipped, classes=mask, **options
    )
    return results if mask is None else [tensor for of_size in results for tensor in of_size]


def fused_of_halves(*cams: Tensor) -> list[Tensor]:
    return [tensor.float() for tensor in fused(*half(cams))]


def merged(*logits: Tensor, **options: Any) -> Tensor:
    flipped = [i % 2 == 1 for i in range(len(logits))]
    return wsss_fast.tta_merge(logits, (7, 9), flipped=flipped, **options)


def merged_of_halves(*logits: Tensor) -> Tensor:
    return merged(*half(logits)).float()


def cases() -> Iterator[Case]:
    yield from cases_of_crf()
    yield from cases_of_cams()
    yield from cases_of_predictions()


def cases_of_cams() -> Iterator[Case]:
    cams = [torch.rand(2, 3, h, w) - 0.3 for h, w in ((4, 5), (4, 5), (9, 2), (1, 1))]
    for relu, normalize in (("sum", "class"), ("each", "image"), ("none", "none")):
        yield f"fuse_cams {relu} {normalize}", partial(fused, relu=relu, normalize=normalize), cams
    present = [[True, False, True], [False, False, False]]
    yield "fuse_cams of present classes", partial(fused, classes=present), cams
    yield "fuse_cams float64", fused, [c.double() for c in cams]
    yield "fuse_cams float16", fused_of_halves, cams
    yield "fuse_cams of many maps", fused, [torch.rand(2, 60, 3, 2)]


def cases_of_predictions() -> Iterator[Case]:
    # Held by a thread, by several, and by none.
    for classes in (1, 8, 21, 50, 201, 289):
        logits = [torch.randn(2, classes, h, w) * 4 for h, w in ((4, 5), (4, 5), (9, 2), (7, 9))]
        for output in ("mean", "labels"):
            yield f"tta_merge C={classes} {output}", partial(merged, output=output), logits
    small = [torch.randn(2, 11, h, w) for h, w in ((4, 5), (9, 2))]
    for activation in ("sigmoid", "none"):
        for output in ("mean", "labels"):
            call = partial(merged, activation=activation, output=output)
            yield f"tta_merge {activation} {output}", call, small
    yield "tta_merge float64", merged, [z.double() for z in small]
    yield "tta_merge float16", merged_of_halves, small


def cases_of_crf() -> Iterator[Case]:
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


def check(name: str, found: Any, expected: Any) -> None:
    for ours, theirs in zip(_tensors(found), _tensors(expected), strict=True):
        message = lambda text: f"{name}: {text}"  # noqa: E731  torch calls it with what it has to say
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-4, msg=message)


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("device", choices=("cuda", "cuda-host"))
    host = parser.parse_args().device == "cuda-host"
    if cuda_kernels() != ("host" if host else "device"):
        parser.error(f"expected a build for it, got one with cuda_kernels() = {cuda_kernels()!r}")
    torch.manual_seed(0)
    count = 0
    for name, run, tensors in cases():
        expected = run(*tensors)
        with _device.cpu_stands_in() if host else nullcontext():
            found = run(*(tensors if host else [tensor.cuda() for tensor in tensors]))
            if not host:
                torch.cuda.synchronize()
        check(name, found, expected)
        count += 1
    print(f"{count} forms agree with the CPU")


if __name__ == "__main__":
    main()
