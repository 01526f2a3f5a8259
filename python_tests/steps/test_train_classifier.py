"""Training the classifiers of step 1: options, what they learn from, what they measure."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")
pytest.importorskip("torchmetrics", reason="needs the pipeline extra")

from several_processes import Stopped, stopped_after

from wsss_fast.config import (
    ClassifierConfig,
    Config,
    ConfigError,
    PersonClassifierConfig,
    PersonConfig,
    TrainingConfig,
)
from wsss_fast.data import DataError, ImageSet, open_images
from wsss_fast.data.selection import Selection
from wsss_fast.files import load_tensors, read_json
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps._classes import learnt_classes, person_class
from wsss_fast.steps._device import seed_first_weights
from wsss_fast.steps._multilabel import multilabel_metrics
from wsss_fast.steps._optimizer import learning_rate_factor, make_optimizer
from wsss_fast.steps._step import Step
from wsss_fast.steps.train_classifier import ClassifierLoss, train_classifier, training_images
from wsss_fast.steps.train_person_classifier import train_person_classifier

# --- the loss ------------------------------------------------------------------------------------------


class _Identity(nn.Module):
    """Logits = the first pixel of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, 0, 0]


def bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    p = logits.double().sigmoid()
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]).float()
    return torch.randn(4, 3, 5, 5), labels


def test_smoothed_targets() -> None:
    images, labels = batch()
    value = ClassifierLoss(ClassifierConfig(label_smoothing=0.2))(_Identity(), images, labels)
    expected = bce(images[:, :, 0, 0], torch.where(labels == 1, 0.9, 0.1))
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)


def test_mixed_images_have_mixed_labels() -> None:
    images, labels = batch()
    loss = ClassifierLoss(ClassifierConfig(mixup=0.5))
    seen: list[torch.Tensor] = []

    class Watching(_Identity):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return super().forward(images)

    shares = []
    for _ in range(5):
        value = loss(Watching(), images, labels)
        mixed, other = seen[-1], images.roll(1, 0)
        share = float(((mixed - other) * (images - other)).sum() / (images - other).square().sum())
        torch.testing.assert_close(mixed, share * images + (1 - share) * other, rtol=1e-4, atol=1e-5)
        targets = share * labels + (1 - share) * labels.roll(1, 0)
        expected = bce(mixed[:, :, 0, 0], targets)
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)
        shares.append(share)
    assert len({round(share, 4) for share in shares}) == 5
    assert all(-1e-5 <= share <= 1 + 1e-5 for share in shares)


# --- the schedule and the optimizer ---------------------------------------------------------------------


def test_steps_of_the_learning_rate() -> None:
    training = TrainingConfig(epochs=7, schedule="step", step_epochs=3, step_factor=0.2, warmup=0.0)
    factors = [learning_rate_factor(training, epoch / 7, epoch) for epoch in range(7)]
    assert factors == pytest.approx([1, 1, 1, 0.2, 0.2, 0.2, 0.04])


@pytest.mark.parametrize("schedule", ["poly", "step"])
def test_the_learning_rate_rises_first(schedule: Any) -> None:
    training = TrainingConfig(epochs=4, schedule=schedule, step_epochs=1, step_factor=0.5, warmup=0.25)
    rising = [learning_rate_factor(training, p, 0) for p in (0.0, 0.1, 0.2)]
    assert rising == pytest.approx([0.001 / 0.251, 0.101 / 0.251, 0.201 / 0.251])
    after = learning_rate_factor(training, 0.625, 2)
    assert after == pytest.approx(0.5**0.9 if schedule == "poly" else 0.25)


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizers(name: Any, kind: type) -> None:
    weight = nn.Parameter(torch.ones(1))
    groups = [{"params": [weight], "lr": 0.25}]
    optimizer = make_optimizer(TrainingConfig(optimizer=name, weight_decay=0.01), groups)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["peak"], group["weight_decay"]) == (0.25, 0.01)
    assert group.get("momentum", 0.9) == 0.9


# --- metrics -------------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.2, 0.6], [0.8, 0.7, 0.1], [0.7, 0.6, 0.2], [0.1, 0.9, 0.3]])
    target = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    metrics = multilabel_metrics(scores, target)
    # Class 0: hits at ranks 1 and 3. Class 1: at 1 and 2. Class 2 has no positives, and one false alarm.
    assert metrics["ap"][:2].tolist() == pytest.approx([(1 + 2 / 3) / 2, 1.0])
    assert metrics["ap"][2].isnan()
    assert float(metrics["map"]) == pytest.approx((5 / 6 + 1) / 2)
    f1 = [2 * 2 / (2 * 2 + 1), 2 * 2 / (2 * 2 + 1), 0]  # each of the two has one false alarm
    assert metrics["f1"].tolist() == pytest.approx(f1)
    assert float(metrics["f1_macro"]) == pytest.approx(0.8)
    assert float(metrics["f1_micro"]) == pytest.approx(2 * 4 / (2 * 4 + 3))
    assert metrics["accuracy"].tolist() == pytest.approx([0.75, 0.75, 0.75])
    assert float(metrics["mean_accuracy"]) == pytest.approx(0.75)
    assert metrics["positives"].tolist() == [2, 2, 0]


def test_metrics_without_any_positive_say_so() -> None:
    metrics = multilabel_metrics(torch.full((3, 2), 0.1), torch.zeros(3, 2, dtype=torch.int64))
    assert metrics["map"].isnan()
    assert metrics["f1_macro"].isnan()
    assert float(metrics["mean_accuracy"]) == 1


def test_metrics_of_one_class() -> None:
    metrics = multilabel_metrics(torch.tensor([[0.9], [0.6], [0.4]]), torch.tensor([[1], [0], [1]]))
    assert metrics["ap"].tolist() == pytest.approx([(1 + 2 / 3) / 2])
    assert metrics["accuracy"].tolist() == pytest.approx([1 / 3])


# --- classes -------------------------------------------------------------------------------------------


def test_learnt_classes_are_all_but_the_excluded() -> None:
    config = Config(classifier=ClassifierConfig(exclude=["person", "cat"]))
    assert learnt_classes(config, ["cat", "dog", "person", "sofa"]) == [1, 3]
    assert person_class(config, ["cat", "dog", "person", "sofa"]) == 2
    with pytest.raises(ConfigError, match=r"classifier\.exclude: expected names among .*, got 'person'"):
        learnt_classes(config, ["cat", "dog"])
    with pytest.raises(ConfigError, match=r"classifier\.exclude: expected at least one of the 2 classes"):
        learnt_classes(config, ["cat", "person"])
    with pytest.raises(ConfigError, match=r"person\.name: .* got 'person'; did you mean persons\?"):
        person_class(config, ["cat", "persons"])


class _Labelled(ImageSet):
    def __init__(self, labels: list[list[int]], broken: int | None = None) -> None:
        self.all = np.array(labels, bool)
        self.classes = ("a", "b", "c")
        self.broken = broken

    def __len__(self) -> int:
        return len(self.all)

    def name(self, index: int) -> str:
        return f"i{index}"

    def source(self, index: int) -> str:
        return f"i{index}.jpg"

    def image(self, index: int) -> np.ndarray:
        return np.full((4, 4, 3), index, np.uint8)

    def labels(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise DataError(f"i{index}.xml", "broken")
        row: np.ndarray = self.all[index]
        return row

    def mask(self, index: int) -> np.ndarray | None:
        raise AssertionError("the masks are not for training")


def _step(strict: bool = False) -> Step:
    return Step(name="s", folder=Path(), done=False, seconds_before=0, strict=strict)


LABELS = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_images_with_excluded_classes_alone_are_left_out() -> None:
    training = ClassifierConfig(exclude=["a"])
    images, epochs = training_images(training, [1, 2], _Labelled(LABELS), _step())
    assert epochs is None
    assert [images.name(i) for i in range(len(images))] == ["i1", "i2", "i3", "i4"]
    assert images.classes == ("b", "c")
    assert [images.labels(i).tolist() for i in range(4)] == [[1, 0], [1, 0], [0, 0], [0, 1]]
    assert images.image(1)[0, 0, 0] == 2


def test_a_classifier_of_one_class_learns_from_all_images() -> None:
    images, epochs = training_images(
        PersonClassifierConfig(balance="both", balance_target=3), [2], _Labelled(LABELS), _step()
    )
    assert len(images) == 6
    assert epochs is not None
    drawn = epochs.draw(torch.Generator().manual_seed(0))
    assert sorted(bool(images.labels(i)[0]) for i in drawn) == [False] * 3 + [True] * 3


def test_images_with_unreadable_labels_are_noted() -> None:
    this = _step()
    images, _ = training_images(ClassifierConfig(exclude=["a"]), [1, 2], _Labelled(LABELS, 4), this)
    assert [images.name(i) for i in range(len(images))] == ["i1", "i2", "i3"]
    assert list(this.skipped) == ["i4"]
    with pytest.raises(DataError, match="broken"):
        training_images(ClassifierConfig(exclude=["a"]), [1, 2], _Labelled(LABELS, 4), _step(strict=True))


def test_nothing_left_to_learn_from_is_an_error() -> None:
    with pytest.raises(DataError, match="one of the classes b, c, got none"):
        training_images(ClassifierConfig(exclude=["a"]), [1, 2], _Labelled([[1, 0, 0]]), _step())


def test_without_options_no_label_is_read_beforehand() -> None:
    images, epochs = training_images(ClassifierConfig(), [0, 1, 2], _Labelled(LABELS, 0), _step(strict=True))
    assert isinstance(images, Selection)
    assert (len(images), epochs) == (6, None)


# --- the steps -----------------------------------------------------------------------------------------


def _rows(folder: Path, name: str = "history.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def all_options(make_config: Callable[..., Config]) -> Config:
    config = make_config()
    name = open_images(config.data, "train").classes[1]
    options: dict[str, Any] = {
        "augmentation": "strong",
        "dropout": 0.2,
        "drop_path": 0.1,
        "label_smoothing": 0.1,
        "mixup": 0.4,
        "random_erasing": 0.5,
        "balance": "both",
        "optimizer": "adam",
        "schedule": "step",
        "step_epochs": 1,
        "lr_backbone": 1e-3,
        "lr_head": 1e-3,
    }
    person = {k: v for k, v in vars(config.classifier).items() if k != "exclude"}
    return replace(
        config,
        classifier=replace(config.classifier, exclude=[name], **options),
        person=PersonConfig(merge="after", name=name, classifier=PersonClassifierConfig(**person)),
    )


@pytest.mark.slow
def test_all_options_together_and_resumed(all_options: Config, tmp_path: Path) -> None:
    config = replace(
        all_options,
        data=replace(all_options.data, workers=2),
        logs=replace(all_options.logs, every=1),
        checkpoints=replace(all_options.checkpoints, every=1),
    )
    train_classifier(config)
    folder = Path(config.output) / "train-classifier"
    tensors, _ = load_tensors(folder / "weights.safetensors")
    classes = len(open_images(config.data, "train").classes)
    assert tensors["head.bias"].shape == (classes - 1,)
    metrics = read_json(folder / "metrics.json")
    assert len(metrics["classes"]) == len(metrics["ap"]) == len(metrics["accuracy"]) == classes - 1
    assert config.person.name not in metrics["classes"]
    rows = _rows(folder)
    assert float(rows[-1]["val_map"]) == pytest.approx(metrics["map"], abs=1e-5)
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(np.mean(metrics["accuracy"]), abs=1e-5)
    assert {"val_f1_macro", "val_f1_micro"} <= set(rows[-1])

    # Stopped in the second epoch and taken up again, without the workers: the same weights.
    again = replace(config, output=str(tmp_path / "again"), data=replace(config.data, workers=0))
    steps = len(_rows(folder, "steps.csv")) // 2
    with stopped_after(steps + 1), pytest.raises(Stopped):
        train_classifier(again)
    train_classifier(again)
    resumed, _ = load_tensors(Path(again.output) / "train-classifier" / "weights.safetensors")
    assert all(torch.equal(resumed[key], value) for key, value in tensors.items())


@pytest.mark.slow
def test_the_person_classifier_has_one_logit(all_options: Config) -> None:
    train_person_classifier(all_options)
    folder = Path(all_options.output) / "train-person-classifier"
    tensors, _ = load_tensors(folder / "weights.safetensors")
    assert tensors["head.bias"].shape == (1,)
    metrics = read_json(folder / "metrics.json")
    assert metrics["classes"] == [all_options.person.name]
    images = open_images(all_options.data, "val")
    column = images.classes.index(all_options.person.name)
    assert metrics["positives"] == [sum(int(images.labels(i)[column]) for i in range(len(images)))]
    assert len(_rows(folder)) == 2


def test_at_a_rate_of_zero_the_backbone_is_frozen(make_config: Callable[..., Config]) -> None:
    config = make_config()
    config.classifier = replace(config.classifier, lr_backbone=0.0)
    train_classifier(config)
    seed_first_weights(config, "train-classifier")
    first = Classifier(config.classifier.backbone, 6).state_dict()
    trained, _ = load_tensors(Path(config.output) / "train-classifier" / "weights.safetensors")
    assert {key for key in first if not torch.equal(trained[key], first[key])} == {"head.weight", "head.bias"}
