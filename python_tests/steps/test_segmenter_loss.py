"""The segmenter's losses by brute force, and that its training uses them."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close
from torch import Tensor

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.config import (
    ClassifierConfig,
    Config,
    ConfigError,
    CrfLossConfig,
    PersonConfig,
    SegmenterConfig,
)
from wsss_fast.data.soft_labels import SoftLabels, SoftMaps
from wsss_fast.files import load_tensors, read_mask
from wsss_fast.nn import DenseCRFLoss
from wsss_fast.steps import _segmenter_loss
from wsss_fast.steps._layout import pseudo_masks, walk_maps
from wsss_fast.steps._maps import own_threshold, person_id
from wsss_fast.steps._segmenter_loss import CrfBesideIt, hard_cross_entropy, soft_cross_entropy
from wsss_fast.steps._soft_labels import soft_label_folder
from wsss_fast.steps.make_pseudo_masks import pseudo_labels
from wsss_fast.steps.train_segmenter import train_segmenter

CPU = torch.device("cpu")


def one_hot(labels: Tensor, ids: Tensor) -> SoftLabels:
    """The same as soft labels; -1 has no class."""
    return SoftLabels(ids, (labels[:, None] == ids[:, :, None, None]).half())


def test_soft_labels_of_one_class_a_pixel_are_hard_labels() -> None:
    ids = torch.tensor([[0, 3, 260], [0, 255, 256]])
    which = torch.randint(3, (2, 6, 5))
    labels = ids.gather(1, which.flatten(1)).reshape(which.shape)
    labels[:, :2, :3] = -1
    results = []
    for loss, target in ((hard_cross_entropy, labels), (soft_cross_entropy, one_hot(labels, ids))):
        torch.manual_seed(1)
        logits = torch.randn(2, 300, 6, 5, requires_grad=True)
        value = loss(logits, target)  # type: ignore[operator]
        value.backward()
        results.append((value.detach(), logits.grad))
    close(results[0][0], results[1][0])
    assert results[0][1] is not None
    assert results[1][1] is not None
    close(results[0][1], results[1][1])
    assert (results[1][1][:, :, :2, :3] == 0).all()


def test_soft_cross_entropy_by_its_formula() -> None:
    # The first image has one class less: its last probabilities are padding.
    ids = torch.tensor([[0, 7, 0], [0, 2, 9]])
    probs = torch.rand(2, 3, 4, 4)
    probs[0, 2] = 0
    probs[1, :, 1:3] = 0  # takes no part
    logits = torch.randn(2, 10, 4, 4)
    total, count = 0.0, 0
    for i in range(2):
        for y in range(4):
            for x in range(4):
                shares = probs.half().float()[i, :, y, x]
                if shares.sum() == 0:
                    continue
                count += 1
                logs = logits[i, :, y, x].double().log_softmax(0)
                for label, share in zip(ids[i], shares / shares.sum(), strict=True):
                    total -= float(share * logs[label])
    close(soft_cross_entropy(logits, SoftLabels(ids, probs.half())), torch.tensor(total / count))


def test_a_batch_of_padding_costs_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    for value in (
        hard_cross_entropy(logits, torch.full((1, 4, 4), -1)),
        soft_cross_entropy(logits, SoftLabels(torch.tensor([[0, 1]]), torch.zeros(1, 2, 4, 4).half())),
    ):
        assert value == 0
        assert torch.autograd.grad(value, logits)[0].eq(0).all()


def test_the_crf_loss_sees_the_image_as_it_was() -> None:
    image = torch.randint(0, 256, (2, 3, 16, 12), dtype=torch.uint8)
    logits = torch.randn(2, 4, 16, 12, requires_grad=True)
    part = torch.ones(2, 16, 12, dtype=torch.bool)
    part[:, :, 8:] = False
    config = CrfLossConfig(weight=1e-3, sxy=20, srgb=30, scale=0.5)
    found = CrfBesideIt(config, CPU)(image, logits, part)
    expected = DenseCRFLoss(1e-3, 30, 20, 0.5)(image.float(), logits.softmax(1), part)
    assert expected > 0
    close(found, expected)
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient[..., :8].abs().max() > 0
    # What is predicted in padding has no say.
    assert gradient[..., 8:].eq(0).all()
    changed = torch.where(part[:, None], logits.detach(), torch.randn(2, 4, 16, 12))
    close(CrfBesideIt(config, CPU)(image, changed, part), found.detach())


@pytest.mark.parametrize(("scale", "words"), [(0, "got 0"), (1.5, "got 1.5")])
def test_the_scale_of_the_crf_loss_is_checked(scale: float, words: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"segmenter.crf_loss.scale: expected a number in \(0, 1\], {words}"
    ):
        CrfLossConfig(scale=scale)


# --- in a run ------------------------------------------------------------------------------------------


def trained_with(
    finished_run: Config, output: Path, **changes: object
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights and columns of the history of the segmenter of a finished run, trained in another way."""
    shutil.copytree(
        Path(finished_run.output), output, ignore=shutil.ignore_patterns("train-segmenter", "pre*")
    )
    segmenter = replace(finished_run.segmenter, **changes)  # type: ignore[arg-type]
    config = replace(finished_run, output=str(output), segmenter=segmenter)
    train_segmenter(config)
    with (output / "train-segmenter/history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert all(np.isfinite(float(value)) for value in row.values())
    if "crf" in row:
        assert float(row["crf"]) > 0
        close(
            torch.tensor(float(row["loss"])),
            torch.tensor(float(row["cross_entropy"]) + float(row["crf"])),
        )
    return load_tensors(output / "train-segmenter/weights.safetensors")[0], list(row)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_training_with_each_loss(finished_run: Config, tmp_path: Path, labels: str) -> None:
    plain, columns = trained_with(finished_run, tmp_path / "plain", labels=labels)
    assert columns == ["epoch", "loss"]
    before = load_tensors(Path(finished_run.output) / "train-segmenter/weights.safetensors")[0]
    same = all(torch.equal(plain[key], value) for key, value in before.items())
    assert same == (labels == "hard")  # the same bits, or another training
    crf = CrfLossConfig(weight=1e-6, sxy=20)
    regular, columns = trained_with(finished_run, tmp_path / "crf", labels=labels, crf_loss=crf)
    assert columns == ["epoch", "loss", "cross_entropy", "crf"]
    assert not all(torch.equal(plain[key], value) for key, value in regular.items())


@pytest.mark.slow
def test_losses_are_in_full_precision_under_half_precision(
    finished_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.dtype, bool]] = []

    class Spy(DenseCRFLoss):
        def forward(self, image: Tensor, probs: Tensor, roi: Tensor | None = None) -> Tensor:
            seen.append((probs.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(image, probs, roi)

    monkeypatch.setattr(_segmenter_loss, "DenseCRFLoss", Spy)
    run = replace(finished_run, precision="bf16-mixed")
    trained_with(run, tmp_path / "half", crf_loss=CrfLossConfig(weight=1e-6, sxy=20))
    assert seen == [(torch.float32, False)] * 3


@pytest.mark.slow
def test_soft_labels_of_a_run_agree_with_its_masks(finished_run: Config) -> None:
    folder = soft_label_folder(finished_run, "train", ["a"] * 6)
    agree = pixels = 0
    names = sorted(path.stem for path in walk_maps(finished_run, "train").glob("*.npz"))
    assert len(names) == 10
    for name in names:
        maps = folder(name)
        mask = read_mask(pseudo_masks(finished_run, "train") / f"{name}.png")
        hard = maps.ids[maps.probabilities(mask.shape).argmax(0)]  # type: ignore[arg-type]
        agree += int((hard == mask).sum())
        pixels += mask.size
    assert agree / pixels > 0.995  # the walk is kept in half precision, which decides near ties


@pytest.mark.parametrize("merge", ["none", "before", "after"])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_the_most_probable_label_is_that_of_the_pseudo_mask(merge: str, threshold: float) -> None:
    config = Config(classifier=ClassifierConfig(exclude=["c5"]))
    config.pseudo_masks.thresholds = [threshold]
    config.person = PersonConfig(merge=merge, name="c5", threshold=0.6)  # type: ignore[arg-type]
    walk = torch.rand(3, 6, 8) * torch.tensor([1.0, 0.7, 0.9]).view(3, 1, 1)
    walk[:, :2, :3] = 0
    walk[:2, 2:4, :3] = 0
    classes, names = np.array([2, 5, 9]), [f"c{i}" for i in range(1, 10)]
    own = own_threshold(config, classes, person_id(config, names))
    assert (own is None) == (merge == "none")
    (hard,) = pseudo_labels(walk, (6, 8), [threshold], own)
    folder = soft_label_folder(config, "train", names)
    maps = SoftMaps(classes, walk.numpy(), folder.threshold, folder.own, folder.apart)
    found = maps.probabilities((6, 8))
    close(torch.from_numpy(found).sum(0), torch.ones(6, 8))
    assert torch.equal(torch.from_numpy(found).argmax(0), hard.long())
    assert set(hard.unique().tolist()) == {0, 1, 2, 3} - ({2} if merge != "none" and not threshold else set())


def test_the_person_has_its_own_threshold() -> None:
    config = Config()
    config.classifier.exclude = ["person"]
    config.pseudo_masks.thresholds = [0.3, 0.5]
    config.segmenter = SegmenterConfig(mask_threshold=0.5)
    assert soft_label_folder(config, "train", ["cat", "person"]).own == {}
    config.person = PersonConfig(merge="after", threshold=0.2)
    folder = soft_label_folder(config, "train", ["cat", "person"])
    assert (folder.threshold, folder.own, folder.apart) == (0.5, {2: 0.2}, True)
