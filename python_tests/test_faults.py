"""What the machine does to a run: full disks, lost workers, files that go bad. Each time one message and no
traceback, and the same command goes on once it is put right.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from small_disk import NO_SPACE, fill
from tiny_run import tiny_config

from wsss_fast import files
from wsss_fast.cli import main
from wsss_fast.config import Config, DataConfig, ShapesConfig
from wsss_fast.config_file import save
from wsss_fast.data import open_images
from wsss_fast.files import DataError, WriteError, read_json, write_image
from wsss_fast.steps import train_classifier as classifier_step


def _data(root: Path) -> DataConfig:
    """Images as files: 2 a batch of inference."""
    shapes = DataConfig(workers=0, shapes=ShapesConfig(train=8, val=4, size=256))
    lines = []
    for role in ("train", "val"):
        images = open_images(shapes, role)  # type: ignore[arg-type]
        for i in range(len(images)):
            write_image(root / "images" / f"{images.name(i)}.png", images.image(i))
            lines.append(",".join([images.name(i), *map(str, images.labels(i).astype(int)), role]))
    (root / "labels.csv").write_text("\n".join([f"name,{','.join(images.classes)},split", *lines]) + "\n")
    return DataConfig(reader="folder", root=str(root), workers=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run whose classifier is trained and whose activation maps are made, undisturbed."""
    folder = tmp_path_factory.mktemp("base")
    config = tiny_config(folder / "run", _data(folder / "data"))
    assert command("train-classifier", config) == 0
    assert command("make-cams", config) == 0
    return config


def command(name: str, config: Config, *options: str) -> int:
    path = Path(config.output).with_suffix(".yaml")
    save(config, path)
    return main([name, "--config", str(path), *options])


def with_classifier(base: Config, folder: Path) -> Config:
    """As ``base``, with the data in a copy of its own and no activation maps yet."""
    shutil.copytree(Path(base.output) / "train-classifier", folder / "run/train-classifier")
    return replace(base, output=str(folder / "run"))


def results(config: Config, step: str) -> dict[str, bytes]:
    """All that a step has written but its books."""
    folder = Path(config.output) / step
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("step"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def check_message(text: str, name: str, *parts: str) -> None:
    """One error, of one line, and no traceback."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if f"wsss-fast {name}: error: " in line]
    assert len(lines) == 1, text
    for part in parts:
        assert part in lines[0]


# --- a full disk ---------------------------------------------------------------------------------------


LARGE = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)

WRITERS: dict[str, Callable[[Path], None]] = {
    "a.json": lambda path: files.write_json(path, LARGE),
    "a.npz": lambda path: files.write_npz(path, a=LARGE),
    "b.npz": lambda path: files.write_npz(path, compress=True, a=LARGE),
    "a.png": lambda path: files.write_mask(path, LARGE[..., 0]),
    "b.png": lambda path: files.write_image(path, LARGE),
    "a.safetensors": lambda path: files.save_tensors(path, {"a": torch.from_numpy(LARGE)}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_does_not_fit_is_not_there(disk: Path, name: str) -> None:
    fill(disk, free=20_000)
    with pytest.raises(WriteError, match=re.escape(str(disk / name))) as caught:
        WRITERS[name](disk / name)
    assert caught.value.errno == errno.ENOSPC
    assert NO_SPACE in str(caught.value)
    assert not isinstance(caught.value, DataError)  # with which a step would skip the image and go on
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_inference_on_a_full_disk(base: Config, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = with_classifier(base, disk)
    maps = sum(len(content) for content in results(base, "make-cams").values())
    ballast = fill(disk, free=maps // 2)
    assert command("make-cams", config) == 1
    check_message(capsys.readouterr().err, "make-cams", str(disk), NO_SPACE)
    expected, got = results(base, "make-cams"), results(config, "make-cams")
    assert 0 < len(got) < len(expected)
    assert all(expected[name] == content for name, content in got.items())
    ballast.unlink()
    assert command("make-cams", config) == 0
    assert results(config, "make-cams") == expected


def test_a_mask_that_cannot_be_written_is_not_skipped(
    base: Config, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_classifier(base, disk)
    shutil.copytree(Path(base.output) / "make-cams", disk / "run/make-cams")
    ballast = fill(disk, free=12_288)
    assert command("make-ir-labels", config) == 1
    check_message(capsys.readouterr().err, "make-ir-labels", str(disk), NO_SPACE)
    ballast.unlink()
    assert command("make-ir-labels", config) == 0
    assert read_json(disk / "run/make-ir-labels/step.json")["skipped"] == []
    assert len(results(config, "make-ir-labels")) == 12


def test_training_on_a_full_disk(base: Config, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(base, output=str(disk / "run"))
    ballast = fill(disk, free=100_000)
    assert command("train-classifier", config) == 1
    check_message(capsys.readouterr().err, "train-classifier", str(disk), NO_SPACE)
    assert not [name for name in results(config, "train-classifier") if name.endswith(".safetensors")]
    ballast.unlink()
    assert command("train-classifier", config) == 0
    assert results(config, "train-classifier") == results(base, "train-classifier")


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    assert main(["make-cams", "--output", str(tmp_path / "run")]) == 1
    check_message(capsys.readouterr().err, "make-cams", str(tmp_path / "run/config.yaml"), NO_SPACE)
    assert list(tmp_path.iterdir()) == []  # the folder was made for nothing


# --- a lost worker -------------------------------------------------------------------------------------


def kill_workers() -> None:
    """All of this process: among them may be one that the test before has lost touch with."""
    workers = [child for child in multiprocessing.active_children() if child.is_alive()]
    assert workers
    for worker in workers:
        worker.kill()
    time.sleep(5)  # the signal ends it: torch looks then whether a worker is gone, which `join` would hide


def test_inference_that_loses_a_worker(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_classifier(base, tmp_path)
    savez = np.savez
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", lambda *args, **arrays: (kill_workers(), savez(*args, **arrays)))
        assert command("make-cams", config, "--data.workers=2") == 1
    check_message(capsys.readouterr().err, "make-cams", "data.workers", "'Killed'", "memory")
    assert command("make-cams", config, "--data.workers=2") == 0
    assert results(config, "make-cams") == results(base, "make-cams")


def test_training_that_loses_a_worker(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(base, output=str(tmp_path / "run"))
    loss = classifier_step.ClassifierLoss.__call__
    steps: list[object] = []

    def third_is_fatal(self: classifier_step.ClassifierLoss, *args: torch.Tensor) -> torch.Tensor:
        steps.append(args)
        if len(steps) == 3:  # the first of the second epoch
            kill_workers()
        return loss(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(classifier_step.ClassifierLoss, "__call__", third_is_fatal)
        assert command("train-classifier", config, "--data.workers=2") == 1
    check_message(capsys.readouterr().err, "train-classifier", "data.workers", "'Killed'", "memory")
    assert command("train-classifier", config, "--data.workers=2") == 0
    assert results(config, "train-classifier") == results(base, "train-classifier")


ORPHANS = """
import multiprocessing, sys, time
import numpy as np
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.inference_loader import read_images

class Large(ImageSet):
    classes = ("a",)
    __len__ = lambda self: 100
    name = source = lambda self, index: str(index)
    image = lambda self, index: np.zeros((400, 400, 3), np.uint8)  # more than a pipe holds
    labels = lambda self, index: np.ones(1, bool)
    mask = lambda self, index: None

for image in read_images(Large(), workers=2):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(1000)
"""


def test_workers_end_with_a_process_that_is_killed() -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", ORPHANS],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert reader.stdout is not None
    workers = [int(word) for word in reader.stdout.readline().split()]
    assert len(workers) == 2
    reader.kill()
    # They hold the other end of its output: it ends with the last of them, or this test hangs.
    reader.stdout.read()
    reader.wait()


# --- files that go bad in mid-run ----------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
def test_an_image_that_goes_bad(
    base: Config,
    tmp_path: Path,
    strict: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = with_classifier(base, tmp_path)
    image = Path(base.data.root or "") / "images/val_00002.png"
    good = image.read_bytes()
    savez = np.savez

    def spoil(*args: object, **arrays: np.ndarray) -> None:
        image.write_bytes(good[:50])
        savez(*args, **arrays)  # type: ignore[arg-type]

    try:
        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", spoil)
            code = command("make-cams", config, "--strict" if strict else "--no-strict")
    finally:
        image.write_bytes(good)
    expected = results(base, "make-cams")
    said = capsys.readouterr()
    if strict:
        assert code == 1
        check_message(said.err, "make-cams", str(image), "expected an image")
        assert command("make-cams", config, "--strict") == 0
    else:
        assert code == 0
        assert str(image) in said.out
        state = read_json(Path(config.output) / "make-cams/step.json")
        assert [entry["file"] for entry in state["skipped"]] == [str(image)]
        expected.pop("val/val_00002.npz")
    assert results(config, "make-cams") == expected


def _of_another_network(path: Path) -> None:
    tensors, _ = files.load_tensors(path)
    files.save_tensors(path, {f"other.{name}": value for name, value in tensors.items()})


def _of_another_size(path: Path) -> None:
    tensors, _ = files.load_tensors(path)
    files.save_tensors(path, {**tensors, "head.weight": torch.zeros(3, 5)})


def _not_finite(path: Path) -> None:
    tensors, _ = files.load_tensors(path)
    files.save_tensors(path, {**tensors, "head.weight": tensors["head.weight"].mul(torch.nan)})


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another network": (_of_another_network, "tensors missing (the first: "),
    "another size": (_of_another_size, "head.weight, [3, 5] instead of ["),
    "not finite": (_not_finite, "values that are not finite in head.weight"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "expected a .safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "got an empty file"),
    "no weights": (lambda path: path.write_text("hello"), "expected a .safetensors file"),
    "gone": (lambda path: path.unlink(), "got no such file"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_weights_that_go_bad(
    base: Config, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_classifier(base, tmp_path)
    path = Path(config.output) / "train-classifier/weights.safetensors"
    good = path.read_bytes()
    spoil, message = BAD_WEIGHTS[kind]
    spoil(path)
    assert command("make-cams", config) == 1
    check_message(capsys.readouterr().err, "make-cams", str(path), message)
    assert results(config, "make-cams") == {}
    path.write_bytes(good)
    assert command("make-cams", config) == 0
    assert results(config, "make-cams") == results(base, "make-cams")


# --- a folder without permission -----------------------------------------------------------------------


def without_rights(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that may not write everywhere even where root runs it."""
    code = "import sys\nfrom wsss_fast.cli import main\nsys.exit(main())"
    limited: list[str] = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv has all rights")
        limited = ["setpriv", "--bounding-set=-dac_override"]
    return subprocess.run(
        [*limited, sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
        check=False,
    )


def test_an_output_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    done = without_rights("make-cams", "--output", str(tmp_path / "run"))
    assert done.returncode == 2, done.stderr
    check_message(done.stderr, "make-cams", "output: ", str(tmp_path / "run"), "Permission denied")


def test_the_folder_of_a_step_without_permission(base: Config, tmp_path: Path) -> None:
    config = with_classifier(base, tmp_path)
    folder = Path(config.output) / "make-cams"
    folder.mkdir(mode=0o555)
    save(config, tmp_path / "run.yaml")
    done = without_rights("make-cams", "--config", str(tmp_path / "run.yaml"))
    assert done.returncode == 1, done.stderr
    check_message(done.stderr, "make-cams", str(folder), "Permission denied")
    folder.chmod(0o755)
    assert command("make-cams", config) == 0
    assert results(config, "make-cams") == results(base, "make-cams")
