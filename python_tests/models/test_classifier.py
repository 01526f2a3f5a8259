"""The classifier on backbones of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("wsss_fast.models", reason="needs the pipeline extra")

from tiny_run import use_every_branch

from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.models.backbone import feature_backbone
from wsss_fast.models.classifier import Classifier


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "vgg11_bn", "resnet50"])
def test_any_backbone_at_any_stride(name: str, stride: int) -> None:
    model = Classifier(BackboneConfig(name=name, output_stride=stride), classes=3).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 96)
        assert model.features(images).shape[2:] == (64 // stride, 96 // stride)
        assert model(images).shape == (1, 3)


def test_a_dilated_vgg_sees_what_an_undilated_one_does() -> None:
    """With its last poolings gone and gaps in what follows, every second cell is that of a VGG whose
    poolings take the first pixel instead of the largest."""
    torch.manual_seed(0)
    dense = Classifier(BackboneConfig(name="vgg11", output_stride=16), classes=2).eval()
    plain = Classifier(BackboneConfig(name="vgg11", output_stride=32), classes=2).eval()
    convolutions = [
        [layer for layer in model.backbone if isinstance(layer, nn.Conv2d)] for model in (dense, plain)
    ]
    for one, other in zip(*convolutions, strict=True):
        one.load_state_dict(other.state_dict())
    last = [i for i, layer in enumerate(plain.backbone) if isinstance(layer, nn.MaxPool2d)][-1]  # type: ignore[arg-type]
    plain.backbone[last] = nn.MaxPool2d(1, stride=2)  # type: ignore[operator]
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(dense.features(images)[..., ::2, ::2], plain.features(images))


def test_networks_without_a_feature_map_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.(name|output_stride): expected .*test_vit"):
        Classifier(BackboneConfig(name="test_vit", output_stride=32), classes=2)


def test_stochastic_depth_skips_blocks_in_training_only() -> None:
    model = Classifier(BackboneConfig(name="test_resnet"), classes=2, drop_path=0.5)
    use_every_branch(model)
    images = torch.randn(4, 3, 64, 64)
    model.train()
    assert not torch.equal(model.features(images), model.features(images))
    model.eval()
    assert torch.equal(model.features(images), model.features(images))
    with pytest.raises(ConfigError, match=r"drop_path: expected 0 for 'vgg11'.*got 0\.5"):
        Classifier(BackboneConfig(name="vgg11"), classes=2, drop_path=0.5)


def test_strides_can_stand_in_the_first_convolution() -> None:
    """As in weights converted from Caffe: the same numbers, another sampling."""
    usual, first = (
        feature_backbone(BackboneConfig(name="resnet50", stride_conv=conv))  # type: ignore[arg-type]
        for conv in ("3x3", "1x1")
    )
    use_every_branch(usual)
    first.load_state_dict(usual.state_dict())
    for network, strides in ((usual, ((1, 1), (2, 2))), (first, ((2, 2), (1, 1)))):
        block = network.layer2[0]  # type: ignore[index, operator]
        assert (block.conv1.stride, block.conv2.stride) == strides
    images = torch.randn(1, 3, 64, 64)
    usual.eval(), first.eval()
    with torch.no_grad():
        levels = [network(images) for network in (usual, first)]
    assert [level.shape for level in levels[0]] == [level.shape for level in levels[1]]
    torch.testing.assert_close(levels[0][1], levels[1][1])  # before the first stride in a block
    assert not torch.allclose(levels[0][2], levels[1][2])


def test_strides_without_bottlenecks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.stride_conv: expected '3x3' for 'test_efficientnet'"):
        Classifier(BackboneConfig(name="test_efficientnet", stride_conv="1x1"), classes=2)
