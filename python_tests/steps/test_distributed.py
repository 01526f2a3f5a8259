"""Trainings by several processes, which torchrun starts: what they give is what one gives.

How near: batch norms add up their statistics in another order, and gradients are averaged over processes, so
weights differ in their last bits after the first step, and the difference grows as in two trainings whose
first weights differ by as little. Over the nine steps here losses of the classifier and IRNet are equal in
the six digits of steps.csv, those of the segmenter differ by at most 4e-4 of their value. At ten times
its learning rate those differ by 5e-5 after three steps and by 1e-2 after five, and so they do, two steps
later, between two trainings by one process if the first weights of one are changed by 1e-7: DeepLabv3+ has a
batch norm over one number an image and channel, which a batch of four leaves ill-conditioned.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import close
from torch import nn

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from several_processes import train, unreadable

from wsss_fast.config import Config, ConfigError
from wsss_fast.config_file import save
from wsss_fast.files import load_tensors, read_json
from wsss_fast.models.joint_batch_norm import JointBatchNorm
from wsss_fast.steps._cores import core_count
from wsss_fast.steps._device import device_of
from wsss_fast.steps._several import prepare_for_several
from wsss_fast.steps._step import Step
from wsss_fast.steps._training import start_training
from wsss_fast.steps.run import run
from wsss_fast.steps.train_classifier import train_classifier

TRAININGS = ("train-classifier", "train-irnet", "train-segmenter")
SCRIPT = Path(__file__).with_name("several_processes.py")

TOLERANCE = {"train-classifier": 1e-5, "train-irnet": 1e-5, "train-segmenter": 2e-3}
"""Of losses, relative."""


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [*run, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "PYTHONPATH": path},
    )


def with_draws(config: Config) -> Config:
    """One in which networks draw random numbers in training, and a checkpoint comes after three steps."""
    options: dict[str, Any] = {"dropout": 0.2, "drop_path": 0.1, "mixup": 0.4, "optimizer": "adam"}
    return replace(
        config,
        classifier=replace(config.classifier, epochs=3, **options),
        checkpoints=replace(config.checkpoints, every=2),
        logs=replace(config.logs, every=2),
    )


class Together:
    """Two processes have trained in ``folder``; ``one`` has the config of the same by one process."""

    def __init__(self, folder: Path, finished_run: Config) -> None:
        self.folder = folder
        self.finished = finished_run
        folder.mkdir(exist_ok=True)
        for name in TRAININGS:
            save(self.config(name, "two"), folder / f"{name}.yaml")
        save(self.frozen("two", accumulate=2), folder / "frozen.yaml")
        for name in ("whole", "stopped", "fewer"):
            save(with_draws(replace(finished_run, output=str(folder / name))), folder / f"{name}.yaml")
        self.done = torchrun(2, str(SCRIPT), "trainings", str(folder))
        assert self.done.returncode == 0, self.done.stderr

    def frozen(self, which: str, accumulate: int) -> Config:
        """Of a training of the classifier's last layer."""
        classifier = replace(self.finished.classifier, epochs=3, lr_backbone=0.0, accumulate=accumulate)
        output = str(self.folder / which / "frozen")
        logs = replace(self.finished.logs, every=1)
        return replace(self.finished, output=output, logs=logs, classifier=classifier)

    def config(self, training: str, which: str) -> Config:
        """Of a training whose earlier steps are done."""
        output = self.folder / which / training
        for step in Path(self.finished.output).iterdir():
            if training != "train-classifier" and step.name.startswith(("train-classifier", "make-")):
                shutil.copytree(step, output / step.name)
        if training == "train-segmenter":
            shutil.copytree(Path(self.finished.output) / "train-irnet", output / "train-irnet")
        config = replace(self.finished, output=str(output), logs=replace(self.finished.logs, every=1))
        if training == "train-segmenter":
            return replace(
                config, segmenter=replace(config.segmenter, epochs=3, lr_backbone=1e-3, lr_head=1e-3)
            )
        section = training.removeprefix("train-")
        draws = {"dropout": 0.2, "drop_path": 0.1} if section == "classifier" else {}
        return replace(config, **{section: replace(getattr(config, section), epochs=3, **draws)})


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, finished_run: Config) -> Together:
    return Together(tmp_path_factory.mktemp("together"), finished_run)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_as_one_does(together: Together, name: str) -> None:
    train(name, together.config(name, "one"))
    one, two = (together.folder / which / name / name for which in ("one", "two"))
    steps = rows(two / "steps.csv")
    assert [row["step"] for row in steps] == list(range(1, 10))
    for found, expected in zip(steps, rows(one / "steps.csv"), strict=True):
        assert found == pytest.approx(expected, rel=TOLERANCE[name], abs=TOLERANCE[name])
    history = rows(two / "history.csv")
    for found, expected in zip(history, rows(one / "history.csv"), strict=True):
        assert found == pytest.approx(expected, rel=TOLERANCE[name], abs=TOLERANCE[name])
    assert read_json(two / "step.json")["done"]
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())
    weights, expected_weights = (load_tensors(folder / "weights.safetensors")[0] for folder in (two, one))
    assert list(weights) == list(expected_weights)
    for key, value in weights.items():
        close(value.double(), expected_weights[key], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_in_parts_too(together: Together) -> None:
    """In two parts of one image, each of two processes does what one does with four images."""
    train("train-classifier", together.frozen("one", accumulate=1))
    one, two = (together.folder / which / "frozen/train-classifier" for which in ("one", "two"))
    for found, expected in zip(rows(two / "steps.csv"), rows(one / "steps.csv"), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    weights, expected_weights = (load_tensors(folder / "weights.safetensors")[0] for folder in (two, one))
    for key, value in weights.items():
        close(value.float(), expected_weights[key])


@pytest.mark.slow
def test_two_that_were_stopped_end_as_two_that_were_not(together: Together) -> None:
    whole, stopped = (together.folder / name / "train-classifier" for name in ("whole", "stopped"))
    for name in ("weights.safetensors", "history.csv", "steps.csv", "metrics.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    # What only the second process could not read is noted by the first.
    for folder in (whole, stopped):
        (skipped,) = read_json(folder / "step.json")["skipped"]
        assert skipped["reason"] == "broken"


@pytest.mark.slow
def test_one_goes_on_with_what_two_have_begun(together: Together, capsys: pytest.CaptureFixture[str]) -> None:
    config = with_draws(replace(together.finished, output=str(together.folder / "fewer")))
    # In the middle of the second epoch.
    assert (together.folder / "fewer/train-classifier/checkpoints/step-00000004.safetensors").exists()
    with unreadable(3):
        train_classifier(config)
    assert "goes on with 1 processes, 2 before" in capsys.readouterr().out
    folder = together.folder / "fewer" / "train-classifier"
    assert read_json(folder / "step.json")["done"]
    ended, whole = (rows(f / "history.csv") for f in (folder, together.folder / "whole/train-classifier"))
    assert ended[0] == whole[0]
    assert [row["loss"] for row in ended] == pytest.approx([row["loss"] for row in whole], rel=0.2)


@pytest.mark.slow
def test_batch_norms_of_two_are_one_over_all_their_images(together: Together) -> None:
    found = torch.load(together.folder / "norm.pt", weights_only=True)
    torch.manual_seed(5)
    images = torch.randn(6, 3, 4, 5).double().add(torch.linspace(-3, 3, 3).view(3, 1, 1)).float()
    norm = nn.BatchNorm2d(3)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    own = images.clone().requires_grad_()
    out = norm(own)
    (out * torch.arange(3.0).view(3, 1, 1) * images).pow(2).sum().backward()
    close(found["out"], out.detach())
    assert own.grad is not None
    close(found["gradient"], own.grad)
    for name, parameter in norm.named_parameters():
        assert parameter.grad is not None
        close(found[f"of.0.{name}"], parameter.grad)
    for name, value in norm.state_dict().items():
        close(found[f"0.{name}"].float(), value)


@pytest.mark.slow
def test_processes_share_the_cores(together: Together) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    answers = json.loads((together.folder / "answers.json").read_text())
    assert [answer["threads"] for answer in answers] == [max(1, cores // 2)] * 2


@pytest.mark.slow
def test_if_one_fails_so_do_all(finished_run: Config, tmp_path: Path) -> None:
    save(replace(finished_run, output=str(tmp_path / "run")), tmp_path / "config.yaml")
    done = torchrun(2, str(SCRIPT), "one_fails", str(tmp_path))
    assert done.returncode != 0
    assert "there.jpg: no such luck" in done.stderr
    # The other is ended by torchrun, or sees by itself that it is alone.
    assert "[rank0]: Traceback" not in done.stderr
    assert not read_json(tmp_path / "run/train-classifier/step.json")["done"]


# --- without any other process --------------------------------------------------------------------------


def as_rank(monkeypatch: pytest.MonkeyPatch, **variables: int) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_inference_needs_no_other_process(
    monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    threads(1)
    as_rank(monkeypatch, RANK=1, WORLD_SIZE=3)
    assert device_of(Config(device="cpu")) == torch.device("cpu")
    assert torch.get_num_threads() == core_count()  # of a machine of its own, for all it knows
    as_rank(monkeypatch, LOCAL_WORLD_SIZE=3, LOCAL_RANK=1)
    device_of(Config(device="cpu"))
    assert torch.get_num_threads() == max(1, core_count() // 3)
    device_of(Config(device="cpu", threads=3))
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    as_rank(monkeypatch, RANK=2, LOCAL_RANK=2)
    assert device_of(Config()) == torch.device("cuda", 0)
    assert device_of(Config(device="cpu")) == torch.device("cpu")


def test_one_process_keeps_the_threads_it_has(threads: Callable[[int], None]) -> None:
    threads(1)
    device_of(Config(device="cpu"))
    assert torch.get_num_threads() == 1


def _step(name: str) -> Step:
    return Step(name=name, folder=Path(), done=False, seconds_before=0, strict=False)


def test_a_training_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(device="cpu")
    config.segmenter = replace(config.segmenter, batch_size=12, accumulate=2)
    as_rank(monkeypatch, RANK=0, WORLD_SIZE=4, LOCAL_WORLD_SIZE=4, LOCAL_RANK=0)
    with pytest.raises(ConfigError, match=r"segmenter\.batch_size: expected a multiple of 8 .*, got 12"):
        start_training(config, _step("train-segmenter"))
    with pytest.raises(ConfigError, match=r"MASTER_ADDR, MASTER_PORT: expected .* start it by torchrun"):
        start_training(config, _step("train-classifier"))
    with pytest.raises(ConfigError, match=r"segmenter\.batch_size: expected a multiple of 8"):
        run(config)  # before its first step
    as_rank(monkeypatch, MASTER_ADDR=0, MASTER_PORT=0, LOCAL_WORLD_SIZE=3)
    with pytest.raises(ConfigError, match="LOCAL_WORLD_SIZE: expected as many processes on every machine"):
        start_training(config, _step("train-person-classifier"))


def test_tensorboard_that_is_missing_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = Config(device="cpu")
    config.logs = replace(config.logs, tensorboard=True)
    with pytest.raises(ConfigError, match=r"pip install 'wsss_fast\[tensorboard\]'"):
        start_training(config, _step("train-irnet"))


class Idle(nn.Module):
    """With a layer that nothing depends on, another that is frozen, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle, self.frozen = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.norm = nn.BatchNorm2d(3)
        self.frozen.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normal: torch.Tensor = self.norm(self.used(self.frozen(images)))
        return normal


@pytest.mark.parametrize("together", [True, False])
def test_what_several_processes_train(together: bool) -> None:
    model = Idle()
    config = Config(sync_batch_norm=together)
    before = model.state_dict()
    prepare_for_several(config, config.classifier, model, torch.device("cpu"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"used.weight", "used.bias", "norm.weight", "norm.bias"}
    assert isinstance(model.norm, JointBatchNorm) == together
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
