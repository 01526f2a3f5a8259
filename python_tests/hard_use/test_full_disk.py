"""A disk that is full at any moment of `prepare`, `evaluate` and `report` (the steps: test_faults.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("pycocotools", reason="needs the pipeline extra")

from odd_images import PNG
from small_disk import NO_SPACE, fill

from wsss_fast.cli import main
from wsss_fast.config import Config
from wsss_fast.config_file import save
from wsss_fast.files import write_mask

PAGE = 4096
"""What a file takes at least of such a disk."""

NAMES = [f"image-{i}" for i in range(40)]


def _images(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (folder / f"{name}{suffix}").write_bytes(PNG + bytes(i))


def _annotations(folder: Path, label: str) -> None:
    folder.mkdir(parents=True)
    for name in NAMES:
        text = f"<annotation><object><name>{label}</name></object></annotation>"
        (folder / f"{name}.xml").write_text(text)


def _lid(root: Path) -> list[str]:
    for split in ("train", "val"):
        _images(root / "Data/DET" / split, ".JPEG")
        _annotations(root / "Annotations/DET" / split, "n02129165")
    (root / "ImageSets/DET").mkdir(parents=True)
    (root / "ImageSets/DET/val.txt").write_text("".join(f"{name} 1\n" for name in NAMES))
    return ["lid", f"--source={root}"]


def _voc(root: Path) -> list[str]:
    _images(root / "JPEGImages", ".jpg")
    _annotations(root / "Annotations", "cat")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(NAMES))
    return ["voc", f"--source={root}"]


def _coco(root: Path) -> list[str]:
    (root / "annotations").mkdir(parents=True)
    size = {"height": 24, "width": 36}
    square = {"category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 8]]}
    content = {
        "images": [{"id": i, "file_name": f"{name}.png", **size} for i, name in enumerate(NAMES[:6])],
        "annotations": [{"id": i, "image_id": i, **square} for i in range(6)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    for split in ("train", "val"):
        _images(root / f"{split}2017", ".png")
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return ["coco", f"--source={root}", "--train-masks"]


def _folder(root: Path) -> list[str]:
    _images(root / "images", ".png")
    (root / "labels.csv").write_text("name,cat\n" + "".join(f"{name},1\n" for name in NAMES))
    for name in NAMES:
        write_mask(root / "masks" / f"{name}.png", np.ones((24, 36), np.uint8))
    return ["folder", f"--source={root}"]


def _check(root: Path) -> list[str]:
    _folder(root)
    return ["check", "--data.reader=folder", f"--data.root={root}"]


PREPARE: dict[str, Callable[[Path], list[str]]] = {
    "lid": _lid,
    "voc": _voc,
    "coco": _coco,
    "folder": _folder,
    "check": _check,
}


def results(folder: Path) -> dict[str, bytes]:
    """Without the journals, whose keys have the times of files."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("what", PREPARE)
def test_prepare(disk: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", *PREPARE[what](tmp_path / "data"), "--workers=0", "--destination"]
    assert main([*command, str(disk / "out")]) == 0
    expected = results(disk / "out")
    failed = 0
    capsys.readouterr()
    for pages in (0, 1, 2, 3, 5, 8):
        shutil.rmtree(disk / "out")
        ballast = fill(disk, free=pages * PAGE)
        code = main([*command, str(disk / "out")])
        said = capsys.readouterr().err
        failed += code
        if code:
            errors = [line for line in said.splitlines() if line.startswith("wsss-fast prepare: error: ")]
            assert len(errors) == 1, said
            assert str(disk / "out") in errors[0]
            assert NO_SPACE in errors[0]
            assert "Traceback" not in said
        ballast.unlink()
        assert main([*command, str(disk / "out")]) == 0
        assert results(disk / "out") == expected, pages
        capsys.readouterr()
    assert failed >= 3


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_what_comes_after_the_steps(
    finished_run: Config,
    disk: Path,
    tmp_path: Path,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is elsewhere, through links; the outputs of the command alone are on the full disk."""
    root = tmp_path / "run"
    root.mkdir()
    for path in Path(finished_run.output).iterdir():
        if path.is_dir() and path.name != command:
            (root / path.name).symlink_to(path)
    (disk / command).mkdir()
    (root / command).symlink_to(disk / command)
    save(finished_run, tmp_path / "run.yaml")
    arguments = [command, "--config", str(tmp_path / "run.yaml"), f"--output={root}"]
    ballast = fill(disk, free=2 * PAGE)
    assert main(arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"wsss-fast {command}: error: {root / command}")
    assert NO_SPACE in errors[0]
    assert not [path for path in (disk / command).rglob("*") if path.name.startswith(".tmp")]
    ballast.unlink()
    assert main(arguments) == 0
    expected = results(Path(finished_run.output) / command)
    got = results(disk / command)
    assert got.keys() == expected.keys()
    pictures = [name for name in expected if name.endswith(".png")]
    assert pictures
    assert all(got[name] == expected[name] for name in pictures)
