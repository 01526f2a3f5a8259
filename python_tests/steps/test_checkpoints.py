"""Checkpoints: a training that was stopped anywhere ends, to the bit, as one that was not."""

from __future__ import annotations

import os
import shutil
import signal
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
from torch._dynamo.utils import counters

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from several_processes import Stopped, stopped_after, train, unreadable

from wsss_fast.config import Config, TrainingConfig
from wsss_fast.config_file import save
from wsss_fast.files import DataError, load_tensors, read_json
from wsss_fast.steps import _training, _training_loop
from wsss_fast.steps import train_classifier as train_classifier_step
from wsss_fast.steps._checkpoints import Checkpoints, Progress, random_state, restore
from wsss_fast.steps._optimizer import make_optimizer
from wsss_fast.steps.train_classifier import train_classifier

STEP = "train-classifier"
RESULTS = ("weights.safetensors", "history.csv", "steps.csv", "metrics.json")


def drawing(config: Config, output: Path, **more: Any) -> Config:
    """A training of three epochs of three steps, whose network draws random numbers in training."""
    options: dict[str, Any] = {"dropout": 0.2, "drop_path": 0.1, "mixup": 0.4, "optimizer": "adamw", **more}
    return replace(
        config,
        output=str(output),
        classifier=replace(config.classifier, epochs=3, **options),
        checkpoints=replace(config.checkpoints, every=2),
        logs=replace(config.logs, every=2),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A training that nothing has stopped; its fourth image cannot be read."""
    from tiny_run import tiny_config

    folder = tmp_path_factory.mktemp("whole")
    config = drawing(tiny_config(folder), folder / "run")
    with unreadable(3):
        train_classifier(config)
    return config


def again(whole: Config, tmp_path: Path) -> tuple[Config, Path]:
    output = tmp_path / "again"
    return replace(whole, output=str(output)), output / STEP / "checkpoints"


def stop_after(config: Config, steps: int) -> None:
    with unreadable(3), stopped_after(steps), pytest.raises(Stopped):
        train_classifier(config)


def finish(config: Config, whole: Config) -> None:
    """Go on, and compare."""
    with unreadable(3):
        train_classifier(config)
    found, expected = (Path(of.output) / STEP for of in (config, whole))
    for name in RESULTS:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    assert read_json(found / "step.json")["skipped"] == read_json(expected / "step.json")["skipped"] != []
    assert sorted(p.name for p in found.iterdir()) == sorted([*RESULTS, "step.json"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("steps", [0, 1, 4, 5, 6, 8])
def test_stopped_anywhere(whole: Config, tmp_path: Path, steps: int) -> None:
    config, _ = again(whole, tmp_path)
    stop_after(config, steps)
    finish(config, whole)


def test_stopped_again_and_again(whole: Config, tmp_path: Path) -> None:
    config, checkpoints = again(whole, tmp_path)
    kept = []
    for _ in range(4):
        stop_after(config, 2)
        kept.append(names(checkpoints))
    # One comes every two steps and after each epoch of three; in the fifth step it begins at the fourth.
    assert kept == [
        ["step-00000002.safetensors"],
        ["step-00000003.safetensors", "step-00000004.safetensors"],
        ["step-00000004.safetensors", "step-00000006.safetensors"],
        ["step-00000006.safetensors", "step-00000008.safetensors"],
    ]
    finish(config, whole)


def test_read_by_workers_or_not(whole: Config, tmp_path: Path) -> None:
    config, _ = again(whole, tmp_path)
    stop_after(config, 5)
    finish(replace(config, data=replace(config.data, workers=2)), whole)


@pytest.mark.slow
def test_killed(whole: Config, tmp_path: Path) -> None:
    config, checkpoints = again(whole, tmp_path)
    config.threads = torch.get_num_threads()  # which the last bits depend on
    save(config, tmp_path / "config.yaml")
    script = """
import os, signal, sys
from pathlib import Path
from unittest import mock
from several_processes import load, train, unreadable
from wsss_fast.steps import _log

def killed(*_):  # in the middle of writing what comes before the third checkpoint
    if killed.writes == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    killed.writes += 1
    write(*_)

killed.writes, write = 0, _log.TrainingLog.write
with unreadable(3), mock.patch.object(_log.TrainingLog, "write", killed):
    train("train-classifier", load(Path(sys.argv[1])))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "config.yaml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(checkpoints) == ["step-00000002.safetensors", "step-00000003.safetensors"]
    finish(config, whole)


@pytest.mark.parametrize("last", ["save_tensors", "clear"])
def test_stopped_at_the_very_end(
    whole: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Before the weights are written, and between them and step.json."""
    config, _ = again(whole, tmp_path)

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched, unreadable(3):
        patched.setattr(_training if last == "save_tensors" else Checkpoints, last, stop)
        with pytest.raises(Stopped):
            train_classifier(config)
    with monkeypatch.context() as patched:  # nothing is trained again
        patched.setattr(_training_loop.TrainingLoop, "_step", stop)
        finish(config, whole)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "other"])
def test_the_one_before_a_damaged_one_is_taken(
    whole: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    config, checkpoints = again(whole, tmp_path)
    stop_after(config, 5)
    newest = checkpoints / "step-00000004.safetensors"
    content = newest.read_bytes()
    newest.write_bytes(
        {
            "cut": content[:-100],
            "zeros": content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
            "empty": b"",
            "other": (Path(whole.output) / STEP / "weights.safetensors").read_bytes(),
        }[damage]
    )
    finish(config, whole)
    said = capsys.readouterr().out
    assert f"{newest}: expected a" in said
    assert "taking the checkpoint before it" in said


def test_without_any_that_can_be_read_it_says_so(whole: Config, tmp_path: Path) -> None:
    config, checkpoints = again(whole, tmp_path)
    config = replace(config, checkpoints=replace(config.checkpoints, keep=1))
    stop_after(config, 5)
    assert names(checkpoints) == ["step-00000004.safetensors"]
    (checkpoints / "step-00000004.safetensors").write_bytes(b"none")
    with pytest.raises(DataError, match="without this folder the training starts anew"):
        train_classifier(config)
    shutil.rmtree(checkpoints)
    finish(config, whole)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    def parts(width: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Linear(3, width)
        return model, make_optimizer(TrainingConfig(), [{"params": model.parameters(), "lr": 0.1}])

    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(*parts(2), Progress(step=7), [random_state()])
    (path,) = checkpoints.paths()
    with pytest.raises(DataError, match="expected a checkpoint of this training, got"):
        restore(path, *parts(3))


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    groups = [{"params": model.parameters(), "lr": 0.1}]
    optimizer = make_optimizer(TrainingConfig(optimizer="adam"), groups)
    for _ in range(2):
        model(torch.randn(2, 3, 5, 5)).pow(2).sum().backward()
        optimizer.step()
    done = Progress(
        step=12,
        epoch=1,
        position=4,
        sums={"loss": 1 / 3, "part": 1e-300},
        history=[{"epoch": 1.0, "loss": 0.1 + 0.2, "val_map": float("nan")}],
        skipped=[{"name": "a", "file": "a.jpg", "reason": "expected «ü», got nothing"}],
        scaler={"scale": 65536.0, "_growth_tracker": 3},
    )
    states = [random_state(), {"cpu": torch.Generator().manual_seed(8).get_state()}]
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(model, optimizer, done, states)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    other = make_optimizer(TrainingConfig(optimizer="adam"), [{"params": fresh.parameters(), "lr": 0.1}])
    path = checkpoints.newest(pytest.fail)
    assert path is not None
    restored = restore(path, fresh, other)
    assert repr(restored.progress) == repr(done)  # NaN is not equal to itself
    for found, expected in zip(restored.random_states, states, strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[kind], state) for kind, state in expected.items())
    assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in model.state_dict().items())
    before, after = optimizer.state_dict()["state"], other.state_dict()["state"]
    for index, state in before.items():
        for key, value in state.items():
            assert torch.equal(after[index][key], value)
            assert after[index][key].stride() == value.stride()


# --- what a step of the optimizer is made of ------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_step(finished_run: Config, tmp_path: Path) -> None:
    """Of a network without batch norms in training: IRNet's."""
    tensors = []
    for parts in (1, 2, 4):
        output = tmp_path / str(parts)
        for step in Path(finished_run.output).iterdir():
            if step.name in (STEP, "make-cams", "make-ir-labels"):
                shutil.copytree(step, output / step.name)
        # Of one class of pixels a part may have more than another, which the loss of a part is divided by.
        irnet = replace(finished_run.irnet, accumulate=parts, epochs=1)
        config = replace(finished_run, output=str(output), irnet=irnet)
        with one_image_again_and_again():
            train("train-irnet", config)
        tensors.append(load_tensors(output / "train-irnet" / "weights.safetensors")[0])
    for other in tensors[1:]:
        for key, value in tensors[0].items():
            if key != "mean_shift.running_mean":  # a mean that runs on with every part
                close(other[key].double(), value, rtol=1e-3, atol=1e-5)


def one_image_again_and_again() -> Any:
    """All images of a batch are one, so that all parts of it have equal counts."""
    from unittest import mock

    from wsss_fast.data.training_loader import TrainingSet

    item: Callable[..., Any] = TrainingSet.__getitem__
    return mock.patch.object(TrainingSet, "__getitem__", lambda self, draw: item(self, (2, 5)))


class Small(nn.Module):
    """A classifier that is compiled in seconds."""

    def __init__(self, _: Any, classes: int, *__: Any) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(images).mean((2, 3)))
        return logits


@pytest.mark.slow
def test_a_compiled_network_trains_as_it_is(
    whole: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("the compiler of torch on the CPU needs g++")
    monkeypatch.setattr(train_classifier_step, "Classifier", Small)
    folders = []
    for compiled in (False, True):
        config = replace(whole, output=str(tmp_path / f"compiled-{compiled}"), compile=compiled)
        graphs = counters["stats"]["unique_graphs"]
        with stopped_after(5), pytest.raises(Stopped):
            train_classifier(config)
        assert (counters["stats"]["unique_graphs"] > graphs) == compiled
        folders.append(Path(config.output) / STEP / "checkpoints")
    plain, compiled_ones = (load_tensors(folder / "step-00000004.safetensors")[0] for folder in folders)
    assert list(compiled_ones) == list(plain)
    for key, value in plain.items():
        close(compiled_ones[key].double(), value, rtol=1e-3, atol=1e-5)
    # One that has begun as it is goes on compiled, and the other way round.
    for config in (replace(whole, output=str(tmp_path / f"compiled-{first}")) for first in (False, True)):
        train_classifier(replace(config, compile=not config.output.endswith("True")))
        assert read_json(Path(config.output) / STEP / "step.json")["done"]
