"""The maps of a classifier, against the formulas of the papers, a class and an image at a time."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from conftest import close
from torch import Tensor, nn

pytest.importorskip("wsss_fast.models", reason="needs the pipeline extra")

from tiny_run import use_every_branch

from wsss_fast.config import BackboneConfig, CamsConfig, ConfigError
from wsss_fast.models.activation_maps import activation_maps
from wsss_fast.models.classifier import Classifier

SMALL = BackboneConfig(name="test_resnet")
CLASSES = 4
Method = Literal["cam", "gradcam", "gradcam++"]


@pytest.fixture
def classifier() -> Classifier:
    model = Classifier(SMALL, classes=CLASSES).eval()
    use_every_branch(model)
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 64, 48)


PRESENT = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)


def by_the_formula(model: Classifier, image: Tensor, k: int, method: Method, layer: str | None) -> Tensor:
    """The map ``[h,w]`` of one class of one image ``[3,H,W]``, by one whole backward pass, in float64."""
    kept: list[Tensor] = []
    module = model.backbone if layer is None else dict(model.backbone.named_modules())[layer]
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output))
    logit = model(image[None])[0, k]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    a, g = kept[0][0].detach(), gradient[0]
    if method == "cam":
        w = model.head.weight[k].detach()
    elif method == "gradcam":
        w = g.mean((1, 2))
    else:
        denominator = 2 * g**2 + g**3 * a.clamp_min(0).sum((1, 2), keepdim=True)
        w = (torch.where(g == 0, 0.0, g**2 / denominator) * g.relu()).sum((1, 2))
    return (w[:, None, None] * a).sum(0)


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("cam", None),
        ("gradcam", None),
        ("gradcam++", None),
        ("gradcam", "layer3"),
        ("gradcam++", "layer3"),
        ("gradcam", "layer2.0.conv1"),  # followed by something that may work in place
    ],
)
def test_one_backward_pass_a_class_and_image(
    classifier: Classifier, images: Tensor, method: Method, layer: str | None
) -> None:
    classifier, images = classifier.double(), images.double()
    maps = activation_maps(classifier, images, PRESENT, CamsConfig(method=method, layer=layer))
    assert maps.dtype == torch.float32
    for image in range(3):
        for k in range(CLASSES):
            if PRESENT[image, k]:
                expected = by_the_formula(classifier, images[image], k, method, layer)
                assert expected.abs().max() > 0
                close(maps[image, k] / expected.abs().max(), expected / expected.abs().max(), atol=1e-4)
            else:
                assert maps[image, k].eq(0).all()


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_what_comes_before_the_layer_runs_once(
    classifier: Classifier, images: Tensor, method: Method
) -> None:
    calls: list[bool] = []
    classifier.backbone.conv1.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    activation_maps(classifier, images, PRESENT, CamsConfig(method=method, layer="layer3"))
    assert calls == [False]
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize("method", ["cam", "gradcam", "gradcam++"])
def test_a_gradient_that_vanishes_gives_a_map_without_nan(
    classifier: Classifier, images: Tensor, method: Method
) -> None:
    for weight in (0.0, 1e-30, 1e-42):
        nn.init.constant_(classifier.head.weight, weight)
        maps = activation_maps(classifier, images, PRESENT, CamsConfig(method=method))
        assert maps.isfinite().all()
        assert maps.abs().max() <= 1e-20


def test_no_class_present(classifier: Classifier, images: Tensor) -> None:
    maps = activation_maps(classifier, images, torch.zeros(3, CLASSES, dtype=torch.bool), CamsConfig())
    assert maps.shape == (3, CLASSES, 4, 3)
    assert maps.eq(0).all()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CamsConfig(layer="layer5"), "cams.layer: expected a layer of the backbone.*did you mean layer"),
        (CamsConfig(method="cam", layer="layer3"), "cams.layer: expected null with cams.method cam"),
    ],
)
def test_wrong_layers_are_named(
    classifier: Classifier, images: Tensor, config: CamsConfig, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        activation_maps(classifier, images, PRESENT, config)


def test_a_layer_that_gives_no_map(images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"expected a layer whose output is a feature map \[B,F,h,w\]"):
        activation_maps(_Flat(SMALL, CLASSES).eval(), images, PRESENT, CamsConfig(layer="flat"))


class _Flat(Classifier):
    def __init__(self, config: BackboneConfig, classes: int) -> None:
        super().__init__(config, classes)
        self.backbone.flat = nn.Flatten(2)  # type: ignore[assignment]

    def features(self, images: Tensor) -> Tensor:
        self.backbone.flat(super().features(images))  # type: ignore[operator]
        return super().features(images)
