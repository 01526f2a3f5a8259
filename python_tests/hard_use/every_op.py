"""A small case of every op and layer: ``CASES[name]()`` is all it has to say, as bytes.

Inputs come from generators of their own, so that cases may run in any thread, in any order and at once. They
are large enough that every op of the core shares its work out to threads. ``CASES[name](scale)`` is the same
on maps whose sides are that many times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

import wsss_fast
import wsss_fast.compat.pydensecrf.densecrf as dcrf
from wsss_fast import Bilateral, Features, Gaussian
from wsss_fast.compat.pydensecrf.utils import unary_from_softmax
from wsss_fast.nn import TTA, AffinityDisplacementLoss, DenseCRF, DenseCRFLoss

CASES: dict[str, Callable[..., bytes]] = {}


class Draw:
    """Random numbers, always the same, and the sizes of a case."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._generator = torch.Generator().manual_seed(0)
        # More pixels than the 16384 that one thread of the lattice takes at a time.
        self.size = self.sides(131, 127)

    def sides(self, *lengths: int) -> tuple[int, ...]:
        """No shorter than what a path of radius 5 needs."""
        return tuple(max(9, round(length * self._scale)) for length in lengths)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=dtype)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=self._generator, dtype=dtype)

    def integers(self, below: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.randint(0, below, shape, generator=self._generator, dtype=dtype)

    def image(self, height: int = 0, width: int = 0) -> Tensor:
        """Coarse blocks of colour: noise would make lattices many times as large."""
        height, width = height or self.size[0], width or self.size[1]
        colours = self.integers(256, 3, height // 8 + 1, width // 8 + 1, dtype=torch.uint8).numpy()
        # By numpy: torch's own threads hang in a forked child.
        return torch.from_numpy(colours.repeat(8, 1).repeat(8, 2)[:, :height, :width].copy())


def case(function: Callable[[Draw], Iterable[Tensor]]) -> Callable[[Draw], Iterable[Tensor]]:
    def run(scale: float = 1) -> bytes:
        return b"".join(t.detach().numpy().tobytes() for t in function(Draw(scale)))

    CASES[function.__name__] = run
    return function


# --- dense CRF -------------------------------------------------------------------------------------------


@case
def crf_probs(draw: Draw) -> Iterable[Tensor]:
    return [wsss_fast.crf(draw.image(), draw.normal(5, *draw.size), iterations=2)]


@case
def crf_probs_float64(draw: Draw) -> Iterable[Tensor]:
    image = torch.from_numpy(draw.image().numpy().astype(np.float64))
    return [wsss_fast.crf(image, draw.normal(2, *draw.size, dtype=torch.float64), iterations=2)]


@case
def crf_log_probs(draw: Draw) -> Iterable[Tensor]:
    return [wsss_fast.crf(draw.image(), draw.normal(2, *draw.size), iterations=2, output="log_probs")]


@case
def crf_labels_of_several_unaries(draw: Draw) -> Iterable[Tensor]:
    images = torch.from_numpy(np.stack([draw.image(), draw.image()]))
    return [wsss_fast.crf(images, draw.normal(2, 3, 4, *draw.size), iterations=1, output="labels")]


@case
def crf_of_a_list(draw: Draw) -> Iterable[Tensor]:
    sizes = [draw.size, draw.sides(40, 31), (1, 1)]
    images = [draw.image(*size) for size in sizes]
    return wsss_fast.crf(images, [draw.normal(3, *size) for size in sizes], iterations=1)


@case
def crf_of_wide_features(draw: Draw) -> Iterable[Tensor]:
    """So many dimensions that keys of vertices take several words; and a matrix between the classes."""
    grey = draw.image()[:1].numpy().astype(np.float32) / 300
    guide = torch.from_numpy(grey + np.arange(9, dtype=np.float32)[:, None, None])
    kernels = [Features(guide, draw.normal(3, 3)), Gaussian(3, [1.0, 2.0, 3.0])]
    unary = draw.normal(3, *draw.size)
    normalization = ["before", "after"]
    return [wsss_fast.crf(draw.image(), unary, iterations=1, kernels=kernels, normalization=normalization)]


@case
def crf_gradient(draw: Draw) -> Iterable[Tensor]:
    unary = draw.normal(3, *draw.size).requires_grad_()
    compat = draw.normal(3, 3).requires_grad_()
    bilateral = Bilateral(50, 5, compat)
    q = wsss_fast.crf(draw.image(), unary, iterations=2, bilateral=bilateral)
    q.backward(draw.normal(3, *draw.size))
    return [q, unary.grad, compat.grad]


@case
def lattice_filter(draw: Draw) -> Iterable[Tensor]:
    lattice = wsss_fast.PermutohedralLattice(torch.from_numpy(draw.uniform(2, 3, *draw.size).numpy() * 4))
    values = draw.normal(2, 7, *draw.size).requires_grad_()
    filtered = lattice.filter(values)
    filtered.backward(draw.normal(2, 7, *draw.size))
    return [filtered, values.grad]


@case
def unaries(draw: Draw) -> Iterable[Tensor]:
    labels = draw.integers(6, *draw.size, dtype=torch.uint8)
    probs = draw.uniform(3, *draw.size)
    return [wsss_fast.unary_from_labels(labels, 6), wsss_fast.unary_from_probs(probs)]


@case
def pydensecrf(draw: Draw) -> Iterable[Tensor]:
    d = dcrf.DenseCRF2D(draw.size[1], draw.size[0], 3)
    probs = draw.uniform(3, *draw.size).numpy()
    d.setUnaryEnergy(unary_from_softmax(probs / probs.sum(0)))
    d.addPairwiseGaussian(sxy=3, compat=draw.normal(3, 3).numpy())
    d.addPairwiseBilateral(sxy=50, srgb=5, rgbim=draw.image().movedim(0, -1).contiguous().numpy(), compat=4)
    q, first, second = d.startInference()
    d.stepInference(q, first, second)
    results = [q, d.inference(1), np.array(d.klDivergence(q))]
    return [torch.from_numpy(np.array(result)) for result in results]


@case
def dense_crf_layer(draw: Draw) -> Iterable[Tensor]:
    layer = DenseCRF(3, iterations=1, weights_per="class")
    logits = draw.normal(1, 3, *draw.size).requires_grad_()
    out = layer(draw.image()[None], logits)
    out.backward(draw.normal(1, 3, *draw.size))
    return [out, logits.grad, layer.kernel_weights.grad, layer.compatibility.grad]


@case
def dense_crf_loss(draw: Draw) -> Iterable[Tensor]:
    probs = draw.uniform(1, 3, *draw.size).requires_grad_()
    loss = DenseCRFLoss(weight=1e-6, sigma_rgb=15, sigma_xy=100)(draw.image()[None], probs)
    loss.backward()
    return [loss, probs.grad]


# --- random walk and path affinity -----------------------------------------------------------------------


@case
def random_walk(draw: Draw) -> Iterable[Tensor]:
    size = draw.sides(40, 50)
    cams, boundary = draw.uniform(2, 3, *size), draw.uniform(2, 1, *size) / 3
    return [wsss_fast.random_walk(cams, boundary, exp_times=5)]


@case
def random_walk_of_one_large_image(draw: Draw) -> Iterable[Tensor]:
    size = draw.sides(180, 170)
    cams, boundary = draw.uniform(2, *size), draw.uniform(1, *size) / 3
    return [wsss_fast.random_walk(cams, boundary, exp_times=3, method="power")]


@case
def random_walk_of_a_list(draw: Draw) -> Iterable[Tensor]:
    sizes = [(2, *draw.sides(33, 40)), (1, *draw.sides(50, 20)), (3, 1, 1)]
    cams = [draw.uniform(*size) for size in sizes]
    boundaries = [draw.uniform(1, *size[1:]) / 3 for size in sizes]
    return wsss_fast.random_walk(cams, boundaries, exp_times=5)


@case
def random_walk_gradients(draw: Draw) -> Iterable[Tensor]:
    results: list[Tensor] = []
    size = draw.sides(30, 40)
    for method, dtype in (("chebyshev", torch.float32), ("power", torch.float64)):
        cams = draw.uniform(2, 2, *size, dtype=dtype).requires_grad_()
        boundary = (draw.uniform(2, 1, *size, dtype=dtype) / 3).requires_grad_()
        grad = draw.normal(2, 2, *size, dtype=dtype)
        out = wsss_fast.random_walk(cams, boundary, exp_times=4, method=method)
        results += [out, *torch.autograd.grad(out, [cams, boundary], grad)]
        out = wsss_fast.random_walk(cams, boundary.detach(), exp_times=4, method=method)
        results += torch.autograd.grad(out, [cams], grad)
    return results


@case
def path_affinity(draw: Draw) -> Iterable[Tensor]:
    boundary = draw.uniform(2, 1, *draw.sides(60, 70)).requires_grad_()
    affinity = wsss_fast.path_affinity(boundary, 5)
    affinity.backward(draw.normal(*affinity.shape))
    return [affinity, boundary.grad]


@case
def affinity_displacement_loss(draw: Draw) -> Iterable[Tensor]:
    size = draw.sides(60, 70)
    logits = draw.normal(2, 1, *size).requires_grad_()
    displacement = draw.normal(2, 2, *size).requires_grad_()
    labels = draw.integers(3, 2, *size)
    labels[:, ::7] = 255
    losses = AffinityDisplacementLoss(5)(logits, displacement, labels)
    losses.total.backward()
    return [*losses, logits.grad, displacement.grad]


# --- CAM fusion and test-time augmentation ---------------------------------------------------------------


@case
def fuse_cams(draw: Draw) -> Iterable[Tensor]:
    cams = [draw.normal(2, 9, n, n + 3) for n in (24, 24, 47)]
    return [wsss_fast.fuse_cams(cams, draw.sides(150, 190), flipped=[False, True, False])]


@case
def fuse_cams_of_present_classes(draw: Draw) -> Iterable[Tensor]:
    cams = [draw.normal(2, 30, n, n + 3, dtype=torch.float64) for n in (24, 47)]
    present = draw.uniform(2, 30) < 0.2
    sizes = [draw.sides(40, 50), draw.sides(160, 200)]
    crops = [(h - 2, w) for h, w in sizes]
    fused = wsss_fast.fuse_cams(cams, sizes, crop=crops, classes=present, relu="each", normalize="image")
    return [maps for of_size in fused for maps in of_size]


@case
def tta_merge(draw: Draw) -> Iterable[Tensor]:
    size = draw.sides(95, 125)
    logits = [draw.normal(2, 21, n, n + 3) for n in (24, 24, 47)]
    flipped = [False, True, False]
    mean = wsss_fast.tta_merge(logits, size, flipped=flipped)
    return [mean, wsss_fast.tta_merge(logits, size, flipped=flipped, output="labels")]


class Seven(torch.nn.Module):
    """A network of seven times three classes, without a sum whose order could depend on threads."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image * k for k in range(7)], 1)


@case
def tta_layer(draw: Draw) -> Iterable[Tensor]:
    # At one scale: torch's own resampling of images has other last bits at other numbers of threads.
    return [TTA(Seven(), scales=[1], activation="sigmoid")(draw.uniform(1, 3, *draw.sides(100, 90)))]
