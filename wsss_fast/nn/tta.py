"""Test-time augmentation around any segmentation network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast._device import HALVES, on_cuda
from wsss_fast.ops.tta import tta_merge


class TTA(nn.Module):
    """A segmentation network that looks at every image at several scales, and mirrored, and averages.

    Called as the network itself is called: ``TTA(model)(image)``. The image is the first argument, by
    position or by keyword (``TTA(model)(pixel_values=image)``); all others go to the network as they are,
    with every call. Runs under ``torch.no_grad``; the network stays in the mode it is in, so call
    ``.eval()`` first, as for the network alone. The images go through it one scale and orientation after
    another, in the batch they come in; the logits are merged by :func:`wsss_fast.tta_merge`. All of them
    are kept until then.

    Args:
        model: takes ``[N,3,H,W]`` images and returns logits ``[N,C,h,w]`` of any size: a tensor, or a
            mapping that holds it under ``"out"`` (torchvision) or ``"logits"`` (transformers). It may write
            into what it is given. A network inside ``DataParallel`` or from ``torch.compile`` is one too.
        scales: image sizes relative to the given one, each > 0. Images are resampled bilinearly, and a
            scale that leaves the size as it is hands a copy of the image on.
        hflip: also the mirrored image, at every scale.
        stride: the sizes given to the network are the nearest multiples of this (at least one), for
            networks that take no others.
        activation: ``"softmax"``, ``"sigmoid"`` or ``"none"``, applied before the average.
        output: ``"mean"`` or ``"labels"``.

    The result lies on the network's device: ``[N,C,H,W]`` in the dtype of the network's logits, or the
    labels ``[N,H,W]`` as the smallest integer type that holds C. Half-precision logits are merged in
    float32; the mean is then rounded to their dtype once, or stays float32 under autocast, as torch's own
    softmax does there.

    Raises ``ValueError`` or ``TypeError`` for an image that is no ``[N,3,H,W]`` floating tensor (how many
    channels there are is for the network to judge), for options out of range or that make sizes of 2^31
    pixels, for an answer of the network that is not as above, and for NaN or infinities in it; these are NaN
    in the mean on CUDA, where they are looked for only under :func:`wsss_fast.check_values`.

    Cost: a forward pass of the network for each scale and orientation, all logits in memory, and one pass
    of :func:`wsss_fast.tta_merge`, which gives the same bits at any number of threads.

    Dobko, Viniavskyi, Dobosevych: NoPeopleAllowed: The Three-Step Approach to Weakly Supervised Semantic
    Segmentation, CVPR LID workshop 2020 (scales 0.5, 1, 2 with flips: 6 predictions).

    >>> import torch, wsss_fast.nn
    >>> model = torch.nn.Conv2d(3, 21, 3, stride=4, padding=1).eval()
    >>> segment = wsss_fast.nn.TTA(model, output="labels")
    >>> segment(torch.rand(2, 3, 60, 80)).shape
    torch.Size([2, 60, 80])
    """

    def __init__(
        self,
        model: nn.Module,
        scales: Sequence[float] = (0.5, 1, 2),
        hflip: bool = True,
        *,
        stride: int = 1,
        activation: Literal["softmax", "sigmoid", "none"] = "softmax",
        output: Literal["mean", "labels"] = "mean",
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(_checks.wrong("model", "a torch.nn.Module", model))
        if not isinstance(scales, (list, tuple)):
            raise TypeError(_checks.wrong("scales", "a list of numbers > 0", scales))
        if len(scales) == 0:
            raise ValueError(_checks.wrong("scales", "at least one number > 0", "an empty list"))
        if not isinstance(hflip, bool):
            raise TypeError(_checks.wrong("hflip", "True or False", hflip))
        self.model = model
        self.training = model.training
        self.scales = tuple(
            _checks.number(f"scales[{i}]", s, 0, exclusive=True) for i, s in enumerate(scales)
        )
        self.hflip = hflip
        self.stride = _checks.integer("stride", stride, 1, 2**31 - 1)
        self.activation = _checks.choice("activation", activation, ("softmax", "sigmoid", "none"))
        self.output = _checks.choice("output", output, ("mean", "labels"))

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Segment an image ``[N,3,H,W]``, the first argument."""
        image, call = self._image_and_call(args, kwargs)
        if not isinstance(image, Tensor):
            raise TypeError(_checks.wrong("image", "a tensor [N,3,H,W]", image))
        if not image.is_floating_point() or not _checks.is_dense(image):
            raise TypeError(_checks.wrong("image", "[N,3,H,W] of a floating dtype", image))
        if image.dim() != 4 or min(image.shape[-2:]) < 1:
            raise ValueError(_checks.wrong("image", "[N,3,H,W] with at least one pixel", image))
        height, width = image.shape[-2:]
        logits: list[Tensor] = []
        flipped: list[bool] = []
        for scale in self.scales:
            scaled = self._resampled(image, scale)
            mirrored = scaled.flip(-1) if self.hflip else None  # before the network may write into scaled
            logits.append(_logits(call(scaled)))
            flipped.append(False)
            if mirrored is not None:
                logits.append(_logits(call(mirrored)))
                flipped.append(True)
        dtype = logits[0].dtype
        if dtype in HALVES and not on_cuda(logits[0]):
            logits = [z.float() for z in logits]
        merged = tta_merge(
            logits,
            (height, width),
            flipped=flipped,
            activation=self.activation,  # type: ignore[arg-type]
            output=self.output,  # type: ignore[arg-type]
        )
        if self.output == "labels" or torch.is_autocast_enabled(image.device.type):
            return merged
        return merged.to(dtype)

    def _image_and_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Callable[[Tensor], Any]]:
        """The first argument, and the network's call with another in its place."""
        if args:
            return args[0], lambda image: self.model(image, *args[1:], **kwargs)
        if kwargs:
            name = next(iter(kwargs))
            return kwargs[name], lambda image: self.model(**{**kwargs, name: image})
        raise TypeError(_checks.wrong("image", "a tensor [N,3,H,W] as the first argument", "no argument"))

    def _resampled(self, image: Tensor, scale: float) -> Tensor:
        """The image in another size, or a copy of it."""
        size = (self._length(image.shape[-2], scale), self._length(image.shape[-1], scale))
        _checks.storable("scales and stride", (*image.shape[:2], *size), image.dtype)
        if size == tuple(image.shape[-2:]):
            return image.clone()
        return F.interpolate(image, size, mode="bilinear", align_corners=False)

    def _length(self, length: int, scale: float) -> int:
        """The multiple of the stride nearest to ``scale * length``, halves up, at least one."""
        multiple = scale * length / self.stride + 0.5
        if multiple * self.stride >= 2**31:
            raise ValueError(_checks.wrong("scales", f"sizes below 2^31 pixels for {length} of them", scale))
        return max(math.floor(multiple), 1) * self.stride

    def extra_repr(self) -> str:
        return (
            f"scales={self.scales}, hflip={self.hflip}, stride={self.stride}, "
            f"activation={self.activation!r}, output={self.output!r}"
        )


def _logits(answer: Any) -> Tensor:
    """The logits in what a network returned."""
    expected = "logits [N,C,h,w]: a tensor, or a mapping with 'out' or 'logits'"
    if isinstance(answer, Mapping):
        for key in ("out", "logits"):
            if key in answer:
                answer = answer[key]
                break
        else:
            raise TypeError(
                _checks.wrong("model's answer", expected, f"a mapping with {sorted(map(str, answer))}")
            )
    if not isinstance(answer, Tensor):
        raise TypeError(_checks.wrong("model's answer", expected, answer))
    if answer.dim() != 4:
        raise ValueError(_checks.wrong("model's answer", expected, answer))
    return answer
