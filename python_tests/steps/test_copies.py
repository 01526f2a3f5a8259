"""Steps on a device: nothing is read back from it but by one wait an image or a batch."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from watched_device import DEVICE, Watch

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from lightning_fabric import Fabric

from wsss_fast.config import Config, CrfLossConfig, PersonClassifierConfig, PersonConfig
from wsss_fast.data import open_images
from wsss_fast.files import save_tensors
from wsss_fast.steps import _checkpoints, _copies, _device, _inference, _training
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._graph import upstream

PIXELS = 64 * 64
TRAIN, VALIDATION = 10, 4  # images of a tiny run
BATCHES = 3 + 1  # of the two splits, in fours

# How often the host may wait for the device in a step of a tiny run.
WAITS = {
    "train-classifier": 2 * (3 + 1),  # two epochs, each with its validation
    "make-cams": BATCHES,
    "make-ir-labels": TRAIN + VALIDATION,
    "train-irnet": 3,
    "make-pseudo-masks": BATCHES,
    "make-instance-masks": 2 * BATCHES,  # how many maps walk follows from the displacements
    "train-segmenter": 3,
    "refine-pseudo-masks": BATCHES,
    "retrain-segmenter": 3,
    "predict": 2,  # the validation images, alone and with augmentation
}


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The devices that were waited for."""
    waits: list[torch.device] = []
    monkeypatch.setattr(_copies, "_wait", waits.append)
    return waits


@pytest.mark.slow
@pytest.mark.parametrize("name", WAITS)
def test_a_step_waits_once_an_image_or_a_batch(
    finished_run: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[torch.device],
    name: str,
) -> None:
    assert reads_of(finished_run, tmp_path, monkeypatch, name) == []
    assert waits == [DEVICE] * WAITS[name]


# Steps with options that make more of a batch, and how often they may wait.
OPTIONS = {
    "train-classifier": (
        "classifier",
        {"mixup": 0.4, "label_smoothing": 0.1, "dropout": 0.2, "drop_path": 0.1, "random_erasing": 0.5},
        WAITS["train-classifier"],
    ),
    # Which classes are predicted has to be known before there are maps of them.
    "make-cams": ("cams", {"classes": "predicted", "method": "gradcam++", "layer": "layer3"}, 2 * BATCHES),
    "train-segmenter": ("segmenter", {"labels": "soft", "crf_loss": CrfLossConfig(weight=1e-6, sxy=20)}, 3),
    # The augmented prediction waits for its masks, and for those that the CRF makes of it.
    "predict": ("predict", {"crf": True}, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_so_does_a_step_with_options(
    finished_run: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[torch.device],
    name: str,
) -> None:
    section, options, expected = OPTIONS[name]
    config = Config(**{**vars(finished_run), section: replace(getattr(finished_run, section), **options)})
    assert reads_of(config, tmp_path, monkeypatch, name) == []
    assert waits == [DEVICE] * expected


@pytest.mark.slow
def test_so_do_the_steps_of_the_person(
    finished_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[torch.device]
) -> None:
    person = open_images(finished_run.data, "train").classes[0]
    training = PersonClassifierConfig(**{**vars(finished_run.classifier), "exclude": []})
    config = replace(
        finished_run,
        output=str(tmp_path / "trained"),
        classifier=replace(finished_run.classifier, exclude=[person]),
        person=PersonConfig(merge="after", name=person, classifier=training),
    )
    assert reads_of(config, tmp_path / "trained", monkeypatch, "train-person-classifier") == []
    assert waits == [DEVICE] * WAITS["train-classifier"]
    waits.clear()
    assert reads_of(config, tmp_path / "maps", monkeypatch, "make-person-cams") == []
    assert waits == [DEVICE] * WAITS["make-cams"]


def reads_of(finished_run: Config, output: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """What a step of a run reads of the device other than by such waits."""
    for before in upstream(finished_run, name)[:-1]:
        shutil.copytree(Path(finished_run.output) / before, output / before)
    config = Config(**{**vars(finished_run), "output": str(output)})
    step = getattr(
        importlib.import_module(f"wsss_fast.steps.{name.replace('-', '_')}"), name.replace("-", "_")
    )
    watch = Watch()

    def save(*arguments: Any) -> None:
        with watch.away():  # once an epoch
            save_tensors(*arguments)

    monkeypatch.setattr(Fabric, "device", DEVICE)
    monkeypatch.setattr(_device, "_device_at", lambda config, local_rank: DEVICE)
    monkeypatch.setattr(_training, "save_tensors", save)
    monkeypatch.setattr(_checkpoints.Checkpoints, "save", lambda *_: None)
    monkeypatch.setattr(_inference, "_BATCH_PIXELS", 4 * PIXELS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as on a device: an image after the other
    for looks in ("wsss_fast.ops.unary", "wsss_fast.nn.dense_crf_loss"):
        monkeypatch.setattr(f"{looks}.looking", lambda values: False)  # as on a device
    with watch:
        step(config)
    return watch.reads


def test_what_is_copied_back_is_waited_for_once(watch: Watch, waits: list[torch.device]) -> None:
    there = to_device(torch.arange(6), DEVICE)
    assert there.device == DEVICE
    first, second = to_host([there + 1, (there * 2).float()])
    assert (first.tolist(), second.tolist()) == ([1, 2, 3, 4, 5, 6], [0, 2, 4, 6, 8, 10])
    assert watch.reads == []
    assert waits == [DEVICE]


@pytest.mark.parametrize(
    "read",
    [
        torch.Tensor.cpu,
        torch.Tensor.tolist,
        torch.Tensor.nonzero,
        torch.Tensor.numpy,
        lambda there: there.to("cpu"),
        lambda there: there.to(device=torch.device("cpu")),
        lambda there: there[there > 2],
        lambda there: torch.zeros(6)[there > 2],
        lambda there: there.sum().item(),
        lambda there: float(there.sum()),
        lambda there: int(there[1]),
        lambda there: bool((there > 2).any()),
    ],
)
def test_the_watch_sees_what_reads(watch: Watch, read: Callable[[torch.Tensor], object]) -> None:
    read(torch.arange(6.0, device=DEVICE) + 1)
    assert len(watch.reads) == 1
    watch.reads.clear()
    read(torch.arange(6.0) + 1)
    assert watch.reads == []
