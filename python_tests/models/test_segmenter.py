"""DeepLabv3+ on encoders of timm and of segmentation-models-pytorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")

import segmentation_models_pytorch as smp
import timm
from safetensors.torch import save_file

from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.models.backbone import WeightsError, feature_backbone
from wsss_fast.models.segmenter import normalization, segmenter


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("resnet50", 8),
        ("resnet50", 16),
        ("resnet101", 8),
        ("resnet101", 16),
        ("convnext_atto", 16),  # four feature maps, of strides 4, 8, 16, 16
        ("mit_b0", 16),  # of smp alone, as the next one
        ("mobilenet_v2", 8),
    ],
)
def test_encoders_at_their_output_stride(name: str, stride: int) -> None:
    model = segmenter(BackboneConfig(name=name, output_stride=stride), classes=5)
    assert model.training
    model.eval()
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        maps = model.encoder(images)
        assert maps[-1].shape[2:] == (64 // stride, 32 // stride)
        assert maps[2].shape[2:] == (16, 8)
        assert model(images).shape == (1, 5, 64, 32)


def test_trying_an_encoder_out_leaves_no_trace() -> None:
    config = BackboneConfig(name="test_resnet", output_stride=16)
    torch.manual_seed(3)
    model = segmenter(config, 3)
    after = torch.rand(())
    torch.manual_seed(3)
    plain = smp.DeepLabV3Plus("tu-test_resnet", encoder_weights=None, encoder_output_stride=16, classes=3)
    backbone = feature_backbone(config)
    assert torch.equal(torch.rand(()), after)
    plain.encoder.model.load_state_dict(backbone.state_dict())
    assert model.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "vit_tiny_patch16_224", "inceptionv4"])
def test_encoders_that_do_not_suit_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"segmenter.backbone.name: .* stride 16 .* got '{name}'"):
        segmenter(BackboneConfig(name=name, output_stride=16), 3)


def test_names_that_nobody_knows() -> None:
    for build in (lambda config: segmenter(config, 3), normalization):
        with pytest.raises(ConfigError, match="an encoder that timm or smp knows, got 'no_such_net'"):
            build(BackboneConfig(name="no_such_net"))
        with pytest.raises(
            ConfigError, match="timm's own name 'efficientnet_b0', got 'timm-efficientnet-b0'"
        ):
            build(BackboneConfig(name="timm-efficientnet-b0"))


def test_weights_of_smps_own_encoders(tmp_path: Path) -> None:
    donor = smp.encoders.get_encoder("mobilenet_v2", weights=None).state_dict()
    path = tmp_path / "w.safetensors"
    save_file({key: value.clone() for key, value in donor.items()}, path)
    model = segmenter(BackboneConfig(name="mobilenet_v2", weights=str(path)), 3)
    first = next(m.weight for m in model.modules() if isinstance(m, nn.Conv2d))
    assert torch.equal(first, donor["features.0.0.weight"])
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(WeightsError, match=r"segmenter.backbone.weights: expected the weights of smp's 'mob"):
        segmenter(BackboneConfig(name="mobilenet_v2", weights=str(path)), 3)
    for weights in ("timm", "package"):
        with pytest.raises(WeightsError, match=rf"expected 'none' or a weight file .* got '{weights}'"):
            segmenter(BackboneConfig(name="mobilenet_v2", weights=weights), 3)


def test_normalization_is_the_encoders() -> None:
    assert normalization(BackboneConfig(name="tf_efficientnet_lite0")) == ((0.5,) * 3, (0.5,) * 3)
    assert normalization(BackboneConfig(name="mobilenet_v2"))[0] == (0.485, 0.456, 0.406)
