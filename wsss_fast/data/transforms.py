"""Joint transforms of an image and its mask, for training.

Each function returns a callable ``(image uint8 [H,W,3] RGB, target or None)`` -> ``(uint8 [3,S,S], target or
None)``; `PixelNorm` makes floats of them where the network is. A target is one of two kinds:

- labels, uint8 or uint16 ``[H,W]`` -> int32 ``[S,S]``: each pixel has the label of the nearest one. The
  ignore label of the type (255 or 65535) becomes `NO_PART`, -1, which padding has too.
- probabilities of M labels, float32 ``[M,H,W]`` -> float32 ``[M,S,S]``: resampled bilinearly, so that they
  keep their sum. In padding all are 0.

Everything random comes from torch's global generator, which the loaders seed for every item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from wsss_fast._bilinear import bilinear
from wsss_fast.files import ignore_of

NO_PART = -1
"""The label of pixels that take no part in a training, whatever the type of the mask."""

Transform: TypeAlias = Callable[[np.ndarray, np.ndarray | None], tuple[Tensor, Tensor | None]]


class _Joint:
    """Run steps on an image and, if there is one, on its target alike. (A class, so that it can be pickled.)

    In between, a target is a `tv_tensors.Mask`: int32 ``[H,W]`` or float32 ``[M,H,W]``.
    """

    def __init__(self, *steps: Callable[..., object]) -> None:
        self.steps = v2.Compose(list(steps))

    def __call__(self, image: np.ndarray, mask: np.ndarray | None = None) -> tuple[Tensor, Tensor | None]:
        pixels = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))
        if mask is None:
            return _plain(self.steps(pixels)), None
        pixels, target = self.steps(pixels, tv_tensors.Mask(torch.from_numpy(_target(mask))))
        return _plain(pixels), _plain(target)


def _target(mask: np.ndarray) -> np.ndarray:
    """A copy of the target in the type that the steps take."""
    if mask.dtype == np.float32:
        return mask.copy()
    labels = mask.astype(np.int32)
    labels[mask == ignore_of(mask.dtype)] = NO_PART
    return labels


def _plain(value: Tensor) -> Tensor:
    return value.as_subclass(Tensor).contiguous()


class RandomScale(torch.nn.Module):
    """Resize by a factor drawn evenly from [low, high], keeping the aspect."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low = low
        self.high = high

    def forward(self, image: Tensor, mask: Tensor | None = None) -> object:
        factor = float(torch.empty(()).uniform_(self.low, self.high))
        size = [max(1, round(side * factor)) for side in image.shape[-2:]]
        image = F.resize(image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
        if mask is None:
            return image
        if mask.is_floating_point():
            # Smooth as they are, they need no antialiasing; torchvision's resizing of floats has other last
            # bits in a worker than in the main process, which has more threads.
            return image, tv_tensors.Mask(bilinear(mask.as_subclass(Tensor), (size[0], size[1])))
        # torchvision resizes masks by plain "nearest", which is off by up to half a pixel against the image.
        exact = F.resize(
            mask.as_subclass(Tensor)[None], size, interpolation=v2.InterpolationMode.NEAREST_EXACT
        )
        return image, tv_tensors.Mask(exact[0])


class RandomCropOrKeep(torch.nn.Module):
    """Crop each side that is longer than ``size`` to ``size`` pixels, at a random place."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, *inputs: Tensor) -> object:
        height, width = inputs[0].shape[-2:]
        top, left = (int(torch.randint(max(0, side - self.size) + 1, ())) for side in (height, width))
        box = (top, left, min(height, self.size), min(width, self.size))
        return _one_or_all([F.crop(value, *box) for value in inputs])


class RandomPad(torch.nn.Module):
    """Put an image of at most ``size`` at a random place of a square of ``size`` pixels.

    Around it the image gets ``fill`` (0 to 255, one a channel), labels get -1 and probabilities 0.
    """

    def __init__(self, size: int, fill: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.fill = list(fill)

    def forward(self, *inputs: Tensor) -> object:
        height, width = inputs[0].shape[-2:]
        top, left = (int(torch.randint(self.size - side + 1, ())) for side in (height, width))
        padding = [left, top, self.size - width - left, self.size - height - top]
        return _one_or_all([F.pad(value, padding, fill=self._around(value)) for value in inputs])

    def _around(self, value: Tensor) -> float | list[float]:
        if not isinstance(value, tv_tensors.Mask):
            return self.fill
        return 0 if value.is_floating_point() else NO_PART


def _one_or_all(values: list[Tensor]) -> object:
    return values[0] if len(values) == 1 else tuple(values)


class PixelNorm:
    """uint8 images ``[N,3,H,W]`` -> normalised float32 ``[N,3,H,W]``, both on the device.

    ``mean`` and ``std``, one a channel, are of images of 0 to 1. The arithmetic is that of torchvision's
    ``ToDtype(torch.float32, scale=True)`` and ``Normalize``, to the bit.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(std, device=device).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().mul_(1 / 255).sub_(self.mean).div_(self.std)


def _in_255ths(mean: Sequence[float]) -> list[int]:
    return [round(255 * value) for value in mean]


def classifier_transform(
    *,
    image_size: int,
    min_scale: float,
    mean: Sequence[float],
    augmentation: Literal["light", "strong"] = "light",
    random_erasing: float = 0.0,
) -> Transform:
    """For step 1: a random part of at least ``min_scale`` of the area, flip, colours; S = ``image_size``.

    ``mean``, for images of 0 to 1, is that of the backbone's pretraining. ``augmentation``: ``light`` has
    aspects from 3/4 to 4/3 and colours changed by up to 0.3; ``strong`` has aspects from 1/2 to 2, colours
    changed by up to 0.6 and hues by 0.1, a fifth of the images grey, 3 in 10 blurred and one in 10 solarised.
    ``random_erasing``: the probability with which a rectangle becomes ``mean``, rounded to 255ths (Zhong et
    al., AAAI 2020).
    """
    steps: list[Callable[..., object]]
    if augmentation == "light":
        steps = [
            v2.RandomResizedCrop(image_size, scale=(min_scale, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            _jitter(),
        ]
    else:
        steps = [
            v2.RandomResizedCrop(image_size, scale=(min_scale, 1.0), ratio=(0.5, 2.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.6, contrast=0.6, saturation=0.6, hue=0.1),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(1 + 2 * max(1, image_size // 40), sigma=(0.1, 2.0))], 0.3),
            v2.RandomSolarize(128, 0.1),
        ]
    if random_erasing > 0:
        steps.append(v2.RandomErasing(random_erasing, value=_in_255ths(mean)))
    return _Joint(*steps)


def irnet_transform(
    *, image_size: int, min_scale: float, max_scale: float, mean: Sequence[float]
) -> Transform:
    """For step 2: random scale, crop or padding to a square, flip. Padding is ``mean`` and ignored (-1)."""
    return _square(image_size, min_scale, max_scale, mean)


def segmenter_transform(
    *, image_size: int, min_scale: float, max_scale: float, mean: Sequence[float]
) -> Transform:
    """For step 3: as for IRNet, with random colours."""
    return _square(image_size, min_scale, max_scale, mean, _jitter())


def _square(
    image_size: int,
    min_scale: float,
    max_scale: float,
    mean: Sequence[float],
    *colours: torch.nn.Module,
) -> Transform:
    return _Joint(
        v2.RandomHorizontalFlip(),
        RandomScale(min_scale, max_scale),
        RandomCropOrKeep(image_size),
        *colours,  # before the padding
        RandomPad(image_size, _in_255ths(mean)),
    )


def _jitter() -> torch.nn.Module:
    return v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3)
