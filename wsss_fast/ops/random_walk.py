"""The random walk that spreads activation maps to whole objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import floats_for, on_cuda
from wsss_fast._values import check_boundary, check_walker, checking

_METHODS = ("chebyshev", "power")
_MOST_STEPS = 2**20

_OPTIONS = "int radius, float beta, int steps, str method, float tol"
torch.library.define("wsss_fast::random_walk", f"(Tensor cam, Tensor boundary, {_OPTIONS}) -> Tensor")
torch.library.define(
    "wsss_fast::random_walk_list", f"(Tensor[] cams, Tensor[] boundaries, {_OPTIONS}) -> Tensor[]"
)
# With respect to cam, for which cam is not needed, and with respect to both.
torch.library.define(
    "wsss_fast::random_walk_backward_cam", f"(Tensor grad, Tensor boundary, {_OPTIONS}) -> Tensor"
)
torch.library.define(
    "wsss_fast::random_walk_backward",
    f"(Tensor grad, Tensor cam, Tensor boundary, {_OPTIONS}) -> (Tensor, Tensor)",
)


@torch.library.impl("wsss_fast::random_walk", ("CPU", "CUDA"))
def _random_walk(cam: Tensor, boundary: Tensor, *options: Any) -> Tensor:
    return _walk([cam], [boundary], [("cam", "boundary")], *options)[0]


def _walk(
    cams: list[Tensor], boundaries: list[Tensor], names: list[tuple[str, str]], *options: Any
) -> list[Tensor]:
    """``names``: how an error calls a cam and its boundary."""
    if not on_cuda(cams[0]):
        return _launch.random_walk(cams, boundaries, names, *options)
    if checking(cams[0]):
        for (cam_name, boundary_name), cam, boundary in zip(names, cams, boundaries, strict=True):
            check_walker(cam_name, cam)
            check_boundary(boundary_name, boundary)
    return _launch.cuda_random_walk(cams, boundaries, *options)


@torch.library.register_fake("wsss_fast::random_walk")
def _fake(cam: Tensor, boundary: Tensor, *options: Any) -> Tensor:
    return cam.new_empty(cam.shape)


@torch.library.impl("wsss_fast::random_walk_list", ("CPU", "CUDA"))
def _random_walk_list(cams: list[Tensor], boundaries: list[Tensor], *options: Any) -> list[Tensor]:
    names = [(f"cam[{i}]", f"boundary[{i}]") for i in range(len(cams))]
    return _walk(cams, boundaries, names, *options)


@torch.library.register_fake("wsss_fast::random_walk_list")
def _list_fake(cams: list[Tensor], boundaries: list[Tensor], *options: Any) -> list[Tensor]:
    return [cam.new_empty(cam.shape) for cam in cams]


@torch.library.impl("wsss_fast::random_walk_backward_cam", ("CPU", "CUDA"))
def _random_walk_backward_cam(grad: Tensor, boundary: Tensor, *options: Any) -> Tensor:
    return _backward_of(grad)(grad, None, boundary, *options)[0]


@torch.library.register_fake("wsss_fast::random_walk_backward_cam")
def _backward_cam_fake(grad: Tensor, boundary: Tensor, *options: Any) -> Tensor:
    return grad.new_empty(grad.shape)


@torch.library.impl("wsss_fast::random_walk_backward", ("CPU", "CUDA"))
def _random_walk_backward(
    grad: Tensor, cam: Tensor, boundary: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    return _backward_of(grad)(grad, cam, boundary, *options)


def _backward_of(grad: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    return _launch.cuda_random_walk_backward if on_cuda(grad) else _launch.random_walk_backward


@torch.library.register_fake("wsss_fast::random_walk_backward")
def _backward_fake(grad: Tensor, cam: Tensor, boundary: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape), boundary.new_empty(boundary.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    cam, boundary, *ctx.options = inputs
    ctx.save_for_backward(cam if ctx.needs_input_grad[1] else None, boundary)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    cam, boundary = ctx.saved_tensors
    nothing = (None,) * len(ctx.options)
    if cam is None:
        grad_cam = torch.ops.wsss_fast.random_walk_backward_cam(grad, boundary, *ctx.options)
        return grad_cam, None, *nothing
    return *torch.ops.wsss_fast.random_walk_backward(grad, cam, boundary, *ctx.options), *nothing


def _no_second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("random_walk: the gradient of its gradient is not implemented")


torch.library.register_autograd("wsss_fast::random_walk", _backward, setup_context=_setup_context)
torch.library.register_autograd("wsss_fast::random_walk_backward_cam", _no_second_backward)
torch.library.register_autograd("wsss_fast::random_walk_backward", _no_second_backward)


def _pair(cam_name: str, cam: Any, boundary_name: str, boundary: Any) -> tuple[Tensor, Tensor]:
    """``cam`` and ``boundary`` checked, as [N,K,h,w] and [N,1,h,w]."""
    cam = _checks.autocast(cam)
    boundary = _checks.autocast(boundary)
    _checks.tensor(cam_name, cam, "[N,K,h,w] or [K,h,w]", (3, 4), floats_for(cam))
    dtypes = floats_for(boundary)
    _checks.tensor(boundary_name, boundary, "[N,1,h,w] or [1,h,w]", (3, 4), dtypes)
    _checks.same_dtype(boundary_name, boundary, cam_name, cam)
    _checks.same_device(boundary_name, boundary, cam_name, cam)
    *leading, _, h, w = cam.shape
    _checks.size(boundary_name, boundary, (*leading, 1, h, w), f"to match {cam_name}")
    if h == 0 or w == 0:
        raise ValueError(_checks.wrong(cam_name, "a map of at least one pixel", cam))
    if cam.dim() == 3:
        return cam.unsqueeze(0), boundary.unsqueeze(0)
    return cam, boundary


@overload
def random_walk(
    cam: Tensor,
    boundary: Tensor,
    *,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
    steps: int | None = None,
    method: str = "chebyshev",
    tol: float = 1e-5,
) -> Tensor: ...


@overload
def random_walk(
    cam: Sequence[Tensor],
    boundary: Sequence[Tensor],
    *,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
    steps: int | None = None,
    method: str = "chebyshev",
    tol: float = 1e-5,
) -> list[Tensor]: ...


def random_walk(
    cam: Tensor | Sequence[Tensor],
    boundary: Tensor | Sequence[Tensor],
    *,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
    steps: int | None = None,
    method: str = "chebyshev",
    tol: float = 1e-5,
) -> Tensor | list[Tensor]:
    """Spread activation maps by a random walk that class boundaries hold back.

    Two pixels less than ``radius`` apart have the affinity ``(1 - m) ** beta``, m the largest boundary on
    the straight path between them (see :func:`wsss_fast.path_affinity`); a pixel has affinity 1 with
    itself. With S the matrix of affinities and ``T = S / column sums of S``, the result is
    ``(cam * (1 - boundary)) . T^(2^exp_times)``. From IRNet (Ahn, Cho, Kwak: Weakly Supervised Learning of
    Instance Segmentation with Inter-pixel Relations, CVPR 2019). No matrix is built.

    Args:
        cam: ``[N,K,h,w]`` or ``[K,h,w]``: K maps an image, finite and at most 2^-40 of the largest number of
            the dtype (3e26 in float32), so that no sum overflows. float32 or float64; on CUDA float16 or
            bfloat16 too, which are computed with in float32, and under autocast taken as float32. Or a list
            of such tensors, of any sizes, on one device.
        boundary: ``[N,1,h,w]`` or ``[1,h,w]`` of the same dtype, in [0,1]: how likely a pixel lies on a
            boundary between classes. For a list of cams, a list of as many.
        radius: in pixels, an integer in [2, 15].
        beta: exponent of the affinity, at least 0. Integers up to 64 are fastest.
        exp_times: the walk has ``2 ** exp_times`` steps; an integer in [0, 12].
        steps: the number of steps where it is no such power, an integer in [0, 2**20]; it then stands in
            place of ``exp_times``. No step at all leaves ``cam * (1 - boundary)``.
        method: "chebyshev" writes the power of T as a sum of Chebyshev polynomials of T and keeps those of
            low degree: 70 applications of T in place of 256 steps. "power" takes every step.
        tol: for "chebyshev", a bound on the sum of the coefficients left out, in [0, 1). They sum to 1
            with the kept ones, which are then scaled to do so alone; the error is about ``tol`` times
            the largest value of ``cam``.

    Returns:
        A tensor of the shape and dtype of ``cam``, or a list of them. N = 0 or K = 0 gives an empty one.

    Raises:
        ValueError: wrong shape or device, shapes or list lengths that do not match, a parameter out of
            range, NaN or an infinity, a boundary outside [0,1]; on CUDA values are looked at only under
            :func:`wsss_fast.check_values`, and a wrong one becomes NaN wherever the walk leads from it, in
            its own image. TypeError: wrong type or dtype.

    Differentiable once, in ``cam`` and in ``boundary``. For "chebyshev" the gradient is that of the sum that
    is kept: that of ``boundary`` is off by about ten times ``tol`` from that of all steps. The gradient
    of an affinity goes to one pixel of its path, always the same: the first that holds the maximum, row by
    row from the top left of the path's bounding box. Below ``beta=1`` an affinity is infinitely steep at a
    boundary of 1; the gradient is 0 there. No step of the walk is stored for it.

    Bitwise deterministic at any number of threads, on CUDA from run to run, forward and backward, and for an
    image alone or in any batch. CPU and CUDA differ by rounding. A map ``cam`` with ``cam * (1 - boundary)``
    constant stays as it is.

    Cost: about ``pi * radius ** 2`` multiply-adds a pixel, map and application of T. The gradient costs as
    much again for ``cam`` alone, and between three and four times as much for both. Memory beyond the
    result: ``2 * pi * radius ** 2`` bytes a pixel in float32 and three copies of the maps, for as many
    images as there are threads: 2.5 MB at radius 5 for an image of 94 x 125 with 4 maps. The gradient for
    both takes about twice that, whatever the number of steps. Many images are shared out to the threads
    whole; for few, the rows of each are. Where the weights are more than 16 MiB, up to six steps are taken
    in one pass over them.

    On CUDA a call, with a list too, goes in groups of images that need no more than 512 MiB together. For
    each, all applications of T are one cooperative launch, if each of the blocks that the device holds at
    once then has no more than eight tiles of 32 x 8 pixels (of up to four maps each) to do, else a launch
    each. Nothing waits for the device, so a CUDA graph can be captured. The memory is as on the CPU, for all
    images of a group; the last row of up to 8 pixels is filled up.

    >>> import torch, wsss_fast
    >>> cam = torch.zeros(1, 1, 9)
    >>> cam[..., 0] = 1
    >>> boundary = torch.zeros(1, 1, 9)
    >>> boundary[..., 4] = 1  # a wall
    >>> spread = wsss_fast.random_walk(cam, boundary, exp_times=6)
    >>> torch.allclose(spread[0, 0, :4], torch.tensor(0.25), atol=1e-4), spread[0, 0, 4:].abs().max().item()
    (True, 0.0)
    """
    radius = _checks.integer("radius", radius, 2, 15)
    beta = _checks.number("beta", beta, 0)
    exp_times = _checks.integer("exp_times", exp_times, 0, 12)
    count = 2**exp_times if steps is None else _checks.integer("steps", steps, 0, _MOST_STEPS)
    method = _checks.choice("method", method, _METHODS)
    tol = _checks.number("tol", tol, 0, below=1)
    if isinstance(cam, (list, tuple)):
        if not isinstance(boundary, (list, tuple)):
            raise TypeError(_checks.wrong("boundary", "a list, as cam is one", boundary))
        if len(boundary) != len(cam):
            raise ValueError(
                _checks.wrong("boundary", f"{len(cam)} tensors (as many as cam)", f"{len(boundary)}")
            )
        pairs = [
            _pair(f"cam[{i}]", c, f"boundary[{i}]", b)
            for i, (c, b) in enumerate(zip(cam, boundary, strict=True))
        ]
        if not pairs:
            return []
        for i, (c, _) in enumerate(pairs):
            _checks.same_dtype(f"cam[{i}]", c, "cam[0]", pairs[0][0])
            _checks.same_device(f"cam[{i}]", c, "cam[0]", pairs[0][0])
        if torch.is_grad_enabled() and any(t.requires_grad for pair in pairs for t in pair):
            # One op an image: each is then a node of its own in the graph.
            outs = [torch.ops.wsss_fast.random_walk(c, b, radius, beta, count, method, tol) for c, b in pairs]
        else:
            outs = torch.ops.wsss_fast.random_walk_list(
                [c for c, _ in pairs], [b for _, b in pairs], radius, beta, count, method, tol
            )
        return [out.view(c.shape) for out, c in zip(outs, cam, strict=True)]
    if isinstance(boundary, (list, tuple)):
        raise TypeError(_checks.wrong("cam", "a list, as boundary is one", cam))
    c, b = _pair("cam", cam, "boundary", boundary)
    out: Tensor = torch.ops.wsss_fast.random_walk(c, b, radius, beta, count, method, tol)
    return out if cam.dim() == 4 else out.squeeze(0)  # type: ignore[union-attr]
