"""Legal calls of each op, their arguments drawn over all that the op accepts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import wsss_fast
from fuzz.strategies import (
    LAYOUTS,
    TAME,
    WILD,
    Draw,
    dtypes,
    fractions,
    generators,
    laid_out,
    log_uniform,
    one_or_each,
    signed,
    sizes,
    values,
)
from wsss_fast import Bilateral, Features, Gaussian
from wsss_fast.kernels import Kernel
from wsss_fast.nn import AffinityDisplacementLoss

NORMALIZATIONS = ("symmetric", "before", "after", "none")


@dataclass(frozen=True)
class Call:
    """An op and its arguments, by name; tensors have a leading axis N."""

    op: Callable[..., Any]
    given: dict[str, Any]

    def __call__(self, **other: Any) -> Any:
        return self.op(**{**self.given, **other})

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def but(self, **other: Any) -> Call:
        return replace(self, given={**self.given, **other})

    def of(self, change: Callable[[Tensor], Tensor]) -> Call:
        """With another tensor for each that has the axis N."""
        return replace(self, given={name: changed(value, change) for name, value in self.given.items()})


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with every tensor in it changed that has the axis N; compats have none."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Features):
        return Features(changed(value.features, change), value.compat)
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    return value


def batches(most: int) -> st.SearchStrategy[int]:
    """N; 0 is what hypothesis would try most."""
    return st.sampled_from([*range(1, most + 1), *range(1, most + 1), 0, *range(most, 0, -1), 1, 2])


# Of walks, of labels, of channels: so that an empty result is not every other one.
FEW = (2, 1, 3, 5, 2, 0, 4, 6, 1, 3)


# --- crf -------------------------------------------------------------------------------------------------


def images(draw: Draw, n: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    g = draw(generators())
    kind = draw(st.sampled_from(["noise", "two colours", "black", "white", "grain"]))
    size = (n, 3, height, width)
    image = {
        "noise": lambda: torch.rand(size, generator=g) * 255,
        "two colours": lambda: (
            torch.randint(2, (n, 1, height, width), generator=g) * 200.0 + torch.zeros(size)
        ),
        "black": lambda: torch.zeros(size),
        "white": lambda: torch.full(size, 255.0),
        "grain": lambda: 100 + torch.rand(size, generator=g) * 5,
    }[kind]()
    given = draw(st.sampled_from([torch.uint8, torch.float32, torch.float64]))
    return laid_out(draw, image.to(given))


def energies(draw: Draw, shape: tuple[int, ...], dtype: torch.dtype, wild: bool = True) -> Tensor:
    """[...,C,H,W], with infinities in some cases, though not in all classes of a pixel."""
    unary = values(draw, shape, dtype, WILD if wild else TAME, layout=False)
    layouts = LAYOUTS
    if shape[-3] > 1 and draw(st.booleans()):
        g = draw(generators())
        impossible = torch.rand(shape, generator=g) < draw(st.sampled_from([0.05, 0.5, 0.99]))
        saved = torch.randint(shape[-3], (*shape[:-3], 1, *shape[-2:]), generator=g)
        unary = unary.masked_fill(impossible.scatter(-3, saved, False), math.inf)
        layouts = LAYOUTS[:-1]  # not expanded: to all classes, perhaps
    return laid_out(draw, unary, layouts)


def compats(draw: Draw, classes: int, most: float) -> Any:
    """Of any form; none of its numbers is above ``most``."""
    usual = log_uniform(min(0.5, most), min(10.0, most))
    size = draw(signed(st.one_of(usual, log_uniform(1e-6 * most, most, 0.0))))
    form = draw(st.sampled_from(["matrix", "scalar", "vector", "matrix"]))
    if form == "scalar":
        return size
    shape = (classes,) if form == "vector" else (classes, classes)
    costs = (torch.rand(shape, generator=draw(generators()), dtype=torch.float64) * 2 - 1) * size
    as_given = draw(st.sampled_from(["float32", "float64", "numpy", "list"]))
    return {
        "float32": costs.float,
        "float64": lambda: costs,
        "numpy": costs.numpy,
        "list": costs.tolist,
    }[as_given]()


def kernels_of(
    draw: Draw, n: int, classes: int, height: int, width: int, most: float, dims: int = 16
) -> list[Kernel]:
    # Widths from where no two pixels touch a vertex in common to where all lie in one simplex.
    deviation = st.one_of(log_uniform(0.5, 20.0), log_uniform(0.02, 1e4, 1.0, 3.0))
    result: list[Kernel] = []
    count = draw(st.sampled_from([1, 2, 0, 3, 2, 1]))
    for kind in draw(st.tuples(*[st.sampled_from([Gaussian, Bilateral, Features])] * count)):
        compat = compats(draw, classes, most)
        if kind is Features:
            shape = (n, draw(st.integers(1, dims)), height, width)
            guide = values(draw, shape, draw(dtypes()), TAME)
            result.append(Features(guide, compat))
            continue
        sxy = draw(one_or_each(deviation, 2))
        if kind is Gaussian:
            result.append(Gaussian(sxy, compat))
        else:
            result.append(Bilateral(sxy, draw(one_or_each(log_uniform(0.1, 1e4, 5.0), 3)), compat))
    return result


@st.composite
def crf_calls(
    draw: Draw, *, most: int = 9, batch: int = 2, compat: float = 1e3, wild: bool = True, dims: int = 16
) -> Call:
    n, height, width = draw(batches(batch)), draw(sizes(most)), draw(sizes(most))
    classes = draw(st.sampled_from([2, 3, 5, 1, 257, 4, 8, 21, 3]))
    sets = draw(st.sampled_from([(), (), (1,), (2,), (3,)]))
    dtype = draw(dtypes())
    kernels = kernels_of(draw, n, classes, height, width, compat, dims)
    one = st.sampled_from(NORMALIZATIONS)
    normalization = draw(st.one_of(one, st.tuples(*[one] * len(kernels)).map(list)))
    given = {
        "image": images(draw, n, height, width, dtype),
        "unary": energies(draw, (n, *sets, classes, height, width), dtype, wild),
        "kernels": kernels,
        "normalization": normalization,
        "iterations": draw(st.sampled_from([1, 2, 0, 3, 6, 1])),
    }
    if draw(st.booleans()):
        given["capacity"] = draw(st.integers(1, 100))  # which the CPU does not need
    return Call(wsss_fast.crf, given)


# --- the lattice -----------------------------------------------------------------------------------------


def channel_counts(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([*range(1, most + 1), 0, *range(most, 0, -1)])


def filtered(features: Tensor, values: Tensor) -> Tensor:
    """As an op of its own: a lattice that is used once."""
    return wsss_fast.PermutohedralLattice(features).filter(values)


@st.composite
def lattice_calls(
    draw: Draw, *, most: int = 7, batch: int = 2, channels: int = 40, wild: bool = True
) -> Call:
    n, dims, count = draw(batches(batch)), draw(st.integers(1, 16)), draw(channel_counts(channels))
    # An image, or a volume with no more voxels than an image has pixels.
    axes = draw(st.sampled_from([2, 3]))
    space = [draw(sizes(round(most ** (2 / axes)))) for _ in range(axes)]
    dtype = draw(dtypes())
    spread = draw(st.one_of(log_uniform(0.1, 10.0), log_uniform(1e-3, 300.0, 1.0)))
    features = laid_out(draw, values(draw, (n, dims, *space), dtype, TAME, layout=False) * spread)
    channel_kinds = WILD if wild else TAME
    return Call(
        filtered, {"features": features, "values": values(draw, (n, count, *space), dtype, channel_kinds)}
    )


# --- random_walk and path_affinity -----------------------------------------------------------------------


@st.composite
def walk_calls(draw: Draw, *, most: int = 8, batch: int = 2, exp_times: int = 12, wild: bool = True) -> Call:
    n, maps, height, width = (
        draw(batches(batch)),
        draw(st.sampled_from(FEW)),
        draw(sizes(most)),
        draw(sizes(most)),
    )
    dtype = draw(dtypes())
    # A whole exponent up to 64 is a product; others are powers.
    beta = st.one_of(
        st.sampled_from([2, 10, 0, 5, 64, 1, 3]),
        st.integers(0, 64),
        log_uniform(1e-3, 1e3, 0.0, 1.0, 0.5, 65.0),
        st.sampled_from([1e30, 1e-30]),
    )
    given: dict[str, Any] = {
        "cam": values(draw, (n, maps, height, width), dtype, WILD if wild else TAME),
        "boundary": fractions(draw, (n, 1, height, width), dtype),
        "radius": draw(st.sampled_from([3, 4, 2, 5, *range(2, 16), 5])),
        "beta": draw(beta),
        "method": draw(st.sampled_from(["chebyshev", "power"])),
        "tol": draw(st.one_of(log_uniform(1e-17, 1e-4), log_uniform(1e-17, 0.999, 0.0, 1e-5))),
    }
    # A walk that is long for its map says little of each step.
    if draw(st.booleans()):
        given["exp_times"] = draw(st.sampled_from([1, 2, 0, 3, *range(exp_times + 1), 1]))
    else:
        given["steps"] = draw(st.sampled_from([1, 3, 0, 2, 5, 6, 17, 2**exp_times, 4]))
    return Call(wsss_fast.random_walk, given)


@st.composite
def path_calls(draw: Draw, *, most: int = 8, batch: int = 2, radius: int = 9) -> Call:
    """The map has up to ``most`` rows and columns more than the radius needs."""
    n, within = draw(batches(batch)), draw(st.integers(2, radius))
    height, width = within - 1 + draw(sizes(most)), 2 * within - 2 + draw(sizes(4 * most))
    boundary = fractions(draw, (n, 1, height, width), draw(dtypes()))
    return Call(wsss_fast.path_affinity, {"boundary": boundary, "radius": within})


# --- the training loss -----------------------------------------------------------------------------------


def irnet_loss(boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> Any:
    return AffinityDisplacementLoss(radius)(boundary_logits, displacement, labels)


LABEL_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@st.composite
def loss_calls(draw: Draw, *, most: int = 7, batch: int = 2, radius: int = 6) -> Call:
    n, within = draw(batches(batch)), draw(st.integers(2, radius))
    height, width = within - 1 + draw(sizes(most)), 2 * within - 2 + draw(sizes(3 * most))
    dtype, label_dtype = draw(dtypes()), draw(st.sampled_from(LABEL_DTYPES))
    some = [c for c in (0, 1, 2, 20, 127, 200, 255, 300, 2**31 - 1) if c <= torch.iinfo(label_dtype).max]
    classes = draw(st.lists(st.sampled_from(some), min_size=1, max_size=4))
    chosen = torch.randint(len(classes), (n, height, width), generator=draw(generators()))
    # Quarters: which of two values of a path is the larger depends on no rounding.
    logits = (
        values(draw, (n, 1, height, width), dtype, ("normal", "few", "constant", "zeros")) * 4
    ).round() / 4
    logits = logits * draw(st.sampled_from([0.25, 1.0, 4.0, 100.0]))
    given = {
        "boundary_logits": logits,
        "displacement": values(draw, (n, 2, height, width), dtype, TAME),
        "labels": laid_out(draw, torch.tensor(classes, dtype=label_dtype)[chosen]),
        "radius": within,
    }
    return Call(irnet_loss, given)


# --- fuse_cams and tta_merge -----------------------------------------------------------------------------


def scaled_maps(draw: Draw, n: int, k: int, most: int, kinds: tuple[str, ...]) -> list[Tensor]:
    """[N,K,h_i,w_i], some of equal size."""
    dtype = draw(dtypes())
    of_size = draw(st.lists(st.tuples(sizes(most), sizes(most)), min_size=1, max_size=3))
    chosen = draw(st.lists(st.sampled_from(of_size), min_size=1, max_size=5))
    return [values(draw, (n, k, *size), dtype, kinds) for size in chosen]


def flips(draw: Draw, count: int) -> list[bool]:
    return draw(st.lists(st.booleans(), min_size=count, max_size=count))


@st.composite
def fusion_calls(draw: Draw, *, most: int = 12, batch: int = 2, wild: bool = True) -> Call:
    n, k = draw(batches(batch)), draw(st.sampled_from(FEW))
    cams = scaled_maps(draw, n, k, most, WILD if wild else TAME)
    targets = st.tuples(sizes(2 * most), sizes(2 * most))
    several = draw(st.lists(targets, min_size=1, max_size=3))

    def crop_of(size: tuple[int, int]) -> Any:
        return draw(st.one_of(st.none(), st.tuples(st.integers(1, size[0]), st.integers(1, size[1]))))

    crops = [crop_of(size) for size in several]
    as_list = len(several) > 1 or draw(st.booleans())
    given: dict[str, Any] = {
        "cams": cams,
        # Sizes are tuples in lists: no tensors in them, so nothing has the axis N.
        "size": several if as_list else several[0],
        "crop": draw(st.sampled_from([None, crops])) if as_list else crops[0],
        "flipped": draw(st.sampled_from([None, flips(draw, len(cams))])),
        "relu": draw(st.sampled_from(["sum", "each", "none"])),
        "normalize": draw(st.sampled_from(["class", "image", "none"])),
    }
    if draw(st.booleans()):
        present = torch.rand((n, k), generator=draw(generators())) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        given["classes"] = laid_out(draw, present)
    return Call(wsss_fast.fuse_cams, given)


@st.composite
def tta_calls(draw: Draw, *, most: int = 12, batch: int = 2, wild: bool = True) -> Call:
    n, classes = draw(batches(batch)), draw(st.one_of(sizes(6), st.sampled_from([21, 257])))
    logits = scaled_maps(draw, n, classes, most, WILD if wild else TAME)
    if classes > 1 and draw(st.booleans()):  # a tie everywhere
        first, second = draw(st.lists(st.integers(0, classes - 1), min_size=2, max_size=2, unique=True))
        logits = [z.index_copy(1, torch.tensor([second]), z[:, first : first + 1]) for z in logits]
    given = {
        "logits": logits,
        "size": (draw(sizes(2 * most)), draw(sizes(2 * most))),
        "flipped": flips(draw, len(logits)),
        "activation": draw(st.sampled_from(["softmax", "sigmoid", "none"])),
    }
    return Call(wsss_fast.tta_merge, given)
