"""Step 2: IRNet (Ahn, Cho, Kwak, CVPR 2019), class boundaries and displacements from frozen features."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast._processes import process_count, summed
from wsss_fast.config import BackboneConfig
from wsss_fast.models.backbone import LEVELS, check_backbone, feature_backbone


class IRNet(nn.Module):
    """Five frozen feature levels, a boundary branch and a displacement branch.

    Images ``[B,3,H,W]`` (normalised) -> boundary logits ``[B,1,h,w]`` and displacements ``[B,2,h,w]``
    (dy, dx, in cells: from a cell to the centre of its object) with ``h = ceil(H/4)``, ``w = ceil(W/4)``.
    In evaluation the mean displacement seen in training is taken off: only differences of displacements are
    trained, so their mean is arbitrary.

    The branches are those of Ahn et al. in widths, groups of the norms, and in ReLU coming after the
    resampling; with a ResNet-50 of output stride 16 so are the features. What differs: levels are resampled
    to the size of the finer one, where the authors double and crop (the same for images whose sides are
    multiples of 16); and the mean displacement is a running one of training (momentum 0.05), where they
    average over the training images once more afterwards. As the learning rate ends at 0, the last steps see
    the final network.

    Raises `ConfigError` for a backbone without five levels of strides 2, 4, 8, 16 and 32 (or less, by its
    output stride); one of stride 1 before them, as VGG has, is left out.

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.irnet import IRNet
    >>> model = IRNet(BackboneConfig(name="test_resnet", output_stride=16)).train()
    >>> logits, displacement = model(torch.rand(2, 3, 64, 96))
    >>> logits.shape, displacement.shape
    (torch.Size([2, 1, 16, 24]), torch.Size([2, 2, 16, 24]))
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        check_backbone(config)
        self.backbone = feature_backbone(config)
        self.backbone.requires_grad_(False)
        channels = cast(Any, self.backbone).feature_info.channels()[-LEVELS:]
        self.boundary = _BoundaryBranch(channels)
        self.displacement = _DisplacementBranch(channels)
        self.mean_shift = _MeanShift()

    def train(self, mode: bool = True) -> IRNet:
        super().train(mode)
        self.backbone.eval()  # frozen: its batch norms keep the statistics of pretraining
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            levels: list[Tensor] = list(self.backbone(images))[-LEVELS:]
        levels[0] = F.max_pool2d(levels[0], 3, stride=2, padding=1)  # to stride 4, as the stem of a ResNet
        size = levels[1].shape[2:]
        return self.boundary(levels, size), self.mean_shift(self.displacement(levels, size))


def boundary_map(model: IRNet, images: Tensor) -> Tensor:
    """The boundary map ``[B,1,h,w]`` in [0, 1]: the logits of the images and of their mirror images averaged.

    Averaging logits keeps a boundary that only one of the two sees from being as strong as one that both see.

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.irnet import IRNet, boundary_map
    >>> model = IRNet(BackboneConfig(name="test_resnet", output_stride=16)).eval()
    >>> boundary_map(model, torch.rand(2, 3, 64, 96)).shape
    torch.Size([2, 1, 16, 24])
    """
    return boundary_and_displacement(model, images)[0]


def boundary_and_displacement(model: IRNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """That boundary map, and the displacements ``[B,2,h,w]`` of the images as they are.

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig
    >>> from wsss_fast.models.irnet import IRNet, boundary_and_displacement
    >>> model = IRNet(BackboneConfig(name="test_resnet", output_stride=16)).eval()
    >>> boundary, displacement = boundary_and_displacement(model, torch.rand(2, 3, 64, 96))
    >>> boundary.shape, displacement.shape
    (torch.Size([2, 1, 16, 24]), torch.Size([2, 2, 16, 24]))
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(_checks.wrong("images", "a tensor [B,3,H,W] of floating numbers", images))
    if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise ValueError(_checks.wrong("images", "[B,3,H,W]", images))
    logits, displacement = model(torch.cat([images, images.flip(-1)]))
    straight, mirrored = logits.float().chunk(2)
    return ((straight + mirrored.flip(-1)) / 2).sigmoid(), displacement.float().chunk(2)[0]


def _reduce(channels: int, out: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.GroupNorm(groups, out))


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


class _BoundaryBranch(nn.Module):
    """Each level to 32 channels at stride 4, concatenated, one 1x1 convolution."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_reduce(c, 32, 4) for c in channels)
        self.out = nn.Conv2d(32 * len(channels), 1, 1)

    def forward(self, levels: list[Tensor], size: torch.Size) -> Tensor:
        # ReLU after the resampling, which group norm's negative values take part in.
        maps = [F.relu(_resize(reduce(x), size)) for reduce, x in zip(self.levels, levels, strict=True)]
        logits: Tensor = self.out(torch.cat(maps, 1))
        return logits


class _DisplacementBranch(nn.Module):
    """Top-down: the three deep levels are joined at stride 8, then with the two shallow ones at stride 4."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        widths = (64, 128, 256, 256, 256)
        groups = (8, 16, 16, 16, 16)
        self.levels = nn.ModuleList(
            _reduce(c, width, group) for c, width, group in zip(channels, widths, groups, strict=True)
        )
        self.deep = nn.Sequential(_reduce(768, 256, 16))
        self.joint = nn.Sequential(_reduce(64 + 128 + 256, 256, 16), nn.ReLU())
        self.out = nn.Conv2d(256, 2, 1, bias=False)

    def forward(self, levels: list[Tensor], size: torch.Size) -> Tensor:
        one, two, three, four, five = (reduce(x) for reduce, x in zip(self.levels, levels, strict=True))
        middle = three.shape[2:]
        deep = torch.cat([F.relu(three), *(F.relu(_resize(x, middle)) for x in (four, five))], 1)
        deep = F.relu(_resize(self.deep(deep), size))
        displacement: Tensor = self.out(self.joint(torch.cat([F.relu(one), F.relu(two), deep], 1)))
        return displacement


class _MeanShift(nn.Module):
    """Keeps a running mean of both components in training, over all processes, and subtracts it in
    evaluation."""

    running_mean: Tensor

    def __init__(self, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(2))

    def forward(self, displacement: Tensor) -> Tensor:
        if self.training:
            mean = summed(displacement.detach().float().mean(dim=(0, 2, 3))) / process_count()
            self.running_mean.lerp_(mean, self.momentum)
            return displacement
        return displacement - self.running_mean.view(1, 2, 1, 1)
