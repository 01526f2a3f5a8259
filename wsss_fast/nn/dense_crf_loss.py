"""The dense CRF as a loss for weakly supervised training."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast import _checks, _launch
from wsss_fast._bilinear import bilinear
from wsss_fast._device import on_cuda
from wsss_fast._values import check_image, looking
from wsss_fast.ops.features import colour_features, width_in
from wsss_fast.ops.lattice import PermutohedralLattice

# Features [N,5,H,W] of an image [N,3,H,W], in the dtype of probs [N,C,H,W]. A wrong value, in probs and the
# region [N,1,H,W] too, is an error on the CPU; on CUDA, where looking would cost a synchronisation, one of
# the image becomes NaN, and with it all that is filtered on its image. An op, as looking at values would
# break the graph of torch.compile.
torch.library.define(
    "wsss_fast::dense_crf_loss_features",
    "(Tensor image, Tensor probs, Tensor region, float sxy, float srgb) -> Tensor",
)


@torch.library.impl("wsss_fast::dense_crf_loss_features", "CompositeExplicitAutograd")
def _features(image: Tensor, probs: Tensor, region: Tensor, sxy: float, srgb: float) -> Tensor:
    if looking(image) and image.numel() > 0:
        check_image("image", image)
        _check_widths(image, sxy, srgb, probs.dtype)
        _check_probs(probs)
        _check_range("roi", region, 0, 1, "values in [0,1]")
    if on_cuda(image):
        image = image.to(probs.dtype).masked_fill(~((image >= 0) & (image <= 255)), torch.nan)  # NaN too
    return colour_features(image, (sxy, sxy), (srgb, srgb, srgb), probs)


def _check_widths(image: Tensor, sxy: float, srgb: float, dtype: torch.dtype) -> None:
    """Raise where the lattice would have to place points out of its reach."""
    sxy, srgb = width_in(dtype, sxy), width_in(dtype, srgb)
    height, width = image.shape[-2:]
    at = [(width - 1) / sxy, (height - 1) / sxy]
    _launch.check_lattice_reach("sigma_xy", [0.0] * 5, [*at, 0.0, 0.0, 0.0], dtype)
    for low, high in zip(*(bound.tolist() for bound in image.flatten(2).aminmax(dim=2)), strict=True):
        least, most = ([0.0, 0.0, *(value / srgb for value in colour)] for colour in (low, high))
        _launch.check_lattice_reach("sigma_rgb", least, most, dtype)


def _check_probs(probs: Tensor) -> None:
    # The loss is a sum of products of two of them, one of which the lattice adds up over all pixels.
    pixels = probs.shape[-2] * probs.shape[-1]
    most = math.sqrt(torch.finfo(probs.dtype).max / 2**8 / pixels / probs.numel())
    _check_range("probs", probs, -most, most, f"finite values of at most {most:.2g}")


def _check_range(name: str, value: Tensor, low: float, high: float, expected: str) -> None:
    least, most = (float(bound) for bound in value.aminmax())  # which hand NaN on
    if not (least >= low and most <= high):
        raise ValueError(_checks.wrong(name, expected, most if least >= low else least))


@torch.library.register_fake("wsss_fast::dense_crf_loss_features")
def _features_fake(image: Tensor, probs: Tensor, region: Tensor, sxy: float, srgb: float) -> Tensor:
    return probs.new_empty((image.shape[0], 5, *image.shape[2:]))


class DenseCRFLoss(nn.Module):
    """What a segmentation costs in a dense CRF: how far it disagrees between pixels that look alike.

    Tang et al.: On Regularized Losses for Weakly-supervised CNN Segmentation (ECCV 2018). With S_k the
    probabilities of class k, R the region of interest and W the Gaussian kernel of position and colour,

        loss = weight / N * sum over images and classes of (R S_k)^T W (R - R S_k),

    the relaxed Potts energy of the paper: 0 where all pixels are certain of one class, never negative for
    probabilities. The code that is widely used computes ``-sum_k (R S_k)^T W (R S_k)``; where the classes
    sum to 1 at every pixel the two differ by ``R^T W R``, a constant, so that a network with a softmax gets
    the same gradient from both. Some of that code also scales the gradient down where a scribble's pixel
    is certain already; this does not.

    W is filtered on a permutohedral lattice: ``exp(-|f_i - f_j|^2 / 2)`` up to a constant factor and to the
    lattice's approximation, i = j included, not normalised. So the loss grows with the number of pixels, and
    published weights (about 1e-9 to 1e-7) fit the usual features only. The lattice's W is not quite
    symmetric; the gradient is the true one, with W and its transpose.

    Args:
        weight: what the loss is multiplied by, 0 or more.
        sigma_rgb: standard deviation of colour, in image values (0 to 255); the authors have 15.
        sigma_xy: standard deviation of position, in pixels of the image as given; the authors have 100.
        scale_factor: in (0, 1]: images, probabilities and regions are resampled by it first (to the size
            rounded down, at least 1), and sigma_xy with them; the authors have 0.5. Probabilities are
            resampled bilinearly (align_corners=False, no antialiasing), image and region to the nearest
            pixel, as in the authors' code.

    ``forward(image, probs, roi=None)`` returns the loss, a scalar of the dtype of ``probs``:

    - ``image``: ``[N,3,H,W]``, uint8, or float32/float64 in [0, 255] (not normalised as for a network), no
      gradient; on the CPU or a GPU, like the others.
    - ``probs``: ``[N,C,H,W]``, float32 or float64, the softmax of a network, finite; half precision under
      autocast is taken as float32.
    - ``roi``: ``[N,H,W]``, bool or of the dtype of ``probs`` in [0, 1]: the pixels that take part, others
      neither cost nor influence anything. None takes all of them. A mask of ignored pixels is ``~roi``.

    Raises ValueError for a wrong shape, device or value (image values outside [0, 255]; NaN, infinities or
    values of millions in probs; a roi outside [0, 1]; an image or roi that requires a gradient; sigmas so
    small that positions or colours are thousands of them apart), TypeError for a wrong type or dtype. Values
    are looked at after resampling, and on CUDA only under :func:`wsss_fast.check_values`: otherwise wrong
    ones make the loss NaN.

    Differentiable once and again in ``probs``; the same bits at any number of threads. Cost: one lattice an
    image, a filter of C + 1 channels forward and one backward, all at the reduced size. The lattices of the
    batch are kept for the backward pass, up to 300 bytes a pixel. N = 0 gives 0. It compiles without a graph
    break; torch before 2.10 needs ``torch._dynamo.config.capture_dynamic_output_shape_ops = True`` for that.

    >>> import torch, wsss_fast
    >>> loss = wsss_fast.nn.DenseCRFLoss(weight=2e-9, sigma_rgb=15, sigma_xy=100, scale_factor=0.5)
    >>> image = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    >>> logits = torch.randn(2, 21, 48, 64, requires_grad=True)
    >>> loss(image, logits.softmax(1), roi=torch.ones(2, 48, 64, dtype=torch.bool)).backward()
    >>> logits.grad.shape
    torch.Size([2, 21, 48, 64])
    """

    def __init__(self, weight: float, sigma_rgb: float, sigma_xy: float, scale_factor: float = 1.0) -> None:
        super().__init__()
        self.weight = _checks.number("weight", weight, 0)
        self.sigma_rgb = _checks.number("sigma_rgb", sigma_rgb, 0, exclusive=True)
        self.sigma_xy = _checks.number("sigma_xy", sigma_xy, 0, exclusive=True)
        self.scale_factor = _checks.number("scale_factor", scale_factor, 0, exclusive=True)
        if self.scale_factor > 1:
            raise ValueError(_checks.wrong("scale_factor", "a number in (0, 1]", scale_factor))

    def forward(self, image: Tensor, probs: Tensor, roi: Tensor | None = None) -> Tensor:
        image, probs, region = self._checked(image, probs, roi)
        count, _, height, width = probs.shape
        size = (max(int(height * self.scale_factor), 1), max(int(width * self.scale_factor), 1))
        if size != (height, width):
            image, region = F.interpolate(image, size), F.interpolate(region, size)
            probs = bilinear(probs, size)
        sxy = self.sigma_xy * self.scale_factor
        features = torch.ops.wsss_fast.dense_crf_loss_features(
            image, probs.detach(), region, sxy, self.sigma_rgb
        )
        inside = probs * region
        # The region as one more channel: W R.
        filtered = PermutohedralLattice(features).filter(torch.cat([inside, region], 1))
        disagreement = inside * (filtered[:, -1:] - filtered[:, :-1])
        # A row at a time first: torch splits a full reduction by its number of threads.
        total = disagreement.sum(-1, dtype=torch.float64).sum(-1).sum()
        return (total * (self.weight / max(count, 1))).to(probs.dtype)

    def _checked(self, image: Tensor, probs: Tensor, roi: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Image, probabilities and the region ``[N,1,H,W]`` in their dtype."""
        image, probs, roi = (_checks.autocast(value) for value in (image, probs, roi))
        _checks.tensor("probs", probs, "[N,C,H,W]", (4,))
        dtypes = (torch.uint8, torch.float32, torch.float64)
        _checks.tensor("image", image, "[N,3,H,W]", (4,), dtypes)
        count, classes, height, width = probs.shape
        if min(classes, height, width) < 1:
            raise ValueError(_checks.wrong("probs", "[N,C,H,W] with C, H and W of at least 1", probs))
        _checks.size("image", image, (count, 3, height, width), "three channels, the size of probs")
        _checks.same_device("image", image, "probs", probs)
        only = "the loss is differentiable in probs only"
        _checks.needs_no_gradient("image", image, only)
        if roi is None:
            return image, probs, probs.new_ones((count, 1, height, width))
        _checks.tensor("roi", roi, "[N,H,W]", (3,), (torch.bool, torch.float32, torch.float64))
        if roi.dtype != torch.bool:
            _checks.same_dtype("roi", roi, "probs", probs)
        _checks.size("roi", roi, (count, height, width), "to match probs")
        _checks.same_device("roi", roi, "probs", probs)
        _checks.needs_no_gradient("roi", roi, only)
        return image, probs, roi.unsqueeze(1).to(probs.dtype)

    def extra_repr(self) -> str:
        return (
            f"weight={self.weight:g}, sigma_rgb={self.sigma_rgb:g}, sigma_xy={self.sigma_xy:g}, "
            f"scale_factor={self.scale_factor:g}"
        )
