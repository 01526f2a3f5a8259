"""A dense CRF as the last layer of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast.kernels import Bilateral, Features, Gaussian, Kernel
from wsss_fast.ops.crf import (
    DEFAULT_BILATERAL,
    DEFAULT_GAUSSIAN,
    IMAGE_DTYPES,
    chosen_kernels,
    crf,
    normalization_of_each,
)


class DenseCRF(nn.Module):
    """Mean-field inference as a layer that is trained with the network below it (CRF as RNN).

    Zheng et al.: Conditional Random Fields as Recurrent Neural Networks (ICCV 2015). Each of the
    ``iterations`` sets ``Q = softmax(logits - sum_k M_k B_k(Q))`` with B_k the normalised Gaussian filter of
    kernel k and ``M_k = compatibility * kernel_weights[k]``, starting from ``Q = softmax(logits)``. What is
    learned:

    - ``kernel_weights`` ``[K]``, or ``[K,C]`` with ``weights_per="class"``, where a weight belongs to the
      class whose Q was filtered (the column of M_k);
    - ``compatibility`` ``[C,C]``: what class c (the row) pays where class c' (the column) is near. It starts
      as minus the identity, the Potts model, so that an untrained layer is :func:`wsss_fast.crf` with the
      same kernels.

    Both are float32, unconstrained, and are taken in the dtype of the logits. Freeze one with
    ``layer.compatibility.requires_grad_(False)``. The widths of the kernels are not learned.

    Args:
        classes: C, at least 1.
        iterations: how many updates, 0 or more; also an attribute, so that a layer trained with the paper's 5
            may run its 10 in a test.
        gaussian: the smoothness kernel, or None to leave it out. Its ``compat``, a number, is where its
            weight starts.
        bilateral: the appearance kernel, or None to leave it out, likewise.
        kernels: a list of :class:`wsss_fast.Gaussian` and :class:`wsss_fast.Bilateral` in place of the two.
        normalization: as in :func:`wsss_fast.crf`; a list gives each kernel its own.
        weights_per: ``"kernel"`` (one weight each) or ``"class"`` (one for each kernel and class).
        output: ``"log_probs"`` gives log Q, which ``nll_loss`` takes, and ``cross_entropy`` as logits: it
            is finite, and so is its gradient, where Q itself is too small for the dtype. ``"probs"`` gives Q,
            at the cost of one lattice less an image and kernel.

    ``forward(image, logits)``:

    - ``image``: ``[N,3,H,W]``, uint8, or float32/float64 in [0, 255] (not normalised as for a network), no
      gradient; on the CPU or a GPU, like the layer and the logits.
    - ``logits``: ``[N,C,H,W]`` of the size of the image, float32 or float64; half precision under autocast is
      taken as float32. The unary energy is ``-logits``, which differs from ``-log_softmax(logits)`` by
      a constant of each pixel, that changes nothing. -inf rules a class out, unless all are.

    Returns log Q or Q: ``[N,C,H,W]`` of the dtype of the logits. N = 0 gives an empty result.

    Raises ValueError for a wrong shape, device or value (an image outside [0, 255] or that requires a
    gradient, NaN or +inf in the logits, which is -inf in their energy ``unary``), TypeError for a wrong type
    or dtype. Differentiable once in logits and parameters; the same bits at any number of threads. Cost:
    that of :func:`wsss_fast.crf` with matrices as compats, and its backward pass.

    >>> import torch, wsss_fast
    >>> layer = wsss_fast.nn.DenseCRF(21, bilateral=wsss_fast.Bilateral(sxy=80, srgb=13, compat=10))
    >>> image = torch.randint(0, 256, (2, 3, 24, 32), dtype=torch.uint8)
    >>> logits = torch.randn(2, 21, 24, 32, requires_grad=True)
    >>> labels = torch.randint(0, 21, (2, 24, 32))
    >>> torch.nn.functional.nll_loss(layer(image, logits), labels).backward()
    >>> logits.grad.shape, layer.kernel_weights.grad.shape, layer.compatibility.grad.shape
    (torch.Size([2, 21, 24, 32]), torch.Size([2]), torch.Size([21, 21]))
    """

    def __init__(
        self,
        classes: int,
        *,
        iterations: int = 5,
        gaussian: Gaussian | None = DEFAULT_GAUSSIAN,
        bilateral: Bilateral | None = DEFAULT_BILATERAL,
        kernels: Sequence[Gaussian | Bilateral] | None = None,
        normalization: str | Sequence[str] = "symmetric",
        weights_per: str = "kernel",
        output: str = "log_probs",
    ) -> None:
        super().__init__()
        self.classes = _checks.integer("classes", classes, 1, 2**31 - 1)
        _checks.storable("classes", (self.classes, self.classes), torch.float32)
        self.iterations = _checks.integer("iterations", iterations, 0, 2**31 - 1)
        self.kernels = tuple(chosen_kernels(gaussian, bilateral, kernels))
        self.normalization = tuple(normalization_of_each(normalization, len(self.kernels)))
        self.output = _checks.choice("output", output, ("log_probs", "probs"))
        _checks.choice("weights_per", weights_per, ("kernel", "class"))
        start = torch.tensor([_first_weight(k, kernel) for k, kernel in enumerate(self.kernels)])
        if weights_per == "class":
            start = start.unsqueeze(1).repeat(1, self.classes)
        self.kernel_weights = nn.Parameter(start)
        self.compatibility = nn.Parameter(-torch.eye(self.classes))

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        image, logits = _checks.autocast(image), _checks.autocast(logits)
        _checks.tensor("logits", logits, "[N,C,H,W]", (4,))
        if logits.shape[1] != self.classes:
            expected = f"[N,{self.classes},H,W] (the layer's classes)"
            raise ValueError(_checks.wrong("logits", expected, logits))
        count, _, height, width = logits.shape
        if height < 1 or width < 1:
            raise ValueError(_checks.wrong("logits", "[N,C,H,W] with H and W of at least 1", logits))
        _checks.tensor("image", image, "[N,3,H,W]", (4,), IMAGE_DTYPES)
        _checks.size("image", image, (count, 3, height, width), "three channels, the size of logits")
        kernels = [
            _with_compat(kernel, self.compatibility * weight)
            for kernel, weight in zip(self.kernels, self.kernel_weights.unbind(), strict=True)
        ]
        return crf(
            image,
            -logits,
            iterations=self.iterations,
            kernels=kernels,
            normalization=self.normalization,
            output=self.output,
        )

    def extra_repr(self) -> str:
        kernels = ", ".join(_widths(kernel) for kernel in self.kernels)
        return (
            f"{self.classes}, iterations={self.iterations}, kernels=[{kernels}], "
            f"normalization={self.normalization}, kernel_weights={list(self.kernel_weights.shape)}, "
            f"output={self.output!r}"
        )


def _first_weight(k: int, kernel: Kernel) -> float:
    if isinstance(kernel, Features):
        raise TypeError(_checks.wrong(f"kernels[{k}]", "a Gaussian or Bilateral", kernel))
    if isinstance(kernel.compat, Tensor):
        expected = "a number (where the learned weight starts)"
        raise ValueError(_checks.wrong(f"compat of kernel {k}", expected, kernel.compat))
    return float(cast(float, kernel.compat))


def _with_compat(kernel: Kernel, compat: Tensor) -> Kernel:
    """The kernel with another compat; `dataclasses.replace` does not compile before torch 2.5."""
    if isinstance(kernel, Bilateral):
        return Bilateral(kernel.sxy, kernel.srgb, compat)
    return Gaussian(cast(Gaussian, kernel).sxy, compat)


def _widths(kernel: Kernel) -> str:
    if isinstance(kernel, Bilateral):
        return f"Bilateral(sxy={kernel.sxy}, srgb={kernel.srgb})"
    return f"Gaussian(sxy={cast(Gaussian, kernel).sxy})"
