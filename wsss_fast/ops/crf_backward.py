"""The gradient of mean-field inference.

With u the unary, K kernels, and the iterations t = 1..T

    a_0 = -u,                                     Q_t = softmax(a_t),
    a_t = -u + sum_k W_k B_k(Q_{t-1}),            B_k(q) = after_k F_k(before_k q),

where B_k works on the pixels of each class and W_k on the classes of each pixel (w for a scalar compat,
-diag(v) for a vector, -M for a matrix), the gradients g_t for a_t follow from that for the last one by

    r_{k,t} = B_k^T(g_t)
    G_{t-1} = sum_k W_k^T r_{k,t}                 (for Q_{t-1})
    g_{t-1} = Q_{t-1} (G_{t-1} - sum over classes of Q_{t-1} G_{t-1})
    grad u  = -sum_t g_t
    grad w_k = sum_t <r_{k,t}, Q_{t-1}>,          grad v_k = -(the same, class by class)
    grad M_k[c,c'] = -sum_t <r_{k,t}[c], Q_{t-1}[c']>.

B_k and W_k commute, one working on pixels and the other on classes: so r serves both Q and the compat, and
the messages of the forward pass are not needed again. B_k^T is the lattice's blur with its axes in reverse
order between ``after`` and ``before``; splatting and slicing are each other's transpose.

Q_0 .. Q_{T-1} are made anew and kept. On the CPU for a few unaries of one image at a time: T * C * H * W
numbers while one of them is worked on (times 24 / C where M small unaries share an image). On CUDA for as
many images as _VALUES_AT_ONCE allows. The cost is T - 1 filters for them and T transposed ones a kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsss_fast._device import on_cuda
from wsss_fast._launch import flat_kernels
from wsss_fast.ops.mean_field import Term, blocks_of_pixels, next_logits, softmax_, terms_of_each_group

# As many channels go through a filter at once on the CPU.
_CHANNELS_AT_ONCE = 24
# On CUDA a group has as many images (or unaries of one) as keep this many numbers, 1 GiB in float32: their
# Q, and _WORKED_ON more of that shape for what is worked on meanwhile.
_VALUES_AT_ONCE = 2**28
_WORKED_ON = 8

# grad_energy is the gradient for the last a_t; the other arguments are those of crf. The result holds the
# gradients for the unary and for each compat, empty where `needed` (as long) says no.
torch.library.define(
    "wsss_fast::crf_backward",
    "(Tensor grad_energy, Tensor image, Tensor unary, Tensor[] features, Tensor[] compats, str[] kinds, "
    "float[] scales, str[] normalizations, int[] capacities, int iterations, bool[] needed) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)


@torch.library.impl("wsss_fast::crf_backward", ("CPU", "CUDA"))
def _crf_backward(grad_energy: Tensor, image: Tensor, unary: Tensor, *others: Any) -> list[Tensor]:
    *lists, iterations, needed = others
    kernels = flat_kernels(*lists)
    # Of numbers that do not lie side by side torch's exp has other last bits on the CPU.
    grad_energy, unary = grad_energy.contiguous(), unary.contiguous()
    sums = [kernel.compat.new_zeros(kernel.compat.shape, dtype=torch.float64) for kernel in kernels]
    grad_unary = unary.new_empty(unary.shape)
    size, sets = _at_once(unary, iterations)
    for group, terms in enumerate(terms_of_each_group(image, unary, kernels, size=size)):
        images = slice(group * size, (group + 1) * size)
        parts = (t[images].flatten(3).split(sets, 1) for t in (grad_unary, grad_energy, unary))
        for out, grad, energy in zip(*parts, strict=True):
            out.copy_(_backward_of_group(grad, energy, terms, iterations, sums, needed[1:]))
    results = [grad_unary, *(s.to(unary.dtype) for s in sums)]
    return [result if need else unary.new_empty(0) for result, need in zip(results, needed, strict=True)]


@torch.library.register_fake("wsss_fast::crf_backward")
def _crf_backward_fake(
    grad_energy: Tensor,
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    *others: Any,
) -> list[Tensor]:
    needed = others[-1]
    return [
        unary.new_empty(of.shape if need else 0) for of, need in zip([unary, *compats], needed, strict=True)
    ]


def _at_once(unary: Tensor, iterations: int) -> tuple[int, int]:
    """How many images a group has, and how many of their unaries are worked on together."""
    _, sets, classes, height, width = unary.shape
    if not on_cuda(unary):
        return 1, max(1, _CHANNELS_AT_ONCE // classes)
    of_a_set = (iterations + _WORKED_ON) * classes * height * width
    return max(1, _VALUES_AT_ONCE // max(1, sets * of_a_set)), max(1, _VALUES_AT_ONCE // of_a_set)


def _backward_of_group(
    grad: Tensor, energy: Tensor, terms: list[Term], iterations: int, sums: list[Tensor], needed: list[bool]
) -> Tensor:
    """The gradient for the unaries ``energy`` ``[G,S,C,P]``; those for the compats are added to ``sums``."""
    states: list[Tensor] = []
    for _ in range(iterations if terms else 0):
        states.append(softmax_(next_logits(energy, terms, states[-1]) if states else -energy))
    total = grad.clone()
    while states:
        q = states.pop()
        grad_q = torch.zeros_like(q)
        for term, into, need in zip(terms, sums, needed, strict=True):
            r = term.filter.transposed(grad)
            if need:
                _add_compat_gradient(into, r, q)
            grad_q += term.transposed_compat_(r)
        grad = grad_q.sub_((q * grad_q).sum(-2, keepdim=True)).mul_(q)
        total += grad
    return total.neg_()


def _add_compat_gradient(into: Tensor, r: Tensor, q: Tensor) -> None:
    # A block of pixels at a time: torch splits a long sum by its number of threads.
    for a, b in blocks_of_pixels(r, q):
        if into.dim() == 2:
            for c, one in enumerate(b.split(1, -2)):
                into[:, c] -= _sum_by_class(a * one)
        elif into.dim() == 1:
            into -= _sum_by_class(a * b)
        else:
            into += _sum_by_class(a * b).sum()


def _sum_by_class(products: Tensor) -> Tensor:
    """``[C]``, of ``[G,S,C,P]``."""
    return products.sum(-1).flatten(0, 1).sum(0)


# --- autograd of crf and crf_log_probs -------------------------------------------------------------------


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, unary, features, compats, *ctx.options = inputs
    ctx.counts = len(features), len(compats)
    ctx.save_for_backward(output, image, unary, *features, *compats)


def backward_of_probs(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    q, _, unary = ctx.saved_tensors[:3]
    q, grad = _computed(q), _without_impossible(_computed(grad), unary)
    return _backward(ctx, q * (grad - (q * grad).sum(2, keepdim=True)))


def backward_of_log_probs(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    log_q, _, unary = ctx.saved_tensors[:3]
    log_q, grad = _computed(log_q), _without_impossible(_computed(grad), unary)
    return _backward(ctx, grad - log_q.exp() * grad.sum(2, keepdim=True))


def _computed(value: Tensor) -> Tensor:
    """What CUDA takes in half precision, in float32: nothing is computed in half."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _without_impossible(grad: Tensor, unary: Tensor) -> Tensor:
    """A class ruled out by +inf has a constant Q of 0: whatever a loss says about it (the gradient of its
    logarithm is infinite or NaN) has no influence."""
    return grad.masked_fill(unary == torch.inf, 0)


def _backward(ctx: Any, grad_energy: Tensor) -> tuple[Any, ...]:
    _, image, unary, *lists = ctx.saved_tensors
    features, compats = lists[: ctx.counts[0]], lists[ctx.counts[0] :]
    needed = [ctx.needs_input_grad[1], *ctx.needs_input_grad[3]]
    gradients = torch.ops.wsss_fast.crf_backward(
        grad_energy, image, _computed(unary), features, compats, *ctx.options, needed
    )
    grad_unary, *grad_compats = (g if need else None for g, need in zip(gradients, needed, strict=True))
    if grad_unary is not None:
        grad_unary = grad_unary.to(unary.dtype)
    # torch.library takes any empty list for one of tensors, whose gradient is a list.
    of_options: list[Any] = [[] if option == [] else None for option in ctx.options]
    return None, grad_unary, [None] * len(features), grad_compats, *of_options


def _no_second_backward(ctx: Any, *grads: Any) -> None:
    raise NotImplementedError("crf: the gradient of its gradient is not implemented")


torch.library.register_autograd("wsss_fast::crf_backward", _no_second_backward)
