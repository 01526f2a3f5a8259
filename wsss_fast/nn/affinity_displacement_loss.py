"""The training loss of IRNet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast._device import floats_for
from wsss_fast._processes import summed
from wsss_fast.ops.affinity_displacement import affinity_displacement_sums

_EPSILON = 1e-5
_LABEL_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class AffinityDisplacementLosses(NamedTuple):
    """The loss and its parts, scalars: ``total = (positive + negative) / 2
    + (displacement_foreground + displacement_background) / 2``.

    >>> from wsss_fast.nn import AffinityDisplacementLosses
    >>> AffinityDisplacementLosses._fields
    ('total', 'positive', 'negative', 'displacement_foreground', 'displacement_background')
    """

    total: Tensor
    positive: Tensor
    negative: Tensor
    displacement_foreground: Tensor
    displacement_background: Tensor


class AffinityDisplacementLoss(nn.Module):
    """The training loss of IRNet, on pairs of pixels less than ``radius`` apart.

    From Ahn, Cho, Kwak: Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations
    (CVPR 2019). With ``a = path_affinity(sigmoid(boundary_logits), radius)`` and D the displacement at
    the source of a pair minus that at its neighbour (dy, dx):

    - positive: ``-log(a + 1e-5)`` of pairs of equal label; background and foreground pairs are each
      averaged over their own number, and the two averages are averaged;
    - negative: ``-log(1 + 1e-5 - a)``, averaged over pairs of different label;
    - displacement, foreground: ``|D - (dy, dx)|``, summed over both components and foreground pairs of
      equal label, divided by twice their number;
    - displacement, background: ``|D|``, likewise over background pairs.

    A pair with an unconfident pixel takes no part. Numbers of pairs are over the whole batch; 1e-5 is added
    to each divisor.

    In distributed training (``torch.distributed`` initialised) the numbers of pairs are summed over all
    processes, so that the **sum** of the losses of all processes is the loss of the joint batch. Every
    process has to call. DistributedDataParallel averages gradients over the processes: multiply the loss
    by their number to have the gradient of the joint batch.

    Args:
        radius: in pixels, an integer in [2, 64]; IRNet has 10.

    ``forward(boundary_logits, displacement, labels)`` returns :class:`AffinityDisplacementLosses`:

    - ``boundary_logits``: ``[N,1,h,w]`` float32 or float64, h >= radius, w >= 2 radius - 1; on CUDA float16
      or bfloat16 too, whose loss is computed and returned in float32; under autocast those are taken as
      float32.
    - ``displacement``: ``[N,2,h,w]`` of the same dtype and device, (dy, dx) in pixels, finite.
    - ``labels``: ``[N,h,w]`` of an integer dtype: 0 background, 255 unconfident, other classes positive and
      below 2^31.

    Raises ValueError for a wrong shape, device or value (NaN, a negative label), TypeError for a wrong type
    or dtype. On CUDA values are looked at only under :func:`wsss_fast.check_values`; otherwise NaN makes the
    loss NaN where a pair of confident pixels meets it, and a label out of range counts as unconfident.

    Differentiable once, in both inputs. Bitwise deterministic at any number of threads, and on CUDA from run
    to run; CPU and CUDA differ by rounding. On CUDA nothing waits for the device, the counts of all processes
    included.

    Where several pixels of a path hold its maximum, the gradient goes to the first of them, as in
    :func:`wsss_fast.path_affinity`; an exact displacement has gradient 0.

    Cost: one pass over all pairs forward and one backward. The affinity is never made: memory beyond the
    inputs and their gradients is about one and a half times the gradients, in the backward pass, and about a
    megabyte a thread. On CUDA it is 16 bytes a pixel forward and 36 backward, twice that in float64, and the
    kernels count which pairs hand their gradient to which pixel, so that no order of threads is in the sums.

    >>> import torch, wsss_fast.nn
    >>> loss = wsss_fast.nn.AffinityDisplacementLoss(radius=3)
    >>> labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    >>> labels[:, :, 4:] = 1
    >>> losses = loss(torch.full((1, 1, 8, 8), -20.0), torch.zeros(1, 2, 8, 8), labels)
    >>> f"{losses.positive:.2f} {losses.negative:.2f} {losses.displacement_background:.2f}"
    '-0.00 11.51 0.00'
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = _checks.integer("radius", radius, 2, 64)

    def extra_repr(self) -> str:
        return f"radius={self.radius}"

    def forward(
        self, boundary_logits: Tensor, displacement: Tensor, labels: Tensor
    ) -> AffinityDisplacementLosses:
        boundary_logits, displacement = self._checked(boundary_logits, displacement, labels)
        sums, counts = affinity_displacement_sums(boundary_logits, displacement, labels, self.radius)
        background, foreground, different = summed(counts).to(sums.dtype).unbind()
        positive_background = sums[0] / (background + _EPSILON)
        positive_foreground = sums[1] / (foreground + _EPSILON)
        positive = (positive_background + positive_foreground) / 2
        negative = sums[2] / (different + _EPSILON)
        displacement_foreground = sums[3] / (2 * foreground + _EPSILON)
        displacement_background = sums[4] / (2 * background + _EPSILON)
        total = (positive + negative) / 2 + (displacement_foreground + displacement_background) / 2
        return AffinityDisplacementLosses(
            total, positive, negative, displacement_foreground, displacement_background
        )

    def _checked(
        self, boundary_logits: Tensor, displacement: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        boundary_logits = _checks.autocast(boundary_logits)
        displacement = _checks.autocast(displacement)
        _checks.tensor("boundary_logits", boundary_logits, "[N,1,h,w]", (4,), floats_for(boundary_logits))
        _checks.tensor("displacement", displacement, "[N,2,h,w]", (4,), floats_for(displacement))
        _checks.tensor("labels", labels, "[N,h,w]", (3,), _LABEL_DTYPES)
        n, channels, h, w = boundary_logits.shape
        if channels != 1:
            raise ValueError(_checks.wrong("boundary_logits", "[N,1,h,w], one channel", boundary_logits))
        tall, wide = self.radius, 2 * self.radius - 1
        if h < tall or w < wide:
            expected = f"h >= {tall} and w >= {wide} for radius {self.radius}"
            raise ValueError(_checks.wrong("boundary_logits", expected, boundary_logits))
        why = "to match boundary_logits"
        _checks.size("displacement", displacement, (n, 2, h, w), why)
        _checks.size("labels", labels, (n, h, w), why)
        for name, value in (("displacement", displacement), ("labels", labels)):
            _checks.same_device(name, value, "boundary_logits", boundary_logits)
        _checks.same_dtype("displacement", displacement, "boundary_logits", boundary_logits)
        return boundary_logits, displacement
