"""Unary energies for :func:`wsss_fast.crf`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsss_fast import _checks
from wsss_fast._values import looking

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def unary_from_labels(
    labels: Tensor, n_labels: int, gt_prob: float = 0.7, zero_unsure: bool = False
) -> Tensor:
    """Energies that trust a label map to ``gt_prob``.

    The labelled class of a pixel has probability ``gt_prob``, the others share the rest; energies are the
    negative logarithms of that.

    Args:
        labels: ``[H,W]``, ``[N,H,W]`` or ``[N,M,H,W]``, any integer dtype, values 0 to n_labels-1; with
            ``zero_unsure`` 0 to n_labels.
        n_labels: how many classes, C.
        gt_prob: above 0 and below 1.
        zero_unsure: label 0 means that nothing is known (all classes equally likely), and label k stands
            for class k-1.

    Returns:
        ``[C,H,W]``, ``[N,C,H,W]`` or ``[N,M,C,H,W]`` float32.

    Raises:
        ValueError: wrong shape or device, a label outside the classes (the message names it; on CUDA only
            under :class:`wsss_fast.check_values`, else its pixel becomes NaN), gt_prob or n_labels out of
            range.
        TypeError: wrong type or dtype.

    >>> import torch, wsss_fast
    >>> wsss_fast.unary_from_labels(torch.tensor([[0, 1]]), 3, gt_prob=0.5).exp().reciprocal()
    tensor([[[0.5000, 0.2500]],
    <BLANKLINE>
            [[0.2500, 0.5000]],
    <BLANKLINE>
            [[0.2500, 0.2500]]])
    """
    _checks.tensor("labels", labels, "[N,M,H,W], [N,H,W] or [H,W]", (2, 3, 4), _INTEGERS)
    n_labels = _checks.integer("n_labels", n_labels, 1, 2**31 - 1)
    gt_prob = _checks.number("gt_prob", gt_prob, 0, exclusive=True)
    if gt_prob >= 1:
        raise ValueError(_checks.wrong("gt_prob", "a number > 0 and < 1", gt_prob))
    if not isinstance(zero_unsure, bool):
        raise TypeError(_checks.wrong("zero_unsure", "a bool", zero_unsure))
    others = -math.log((1 - gt_prob) / (n_labels - 1)) if n_labels > 1 else 0.0
    shape = (*labels.shape[:-2], n_labels, *labels.shape[-2:])
    _checks.storable("n_labels", shape, torch.float32)
    unary = torch.full(shape, others, dtype=torch.float32, device=labels.device)
    highest = n_labels if zero_unsure else n_labels - 1
    looks = looking(labels)
    if looks and labels.numel() > 0:
        low, high = (int(v) for v in labels.aminmax())
        if low < 0 or high > highest:
            bad = low if low < 0 else high
            raise ValueError(
                _checks.wrong(
                    "labels", f"values in [0, {highest}] for {n_labels} classes", f"the label {bad}"
                )
            )
    given = labels.long().unsqueeze(-3)
    index = (given - 1).clamp_min(0) if zero_unsure else given
    if not looks:
        index = index.clamp(0, n_labels - 1)
    unary.scatter_(-3, index, -math.log(gt_prob))
    if zero_unsure:
        unary.masked_fill_(given == 0, math.log(n_labels))
    if not looks:
        unary.masked_fill_((given < 0) | (given > highest), math.nan)
    return unary


def unary_from_probs(probs: Tensor, clip: float | None = 1e-5) -> Tensor:
    """Energies of class probabilities, such as a softmax gives: ``-log(max(probs, clip))``.

    Args:
        probs: ``[C,H,W]``, ``[N,C,H,W]`` or ``[N,M,C,H,W]``, float32 or float64, in [0, 1] (a thousandth
            above 1 is taken for rounding). They need not sum to 1.
        clip: the least probability, in [0, 1); None or 0 clips nothing, and a probability of 0 then has
            the energy +inf, which :func:`wsss_fast.crf` accepts.

    Returns:
        The same shape and dtype. Differentiable.

    Raises:
        ValueError: wrong shape or device, a probability that is NaN or out of range (on CUDA only under
            :class:`wsss_fast.check_values`, else it becomes NaN), clip out of range.
        TypeError: wrong type or dtype.

    >>> import torch, wsss_fast
    >>> wsss_fast.unary_from_probs(torch.tensor([1.0, 0.5, 0.0]).reshape(3, 1, 1)).flatten()
    tensor([-0.0000,  0.6931, 11.5129])
    """
    probs = _checks.autocast(probs)
    _checks.tensor("probs", probs, "[N,M,C,H,W], [N,C,H,W] or [C,H,W]", (3, 4, 5))
    least = 0.0 if clip is None else _checks.number("clip", clip, 0)
    if least >= 1:
        raise ValueError(_checks.wrong("clip", "a number in [0, 1) or None", clip))
    energies = -probs.clamp(least, 1.0).log()
    looks = looking(probs)
    if looks and probs.numel() > 0:
        low, high = (float(v) for v in probs.detach().aminmax())
        if not (low >= 0 and high <= 1.001):  # aminmax hands NaN on
            bad = high if low >= 0 else low
            raise ValueError(_checks.wrong("probs", "probabilities in [0, 1]", f"the value {bad}"))
    if not looks:
        energies = energies.masked_fill(~((probs >= 0) & (probs <= 1.001)), math.nan)
    return energies
