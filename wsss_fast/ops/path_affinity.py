"""Affinity of pixels from the class boundary between them, and its gradient."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import floats_for, on_cuda
from wsss_fast._values import check_boundary, checking

# The tables grow with the cube of the radius; at 64 a pixel has 6,424 neighbours already.
_LARGEST_RADIUS = 64

torch.library.define("wsss_fast::path_affinity", "(Tensor boundary, int radius) -> Tensor")
torch.library.define(
    "wsss_fast::path_affinity_backward", "(Tensor grad_affinity, Tensor boundary, int radius) -> Tensor"
)


@functools.cache
def _paths(radius: int) -> int:
    """The number of half-plane neighbours, counted without the core so that it can be traced."""
    inside = sum(
        dy * dy + dx * dx < radius * radius
        for dy in range(1 - radius, radius)
        for dx in range(1 - radius, radius)
    )
    return (inside - 1) // 2


def _affinity_shape(boundary: Tensor, radius: int) -> tuple[int, ...]:
    n, _, h, w = boundary.shape
    return n, _paths(radius), h - (radius - 1), w - 2 * (radius - 1)


@torch.library.impl("wsss_fast::path_affinity", ("CPU", "CUDA"))
def _path_affinity(boundary: Tensor, radius: int) -> Tensor:
    _checks.storable("boundary", _affinity_shape(boundary, radius), boundary.dtype)
    if on_cuda(boundary):
        if checking(boundary):
            check_boundary("boundary", boundary)
        return _launch.cuda_path_affinity(boundary, radius, _paths(radius))
    return _launch.path_affinity(boundary, radius, _paths(radius))


@torch.library.register_fake("wsss_fast::path_affinity")
def _path_affinity_fake(boundary: Tensor, radius: int) -> Tensor:
    return boundary.new_empty(_affinity_shape(boundary, radius))


@torch.library.impl("wsss_fast::path_affinity_backward", ("CPU", "CUDA"))
def _path_affinity_backward(grad_affinity: Tensor, boundary: Tensor, radius: int) -> Tensor:
    cuda = on_cuda(boundary)
    run = _launch.cuda_path_affinity_backward if cuda else _launch.path_affinity_backward
    return run(grad_affinity, boundary, radius)


@torch.library.register_fake("wsss_fast::path_affinity_backward")
def _path_affinity_backward_fake(grad_affinity: Tensor, boundary: Tensor, radius: int) -> Tensor:
    return boundary.new_empty(boundary.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    boundary, ctx.radius = inputs
    ctx.save_for_backward(boundary)


def _backward(ctx: Any, grad_affinity: Tensor) -> tuple[Tensor, None]:
    (boundary,) = ctx.saved_tensors
    grad_boundary = torch.ops.wsss_fast.path_affinity_backward(grad_affinity, boundary, ctx.radius)
    return grad_boundary, None


def _no_second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("path_affinity: the gradient of its gradient is not implemented")


torch.library.register_autograd("wsss_fast::path_affinity", _backward, setup_context=_setup_context)
torch.library.register_autograd("wsss_fast::path_affinity_backward", _no_second_backward)


def path_offsets(radius: int) -> Tensor:
    """The half-plane neighbours of a pixel inside ``radius``, in the order of :func:`path_affinity`.

    All (dy, dx) with ``dy**2 + dx**2 < radius**2``, one of each opposite pair: first (0, 1 .. radius-1),
    then dy = 1 .. radius-1, each with dx rising from -(radius-1) to radius-1.

    Args:
        radius: in pixels, an integer in [2, 64].

    Returns:
        ``[P,2]`` int64 on the CPU, (dy, dx) in pixels; P is 34 at radius 5 and 152 at radius 10.

    Raises:
        ValueError: radius out of range. TypeError: radius not an integer.

    >>> import wsss_fast
    >>> wsss_fast.path_offsets(2).tolist()
    [[0, 1], [1, -1], [1, 0], [1, 1]]
    """
    return _launch.path_offsets(_checks.integer("radius", radius, 2, _LARGEST_RADIUS))


def path_affinity(boundary: Tensor, radius: int) -> Tensor:
    """Affinity of every pixel with its neighbours inside ``radius``: 1 - the largest boundary between.

    "Between" is the straight path to the neighbour (dy, dx), both ends included: the pixels (y, x) of
    their bounding box with ``(dy x - dx y)**2 < dy**2 + dx**2``. The paths are never materialised. From
    IRNet (Ahn, Cho, Kwak: Weakly Supervised Learning of Instance Segmentation with Inter-pixel
    Relations, CVPR 2019), whose code orders the neighbours by path length; the order here is that of
    :func:`path_offsets`.

    Args:
        boundary: ``[N,1,h,w]`` or ``[1,h,w]`` in [0,1], with h >= radius and w >= 2 radius - 1. float32 or
            float64; on CUDA float16 or bfloat16 too, and under autocast those are taken as float32.
        radius: in pixels, an integer in [2, 64].

    Returns:
        ``[N,P,h',w']`` (or ``[P,h',w']``) of the dtype of ``boundary`` in [0,1], with
        h' = h - (radius-1), w' = w - 2 (radius-1): entry (p, y, x) is that of pixel (y, x + radius-1)
        with its neighbour p, so that every path lies inside the map. N = 0 gives an empty result.

    Raises:
        ValueError: wrong shape or device, a map too small for the radius, radius out of range, NaN or a
            value outside [0,1]; on CUDA values are looked at only under :func:`wsss_fast.check_values`, and
            a wrong one makes NaN of the affinities of all paths through it, and of its own gradient.
            TypeError: wrong type or dtype.

    Differentiable once in ``boundary``. Where several pixels of a path hold its maximum, the gradient
    goes to one of them, always the same: the first, row by row from the top left of the path's bounding
    box. Bitwise deterministic, forward and backward, at any number of threads, and on CUDA from run to run
    and for an image in any batch. The affinities of CPU and CUDA are the same to the bit; gradients differ by
    rounding.

    Cost: forward and backward each take a few steps a pixel and neighbour (2.8 at radius 10: paths share
    their parts); memory beyond the result and the gradient is about one and a half times ``boundary`` in
    the backward pass, and some hundred kilobytes a thread. On CUDA every pixel of a path is read (2,134 a
    pixel at radius 10, from shared memory up to radius 31 in float32), twice in the backward pass, which
    takes at most 64 MiB beside the gradient, or a byte for each pixel, whichever is more.

    >>> import torch, wsss_fast
    >>> boundary = torch.zeros(1, 1, 4, 5)
    >>> boundary[0, 0, :, 3] = 0.75  # a wall
    >>> wsss_fast.path_affinity(boundary, 2)[0, 0].unique(dim=0)  # with the right-hand neighbour
    tensor([[1.0000, 0.2500, 0.2500]])
    """
    boundary = _checks.autocast(boundary)
    _checks.tensor("boundary", boundary, "[N,1,h,w] or [1,h,w]", (3, 4), floats_for(boundary))
    radius = _checks.integer("radius", radius, 2, _LARGEST_RADIUS)
    batch = boundary if boundary.dim() == 4 else boundary.unsqueeze(0)
    _, channels, h, w = batch.shape
    if channels != 1:
        raise ValueError(_checks.wrong("boundary", "[N,1,h,w] or [1,h,w], one channel", boundary))
    if h < radius or w < 2 * radius - 1:
        raise ValueError(
            _checks.wrong(
                "boundary", f"h >= {radius} and w >= {2 * radius - 1} for radius {radius}", boundary
            )
        )
    affinity: Tensor = torch.ops.wsss_fast.path_affinity(batch, radius)
    return affinity if boundary.dim() == 4 else affinity.squeeze(0)
