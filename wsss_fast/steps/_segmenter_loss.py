"""What the segmenter is trained by: cross entropy with hard or soft labels, and the dense CRF beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast._processes import joint_mean
from wsss_fast.config import CrfLossConfig
from wsss_fast.data.soft_labels import SoftLabels
from wsss_fast.data.transforms import NO_PART
from wsss_fast.nn import DenseCRFLoss
from wsss_fast.steps._copies import to_device


def hard_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that take part, those of all processes (see `joint_mean`); 0 where none does.

    ``logits`` ``[N,C,H,W]``, ``labels`` int64 ``[N,H,W]``: 0..C-1, or -1 for pixels that take no part.
    """
    # A batch may hold nothing but padding; the mean over no pixel would be NaN.
    total = F.cross_entropy(logits, labels, ignore_index=NO_PART, reduction="sum")
    return joint_mean(total, (labels != NO_PART).sum())


def soft_cross_entropy(logits: Tensor, labels: SoftLabels) -> Tensor:
    """Mean of ``-sum over k of p_k log softmax(logits)_k`` over the pixels that take part, those of all
    processes (see `joint_mean`); 0 where none does.

    ``logits`` ``[N,C,H,W]``, ``labels`` of a batch. Only the M classes that an image's labels name are
    looked at after the softmax: beside what `hard_cross_entropy` needs, memory goes with M, not with C. The
    probabilities of a pixel are first divided by their sum, which their half precision leaves near 1; a pixel
    of sum 0 takes no part. Where each pixel has one label, this is `hard_cross_entropy`.
    """
    probs = labels.probs.to(logits.dtype)
    sums = probs.sum(1, keepdim=True)
    probs = probs / torch.where(sums > 0, sums, 1.0)
    height, width = logits.shape[2:]
    where = labels.ids[:, :, None, None].expand(-1, -1, height, width)
    # An image's padding of the ids repeats the background, to which it adds only zeros, in any order.
    named = F.log_softmax(logits, 1).gather(1, where)
    return joint_mean(-(probs * named).sum(), (sums > 0).sum())


class CrfBesideIt(nn.Module):
    """`wsss_fast.nn.DenseCRFLoss` of a training batch.

    Args:
        config: its weight, kernel and scale.
        device: where it is computed: that of the network, or the CPU in a build without CUDA kernels.

    ``forward(images, logits, part)``: images uint8 ``[N,3,S,S]``, logits ``[N,C,S,S]`` float32, and
    which pixels take part, bool ``[N,S,S]``: what is predicted at the others, padding among them, neither
    costs nor influences anything. Returns a scalar on ``device``, with a gradient in the logits.
    """

    def __init__(self, config: CrfLossConfig, device: torch.device) -> None:
        super().__init__()
        self.loss = DenseCRFLoss(config.weight, config.srgb, config.sxy, config.scale)
        self.device = device

    def forward(self, images: Tensor, logits: Tensor, part: Tensor) -> Tensor:
        pixels = to_device(images, self.device)
        value: Tensor = self.loss(pixels, logits.to(self.device).softmax(1), part.to(self.device))
        return value
