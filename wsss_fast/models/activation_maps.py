"""Step 1: class activation maps of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from wsss_fast import _checks
from wsss_fast.config import CamsConfig, ConfigError
from wsss_fast.config_file import did_you_mean
from wsss_fast.models.classifier import Classifier


def activation_maps(model: Classifier, images: Tensor, present: Tensor, config: CamsConfig) -> Tensor:
    """Maps of the classes present by ``config.method``, at the output of ``config.layer``.

    ``images`` ``[B,3,H,W]`` normalised; ``present`` ``[B,K]`` bool, best on the CPU: how many classes there
    are is looked up in it. Returns ``[B,K,h,w]`` float32 before the ReLU, zero for absent classes. With A the
    activations ``[F,h,w]`` at the layer and g the gradient of the logit of a class there, a map is the sum
    over the channels of w A with

    - ``cam`` (Zhou et al., CVPR 2016): w the class's row of the linear layer; for the last feature map only;
    - ``gradcam`` (Selvaraju et al., ICCV 2017): w the mean of g over the cells;
    - ``gradcam++`` (Chattopadhay et al., WACV 2018): w the sum over the cells of a max(g, 0), where
      a = g^2 / (2 g^2 + g^3 S) = 1 / (2 + g S) and S is the channel's sum of max(A, 0). In the second form,
      and without negative activations, nothing is divided by a number less than 2, so vanishing gradients
      give vanishing maps. The logit is differentiated, not its exponential as in the paper: that scales whole
      maps, and overflows.

    The model is run in the mode it is in: use ``model.eval()``. What comes before the layer runs once,
    without a graph; what comes after it runs once and is differentiated once for the first class of every
    image, once for the second, and so on, so the classes of an image never mix their gradients.
    Deterministic.

    Raises `ConfigError` for a layer that the backbone does not have or that gives no map, and `ValueError` or
    `TypeError` for images and classes of other shapes and types.

    >>> import torch
    >>> from wsss_fast.config import BackboneConfig, CamsConfig
    >>> from wsss_fast.models.activation_maps import activation_maps
    >>> from wsss_fast.models.classifier import Classifier
    >>> model = Classifier(BackboneConfig(name="test_resnet", output_stride=16), classes=20).eval()
    >>> present = torch.zeros(2, 20, dtype=torch.bool)
    >>> present[0, 3] = present[1, 7] = True
    >>> activation_maps(model, torch.rand(2, 3, 64, 96), present, CamsConfig(method="gradcam")).shape
    torch.Size([2, 20, 4, 6])
    """
    _check(model, images, present, config)
    layer = target_layer(model, config)
    if config.method == "cam":
        with torch.no_grad():
            features = model.features(images).float()
        weights = [chosen.to(features) @ model.head.weight.detach().float() for chosen in _turns(present)]
    else:
        weigh = _gradcam if config.method == "gradcam" else _gradcam_plus_plus
        features, weights = _weights_by_gradients(model, layer, images, present, weigh)
    maps = torch.zeros(*present.shape, *features.shape[2:], device=features.device)
    for chosen, weight in zip(_turns(present), weights, strict=True):
        of_turn = (weight[:, :, None, None] * features).sum(1, keepdim=True)
        there = chosen.to(features.device, non_blocking=True)
        maps = torch.where(there[:, :, None, None], of_turn, maps)  # no index: a device would be waited for
    return maps


def _check(model: Classifier, images: Tensor, present: Tensor, config: CamsConfig) -> None:
    if not isinstance(model, Classifier):
        raise TypeError(_checks.wrong("model", "a Classifier", model))
    if not isinstance(config, CamsConfig):
        raise TypeError(_checks.wrong("config", "a CamsConfig", config))
    # Where the network is trained a build without CUDA kernels can be too, so devices are left alone.
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(_checks.wrong("images", "a tensor [B,3,H,W] of floating numbers", images))
    if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise ValueError(_checks.wrong("images", "[B,3,H,W]", images))
    expected = (len(images), model.head.out_features)
    if not isinstance(present, Tensor) or present.dtype != torch.bool:
        raise TypeError(_checks.wrong("present", f"a tensor {list(expected)} bool", present))
    if tuple(present.shape) != expected:
        raise ValueError(_checks.wrong("present", f"{list(expected)} (images and classes)", present))


def target_layer(model: Classifier, config: CamsConfig) -> nn.Module:
    """The module whose output the maps are of. Raises `ConfigError` if there is none for this config."""
    if config.layer is None:
        return model.backbone
    if config.method == "cam":
        raise ConfigError(
            "cams.layer: expected null with cams.method cam, which is defined for the last feature map, "
            f"got {config.layer!r}"
        )
    layers = dict(model.backbone.named_modules())
    if not config.layer or config.layer not in layers:
        names = [name for name in layers if name]
        raise ConfigError(
            f"cams.layer: expected a layer of the backbone, such as {names[-1]!r}, got {config.layer!r}"
            + did_you_mean(config.layer, names)
        )
    return layers[config.layer]


def _turns(present: Tensor) -> Iterator[Tensor]:
    """``[B,K]`` bool, at most one True an image: its first class, then its second, as long as any has one."""
    nth = present.cumsum(1) * present  # 1 at the first class present, 2 at the second, ...
    for n in range(1, 1 + (int(nth.max()) if nth.numel() else 0)):
        yield nth == n


def _gradcam(features: Tensor, gradient: Tensor) -> Tensor:
    return gradient.mean(dim=(2, 3))


def _gradcam_plus_plus(features: Tensor, gradient: Tensor) -> Tensor:
    positive = gradient.clamp_min(0)
    total = features.clamp_min(0).sum(dim=(2, 3), keepdim=True)
    return (positive / (2 + positive * total)).sum(dim=(2, 3))


def _weights_by_gradients(
    model: Classifier,
    layer: nn.Module,
    images: Tensor,
    present: Tensor,
    weigh: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The activations ``[B,F,h,w]`` float32 at the layer, and the weights ``[B,F]`` of each turn."""
    held: list[Tensor] = []

    def hold(_: nn.Module, __: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ConfigError("cams.layer: expected a layer whose output is a feature map [B,F,h,w]")
        held.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)  # from here on; the block around ends it
        return held[-1].clone()  # what follows may work in place

    handle = layer.register_forward_hook(hold)
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        handle.remove()
    if len(held) != 1:
        raise ConfigError(
            f"cams.layer: expected a layer that an image goes through once, got {len(held)} times"
        )
    features = held[0]
    weights: list[Tensor] = []
    turns = list(_turns(present))
    for n, chosen in enumerate(turns, 1):
        (gradient,) = torch.autograd.grad(
            logits, features, chosen.to(logits, non_blocking=True), retain_graph=n < len(turns)
        )
        weights.append(weigh(features.detach().float(), gradient.float()))
    return features.detach().float(), weights
