"""Dense CRF: mean-field inference with Gaussian pairwise terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import HALVES, floats_for, on_cuda
from wsss_fast._launch import FlatKernel, flat_kernels
from wsss_fast._values import (
    check_capacity,
    check_compat,
    check_features,
    check_image,
    check_result,
    check_unary,
    checking,
)
from wsss_fast.kernels import Bilateral, Features, Gaussian, Kernel
from wsss_fast.ops import crf_backward
from wsss_fast.ops.features import width_in
from wsss_fast.ops.lattice import MAX_DIMS, checked_capacity
from wsss_fast.ops.mean_field import log_softmax_, next_logits, terms_of_each_group

DEFAULT_GAUSSIAN = Gaussian(sxy=3, compat=3)
DEFAULT_BILATERAL = Bilateral(sxy=50, srgb=5, compat=10)
_NORMALIZATIONS = ("symmetric", "before", "after", "none")
IMAGE_DTYPES = (torch.uint8, torch.float32, torch.float64)
_OUTPUTS = ("probs", "log_probs", "labels")

# unary [N,M,C,H,W], image [N,3,H,W]; a kind, a compat, five scales and a normalisation for each kernel;
# features for those kernels whose kind is "features"; a capacity for each kernel, or none at all.
_SCHEMA = (
    "(Tensor image, Tensor unary, Tensor[] features, Tensor[] compats, str[] kinds, float[] scales, "
    "str[] normalizations, int[] capacities, int iterations) -> Tensor"
)
torch.library.define("wsss_fast::crf", _SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))
torch.library.define("wsss_fast::crf_log_probs", _SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))
torch.library.define("wsss_fast::crf_labels", _SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))


def _empty_probs(unary: Tensor) -> Tensor:
    return unary.new_empty(unary.shape)


def _empty_labels(unary: Tensor) -> Tensor:
    images, sets, classes, height, width = unary.shape
    return unary.new_empty((images, sets, height, width), dtype=_checks.label_dtype(classes))


@torch.library.impl("wsss_fast::crf", ("CPU", "CUDA"))
def _crf(image: Tensor, unary: Tensor, *others: Any) -> Tensor:
    return _infer(image, unary, others, "probs", out=_empty_probs(unary))


@torch.library.impl("wsss_fast::crf_log_probs", ("CPU", "CUDA"))
def _crf_log_probs(image: Tensor, unary: Tensor, *others: Any) -> Tensor:
    return _infer(image, unary, others, "log_probs", out=_empty_probs(unary))


@torch.library.impl("wsss_fast::crf_labels", ("CPU", "CUDA"))
def _crf_labels(image: Tensor, unary: Tensor, *others: Any) -> Tensor:
    return _infer(image, unary, others, "labels", out=_empty_labels(unary))


def _infer(image: Tensor, unary: Tensor, others: tuple[Any, ...], output: str, *, out: Tensor) -> Tensor:
    """``out``, filled; ``others`` are the rest of the schema."""
    if out.numel() == 0:
        return out
    *lists, iterations = others
    kernels = flat_kernels(*lists)
    if on_cuda(unary):
        return _on_cuda(image, unary, kernels, iterations, output, out=out)
    if output == "log_probs":
        return _log_probs_on_cpu(image, unary, kernels, iterations, out=out)
    return _on_cpu(image, unary, kernels, iterations, out=out)


def _on_cpu(
    image: Tensor, unary: Tensor, kernels: list[FlatKernel], iterations: int, *, out: Tensor
) -> Tensor:
    for k, kernel in enumerate(kernels):
        check_compat(f"compat of kernel {k}", kernel.compat)
    _launch.crf(image, unary, kernels, iterations, out=out)
    return out


def _log_probs_on_cpu(
    image: Tensor, unary: Tensor, kernels: list[FlatKernel], iterations: int, *, out: Tensor
) -> Tensor:
    """The core stores no energies: it runs all updates but the last, which then is made here."""
    # Of numbers that do not lie side by side torch's exp and log have other last bits.
    unary = unary.contiguous()
    q = _on_cpu(image, unary, kernels, max(iterations - 1, 0), out=out)
    terms_of = terms_of_each_group(image, unary, kernels, size=1)
    for energies, states in zip(unary.flatten(3).unsqueeze(1), q.flatten(3).unsqueeze(1), strict=True):
        terms = next(terms_of) if iterations > 0 else []
        # A set at a time, so that only one is in memory once more.
        for energy, state in zip(energies.split(1, 1), states.split(1, 1), strict=True):
            # `state` is a view of q, and read before it is written.
            state.copy_(log_softmax_(next_logits(energy, terms, state)))
    if bool(q.isnan().any()):
        raise ValueError(_checks.wrong("compat", "weights that keep energies finite", "an overflow"))
    return q


def _on_cuda(
    image: Tensor, unary: Tensor, kernels: list[FlatKernel], iterations: int, output: str, *, out: Tensor
) -> Tensor:
    looking = checking(unary)
    if looking:
        _look(image, unary, kernels)
    vertices = _launch.cuda_crf(image, unary, kernels, iterations, output, out=out)
    if looking:
        for k, (kernel, counts) in enumerate(zip(kernels, vertices, strict=True)):
            if kernel.capacity is not None:
                check_capacity(kernel.capacity, torch.cat(counts), f" of kernel {k}")
        if out.dtype.is_floating_point:
            check_result(out)
    return out


def _look(image: Tensor, unary: Tensor, kernels: list[FlatKernel]) -> None:
    check_unary(unary)
    if any(kernel.kind == "bilateral" for kernel in kernels):
        check_image("image", image)
    for k, kernel in enumerate(kernels):
        if kernel.features is not None:
            check_features("features", kernel.features)
        check_compat(f"compat of kernel {k}", kernel.compat)


@torch.library.register_fake("wsss_fast::crf")
@torch.library.register_fake("wsss_fast::crf_log_probs")
def _crf_fake(image: Tensor, unary: Tensor, *others: Any) -> Tensor:
    return _empty_probs(unary)


@torch.library.register_fake("wsss_fast::crf_labels")
def _crf_labels_fake(image: Tensor, unary: Tensor, *others: Any) -> Tensor:
    return _empty_labels(unary)


torch.library.register_autograd(
    "wsss_fast::crf", crf_backward.backward_of_probs, setup_context=crf_backward.setup_context
)
torch.library.register_autograd(
    "wsss_fast::crf_log_probs", crf_backward.backward_of_log_probs, setup_context=crf_backward.setup_context
)


@overload
def crf(
    image: Tensor,
    unary: Tensor,
    *,
    iterations: int = ...,
    gaussian: Gaussian | None = ...,
    bilateral: Bilateral | None = ...,
    kernels: Sequence[Kernel] | None = ...,
    normalization: str | Sequence[str] = ...,
    output: str = ...,
    capacity: int | Sequence[int] | None = ...,
) -> Tensor: ...
@overload
def crf(
    image: Sequence[Tensor],
    unary: Sequence[Tensor],
    *,
    iterations: int = ...,
    gaussian: Gaussian | None = ...,
    bilateral: Bilateral | None = ...,
    kernels: Sequence[Kernel] | None = ...,
    normalization: str | Sequence[str] = ...,
    output: str = ...,
    capacity: int | Sequence[int] | None = ...,
) -> list[Tensor]: ...


def crf(
    image: Tensor | Sequence[Tensor],
    unary: Tensor | Sequence[Tensor],
    *,
    iterations: int = 10,
    gaussian: Gaussian | None = DEFAULT_GAUSSIAN,
    bilateral: Bilateral | None = DEFAULT_BILATERAL,
    kernels: Sequence[Kernel] | None = None,
    normalization: str | Sequence[str] = "symmetric",
    output: str = "probs",
    capacity: int | Sequence[int] | None = None,
) -> Tensor | list[Tensor]:
    """Mean-field inference in a fully connected CRF.

    Starting from ``Q = softmax(-unary)``, each iteration sets
    ``Q = softmax(-unary + sum_k compat_k norm_k F_k(norm_k Q))``, where F_k sums over all pixels, weighted by
    a Gaussian of the distance in position and colour (Krähenbühl and Koltun, "Efficient Inference in Fully
    Connected CRFs with Gaussian Edge Potentials", NIPS 2011), computed on a permutohedral lattice.

    Args:
        image: ``[N,3,H,W]`` or ``[3,H,W]``, uint8, or float32/float64 in [0, 255].
        unary: energies, that is -log p: ``[N,C,H,W]`` or ``[N,M,C,H,W]``, without N for a single image;
            float32 or float64, on CUDA float16 or bfloat16 too, which are computed with in float32. M unaries
            share their image and its lattice. +inf (probability 0) is legal unless a whole pixel is +inf.
        iterations: how many updates, 0 or more.
        gaussian: the smoothness kernel, by default ``Gaussian(sxy=3, compat=3)``; None leaves it out.
        bilateral: the appearance kernel, by default ``Bilateral(sxy=50, srgb=5, compat=10)``; None leaves it
            out.
        kernels: a list of :class:`Gaussian`, :class:`Bilateral` and :class:`Features` in place of the two
            above; an empty list leaves softmax(-unary).
        normalization: ``"symmetric"`` divides a kernel by the root of its row sums on both sides,
            ``"before"`` and ``"after"`` by its row sums before or after filtering, ``"none"`` not at all.
            A list gives each kernel its own.
        output: ``"probs"`` gives Q; ``"log_probs"`` its logarithm, from the energies of the last update
            themselves, so that it is exact where Q is too small for the dtype (-inf only where the unary is
            +inf); ``"labels"`` the argmax of Q (the first of equals) without ever storing Q.
        capacity: for CUDA, the most vertices that the lattice of a kernel may have for one image, or a list
            with an entry for each kernel. Without it the vertices are counted, for which the call waits once
            for the device; with it nothing waits, so that a CUDA graph can be captured, and an image with
            more vertices gives NaN. :attr:`PermutohedralLattice.vertices` tells how many there are, and
            H W (d + 1) is always enough (d = 2 for a Gaussian, 5 for a Bilateral). The CPU needs none.

    A list of images and a list of unaries, each entry of any size, is one call with a list as its result.

    Returns:
        Q or log Q, of the shape and dtype of ``unary``; or labels, without the axis C, in the smallest of
        uint8, int16 and int32 that holds C classes. Contiguous. N = 0 gives an empty result.

    Raises:
        ValueError: a wrong shape, device or range; image values outside [0, 255] or NaN (only looked at if a
            kernel uses the image); NaN or -inf in the unary or a pixel of nothing but +inf; kernel widths
            so small that positions in the lattice leave the dtype's precision; an image or features that
            require a gradient (unless grad mode is off, or labels are asked for). On CUDA values are looked
            at only under :func:`wsss_fast.check_values`; otherwise a wrong one makes its own image's Q NaN.
        TypeError: a wrong type or dtype. Under autocast float16 and bfloat16 are taken as float32.
        NotImplementedError: in a second backward pass, through the gradient.

    Q and log Q are differentiable, once, in the unary and in every ``compat`` that is a tensor requiring a
    gradient: through all iterations, not through the image or features. The gradient for an entry of +inf
    is 0. Backward makes each iteration's Q anew and keeps them for one image at a time: ``iterations`` times
    C H W numbers and, for C of less than 24, those of up to 24 / C of the M unaries; on CUDA for as many
    images as 1 GiB holds in float32. It filters twice as often as forward, and takes about three times as
    long.

    The same bits from run to run: on the CPU at any number of threads (``torch.get_num_threads()``) and for
    any instruction set (``wsss_fast.build_info()["isa"]``), on CUDA for an image in any batch. CPU and CUDA
    differ by rounding. On CUDA work is launched on the current stream of the unary's device.

    Cost: the lattice is built once an image, that of a Gaussian once a call; each iteration then touches, for
    every class, 6 + 3 vertices a pixel twice and 6 + 3 times each vertex. Memory on the CPU, beside input and
    output: a copy of the unaries of one image, a row of classes for each lattice vertex (a photograph of
    500 x 375 has about 190,000 at 50/5), and about 110 bytes a pixel. Up to 256 MiB of it are kept for the
    next call. ``"log_probs"`` builds each lattice once more there, for the last iteration. On CUDA all images
    go through together, or as many as half of the device's memory is sure to hold, with three rows of classes
    a pixel and two a vertex, after about 60 bytes for each of a pixel's d + 1 vertices while lattices are
    built.

    >>> import torch, wsss_fast
    >>> image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    >>> unary = wsss_fast.unary_from_labels(torch.randint(0, 4, (40, 60)), 4)
    >>> q = wsss_fast.crf(image, unary, bilateral=wsss_fast.Bilateral(sxy=80, srgb=13, compat=10))
    >>> q.shape, q.dtype
    (torch.Size([4, 40, 60]), torch.float32)
    >>> wsss_fast.crf(image, unary, output="labels").dtype
    torch.uint8
    >>> weight = torch.tensor(10.0, requires_grad=True)
    >>> log_q = wsss_fast.crf(image, unary, bilateral=wsss_fast.Bilateral(80, 13, weight), output="log_probs")
    >>> torch.nn.functional.nll_loss(log_q[None], torch.zeros(1, 40, 60, dtype=torch.int64)).backward()
    >>> weight.grad.shape
    torch.Size([])
    """
    _checks.choice("output", output, _OUTPUTS)
    iterations = _checks.integer("iterations", iterations, 0, 2**31 - 1)
    terms = chosen_kernels(gaussian, bilateral, kernels)
    normalizations = normalization_of_each(normalization, len(terms))
    capacities = _capacity_of_each(capacity, len(terms))
    if isinstance(image, (list, tuple)) or isinstance(unary, (list, tuple)):
        for name, value in (("image", image), ("unary", unary)):
            if not isinstance(value, (list, tuple)):
                raise TypeError(_checks.wrong(name, "a list of tensors (the other one is a list)", value))
        if len(image) != len(unary):
            raise ValueError(
                _checks.wrong("unary", f"{len(image)} tensors (one for each image)", f"{len(unary)}")
            )
        for k, term in enumerate(terms):
            if isinstance(term, Features) and (
                isinstance(term.features, Tensor) or len(term.features) != len(image)
            ):
                expected = f"a list of {len(image)} tensors (one for each image)"
                got = term.features if isinstance(term.features, Tensor) else f"{len(term.features)}"
                raise ValueError(_checks.wrong(f"kernels[{k}].features", expected, got))
        return [
            _crf_batch(i, u, _entry(terms, k), normalizations, capacities, iterations, output, f"[{k}]")
            for k, (i, u) in enumerate(zip(image, unary, strict=True))
        ]
    return _crf_batch(image, unary, terms, normalizations, capacities, iterations, output, "")


def chosen_kernels(gaussian: Any, bilateral: Any, kernels: Any) -> list[Kernel]:
    """The kernels that these arguments of :func:`crf` stand for, checked."""
    if kernels is not None:
        if gaussian is not DEFAULT_GAUSSIAN or bilateral is not DEFAULT_BILATERAL:
            raise ValueError("kernels: expected to be given in place of gaussian and bilateral, got both")
        if not isinstance(kernels, (list, tuple)):
            raise TypeError(_checks.wrong("kernels", "a list of Gaussian, Bilateral and Features", kernels))
        for k, term in enumerate(kernels):
            if not isinstance(term, (Gaussian, Bilateral, Features)):
                raise TypeError(_checks.wrong(f"kernels[{k}]", "a Gaussian, Bilateral or Features", term))
        return list(kernels)
    if gaussian is not None and not isinstance(gaussian, Gaussian):
        raise TypeError(_checks.wrong("gaussian", "a Gaussian or None", gaussian))
    if bilateral is not None and not isinstance(bilateral, Bilateral):
        raise TypeError(_checks.wrong("bilateral", "a Bilateral or None", bilateral))
    return [term for term in (gaussian, bilateral) if term is not None]


def normalization_of_each(given: Any, count: int) -> list[str]:
    """The argument ``normalization`` of :func:`crf` for ``count`` kernels, checked."""
    if not isinstance(given, (list, tuple)):
        return [_checks.choice("normalization", given, _NORMALIZATIONS)] * count
    if len(given) != count:
        expected = f"a name, or {count} of them (one for each kernel)"
        raise ValueError(_checks.wrong("normalization", expected, f"{len(given)} names"))
    return [_checks.choice(f"normalization[{k}]", name, _NORMALIZATIONS) for k, name in enumerate(given)]


def _capacity_of_each(given: Any, count: int) -> list[int]:
    """The argument ``capacity`` of :func:`crf` for ``count`` kernels, checked; empty for None."""
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        return [checked_capacity("capacity", given)] * count
    if len(given) != count:
        expected = f"an integer, or {count} of them (one for each kernel)"
        raise ValueError(_checks.wrong("capacity", expected, f"{len(given)} integers"))
    return [checked_capacity(f"capacity[{k}]", value) for k, value in enumerate(given)]


def _entry(terms: list[Kernel], k: int) -> list[Kernel]:
    """The terms for entry k of a list of images."""
    return [Features(t.features[k], t.compat) if isinstance(t, Features) else t for t in terms]


def _crf_batch(
    image: Any,
    unary: Any,
    terms: list[Kernel],
    normalizations: list[str],
    capacities: list[int],
    iterations: int,
    output: str,
    index: str,
) -> Tensor:
    image, unary = _checks.autocast(image), _checks.autocast(unary)
    _checks.tensor(f"image{index}", image, "[N,3,H,W] or [3,H,W]", (3, 4), IMAGE_DTYPES)
    single = image.dim() == 3
    shape = "[C,H,W] or [M,C,H,W]" if single else "[N,C,H,W] or [N,M,C,H,W]"
    ranks = (3, 4) if single else (4, 5)
    _checks.tensor(f"unary{index}", unary, shape, ranks, floats_for(unary))
    _checks.same_device(f"unary{index}", unary, f"image{index}", image)
    images = image.unsqueeze(0) if single else image
    if images.shape[1] != 3:
        raise ValueError(_checks.wrong(f"image{index}", "[N,3,H,W] or [3,H,W], three channels", image))
    batch = unary.unsqueeze(0) if single else unary
    shared = batch.dim() == 5
    if not shared:
        batch = batch.unsqueeze(1)
    count, _, classes, height, width = batch.shape
    if classes < 1 or height < 1 or width < 1:
        raise ValueError(_checks.wrong(f"unary{index}", f"{shape} with C, H and W of at least 1", unary))
    if (images.shape[0], images.shape[2], images.shape[3]) != (count, height, width):
        _checks.size(
            f"image{index}",
            image,
            (3, height, width) if single else (count, 3, height, width),
            f"the size of unary{index}",
        )
    features, compats, kinds, scales = _flatten(terms, batch, single, index)
    if output != "labels":
        guided = [k for k, kind in enumerate(kinds) if kind == "features"]
        names = [f"image{index}", *(f"features of kernel {k}{index}" for k in guided)]
        for name, value in zip(names, [image, *features], strict=True):
            _checks.needs_no_gradient(name, value, "crf is differentiable in the unary and the compats only")
    ops = torch.ops.wsss_fast
    run = {"probs": ops.crf, "log_probs": ops.crf_log_probs, "labels": ops.crf_labels}[output]
    out = run(images, batch, features, compats, kinds, scales, normalizations, capacities, iterations)
    if not shared:
        out = out.squeeze(1)
    return out.squeeze(0) if single else out


def _flatten(
    terms: list[Kernel], unary: Tensor, single: bool, index: str
) -> tuple[list[Tensor], list[Tensor], list[str], list[float]]:
    """The terms as the arguments of the schema."""
    classes = unary.shape[2]
    dtype = torch.float32 if unary.dtype in HALVES else unary.dtype
    features: list[Tensor] = []
    compats: list[Tensor] = []
    kinds: list[str] = []
    scales: list[float] = []
    for k, term in enumerate(terms):
        name = f"compat of kernel {k}"
        given = cast("float | Tensor", term.compat)
        if isinstance(given, Tensor):
            # What was a list or an array is on the CPU.
            device = unary.device if given.device.type == "cpu" else given.device
            compat = given.to(device, dtype)
            _checks.same_device(name, compat, f"unary{index}", unary)
            if compat.dim() > 0 and compat.shape[0] != classes:
                expected = f"a number, [{classes}] or [{classes},{classes}] (C of unary{index})"
                raise ValueError(_checks.wrong(name, expected, compat))
        else:
            if abs(given) > torch.finfo(dtype).max:
                raise ValueError(_checks.wrong(name, f"a number within {_checks.dtype_name(dtype)}", given))
            compat = torch.full((), given, dtype=dtype, device=unary.device)
        compats.append(compat)
        if isinstance(term, Gaussian):
            kinds.append("gaussian")
            scales += [*term.scales, 1.0, 1.0, 1.0]
        elif isinstance(term, Bilateral):
            kinds.append("bilateral")
            scales += term.scales
        else:
            kinds.append("features")
            scales += [1.0] * 5
            features.append(_guide(term.features, f"features of kernel {k}{index}", unary, single, index))
    return features, compats, kinds, [width_in(dtype, scale) for scale in scales]


def _guide(value: Any, name: str, unary: Tensor, single: bool, index: str) -> Tensor:
    count, _, _, height, width = unary.shape
    lead = "" if single else f"{count},"
    shape = f"[{lead}d,{height},{width}] (the size of unary{index}) with d in [1, {MAX_DIMS}]"
    guide = _checks.tensor(name, _checks.autocast(value), shape, (3,) if single else (4,))
    _checks.same_device(name, guide, f"unary{index}", unary)
    batch = guide.unsqueeze(0) if single else guide
    if (batch.shape[0], *batch.shape[2:]) != (count, height, width) or not 1 <= batch.shape[1] <= MAX_DIMS:
        raise ValueError(_checks.wrong(name, shape, guide))
    return batch
