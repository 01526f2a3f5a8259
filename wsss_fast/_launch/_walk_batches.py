"""The batches of a random walk and of its gradient as the core takes them, of contiguous tensors.

They hold addresses: the tensors have to stay alive until the core returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address


def walk_batches(
    cams: Sequence[Tensor], boundaries: Sequence[Tensor], outs: Sequence[Tensor]
) -> list[_C._WalkBatch]:
    """Of [N,K,h,w], [N,1,h,w] and [N,K,h,w] each."""
    batches: list[_C._WalkBatch] = []
    for cam, boundary, out in zip(cams, boundaries, outs, strict=True):
        n, k, h, w = cam.shape
        batches.append(((address(cam), address(boundary), address(out)), (n, k, h, w)))
    return batches


def gradient_batches(
    grad: Tensor, cam: Tensor | None, boundary: Tensor
) -> tuple[list[_C._WalkGradientBatch], tuple[Tensor, Tensor]]:
    """And the gradients of cam and boundary that the core will write; the latter is empty without ``cam``."""
    n, k, h, w = grad.shape
    grad_cam = grad.new_empty(grad.shape)
    # Without maps the core has no image to write it for.
    new = boundary.new_empty if k > 0 else boundary.new_zeros
    grad_boundary = new((0,) if cam is None else boundary.shape)
    arrays = (
        address(grad),
        0 if cam is None else address(cam),
        address(boundary),
        address(grad_cam),
        0 if cam is None else address(grad_boundary),
    )
    return [(arrays, (n, k, h, w))], (grad_cam, grad_boundary)
