"""Odd images by every way into a run: each has the right pixels, or is named with the reason."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("PIL", reason="needs the pipeline extra")

from odd_images import BAD, GOOD, JPEG, PNG

from wsss_fast.cli import main
from wsss_fast.data.decode import read_image
from wsss_fast.data.folder import Folder
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.index_file import write_index
from wsss_fast.data.inference_loader import read_images
from wsss_fast.data.prepared import Prepared
from wsss_fast.data.voc import Voc
from wsss_fast.files import DataError, read_json


@contextmanager
def seconds(limit: int) -> Iterator[None]:
    """Ends what takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {limit} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", GOOD)
def test_the_right_pixels(tmp_path: Path, name: str) -> None:
    case = GOOD[name]
    (tmp_path / name).write_bytes(case.content)
    got = read_image(tmp_path / name)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.shape == case.pixels.shape
    error = np.abs(got.astype(int) - case.pixels)
    assert error.mean() <= case.mean_error, f"{error.mean():.2f}, {error.max()} at most"


@pytest.mark.parametrize("name", BAD)
def test_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    case = BAD[name]
    (tmp_path / name).write_bytes(case.content)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name)
    assert caught.value.file == str(tmp_path / name)
    assert caught.value.reason.startswith("expected an image")
    assert case.reason in caught.value.reason


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith("bomb")])
def test_a_bomb_is_not_decoded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it would fill the memory"))
    (tmp_path / name).write_bytes(BAD[name].content)
    with pytest.raises(DataError):
        read_image(tmp_path / name)


# --- what is no file at all -----------------------------------------------------------------------------


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda path: path.mkdir(), "Is a directory"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "loop of links": (_loop, "symbolic links"),
    "pipe": (os.mkfifo, "a pipe or device"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "a pipe or device"),
}


# --- by every reader, in this process and in others ------------------------------------------------------


def _folder(root: Path, names: list[str]) -> ImageSet:
    rows = "".join(f"{name},1\n" for name in names)
    (root / "labels.csv").write_text(f"name,cat\n{rows}")
    return Folder(root, "val")


def _voc(root: Path, names: list[str]) -> ImageSet:
    (root / "images").rename(root / "JPEGImages")
    (root / "ImageSets/Main").mkdir(parents=True)
    stems = [name.rpartition(".")[0] for name in names]
    (root / "ImageSets/Main/val.txt").write_text("\n".join(stems))
    (root / "labels.csv").write_text("name,cat\n" + "".join(f"{stem},1\n" for stem in stems))
    return Voc(root, "val")


def _prepared(root: Path, names: list[str]) -> ImageSet:
    with write_index(root / "val.index", classes=["cat"], images_root="images", masks_root=".") as index:
        for name in names:
            index.add(name.rpartition(".")[0], name, "", np.ones(1, bool))
    return Prepared(root, "val")


READERS: dict[str, Callable[[Path, list[str]], ImageSet]] = {
    "folder": _folder,
    "voc": _voc,
    "prepared": _prepared,
}


def odd_folder(root: Path) -> tuple[list[str], dict[str, str]]:
    """``root/images`` with an example of each kind; returns all names, and what is wrong with bad ones."""
    folder = root / "images"
    folder.mkdir(parents=True)
    contents = {
        "a.jpg": JPEG,
        "b.JPG": PNG,
        "cmyk.jpg": GOOD["cmyk.jpg"].content,
        "turned.jpg": GOOD["turned-6.jpg"].content,
    }
    bad = {
        "bomb.png": BAD["bomb-60000.png"],
        "cut.jpg": BAD[f"cut-{len(JPEG) // 2}.jpg"],
        "empty.png": BAD["empty.jpg"],
        "float.tif": BAD["float-32.tif"],
        "text.jpeg": BAD["text.jpg"],
    }
    for name, case in bad.items():
        contents[name] = case.content
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    reasons = {name: case.reason for name, case in bad.items()}
    for kind, (make, reason) in NO_FILES.items():
        name = f"{kind.replace(' ', '-')}.png"
        make(folder / name)
        reasons[name] = reason
    return sorted([*contents, *(f"{kind.replace(' ', '-')}.png" for kind in NO_FILES)]), reasons


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", READERS)
def test_by_every_reader(tmp_path: Path, reader: str, workers: int) -> None:
    names, reasons = odd_folder(tmp_path)
    images = READERS[reader](tmp_path, names)
    told: dict[str, str] = {}

    def skip(name: str, file: str, reason: str) -> None:
        told[Path(file).name] = reason

    with seconds(60):
        got = {item.name: item.image for item in read_images(images, workers=workers, skip=skip)}
    assert sorted(got) == ["a", "b", "cmyk", "turned"]
    np.testing.assert_array_equal(got["b"], GOOD["a-png.jpg"].pixels)
    assert got["turned"].shape == GOOD["turned-6.jpg"].pixels.shape
    assert sorted(told) == sorted(reasons)
    for name, reason in reasons.items():
        assert reason in told[name], (name, told[name])
    with seconds(60), pytest.raises(DataError, match=r"bomb\.png: expected an image, got: .*pixels"):
        list(read_images(images, workers=workers, strict=True))


# --- by prepare ------------------------------------------------------------------------------------------


def _annotate(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><object><name>{name}</name></object></annotation>")


def _prepare_folder(root: Path, names: list[str]) -> list[str]:
    _folder(root, names)
    return ["folder"]


def _prepare_voc(root: Path, names: list[str]) -> list[str]:
    (root / "JPEGImages").mkdir()
    for name in names:
        stem = name.rpartition(".")[0]
        (root / "JPEGImages" / f"{stem}.jpg").symlink_to(root / "images" / name)
        _annotate(root / "Annotations" / f"{stem}.xml", "cat")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        listed = "\n".join(name.rpartition(".")[0] for name in names)
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(listed)
    return ["voc"]


def _prepare_lid(root: Path, names: list[str]) -> list[str]:
    for split in ("train", "val"):
        folder = root / "Data/DET" / split
        folder.mkdir(parents=True)
        for name in names:
            stem = name.rpartition(".")[0]
            (folder / f"{stem}.JPEG").symlink_to(root / "images" / name)
            _annotate(root / "Annotations/DET" / split / f"{stem}.xml", "n02129165")
    (root / "ImageSets/DET").mkdir(parents=True)
    listed = "".join(f"{name.rpartition('.')[0]} {i}\n" for i, name in enumerate(names))
    (root / "ImageSets/DET/val.txt").write_text(listed)
    return ["lid"]


def _prepare_coco(root: Path, names: list[str]) -> list[str]:
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / f"{split}2017").symlink_to("images")
        size = {"height": 8, "width": 8}
        content = {
            "images": [{"id": i, "file_name": name, **size} for i, name in enumerate(names)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": []}
                for i in range(len(names))
            ],
            "categories": [{"id": 1, "name": "cat"}],
        }
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return ["coco"]


def _check(root: Path, names: list[str]) -> list[str]:
    _folder(root, names)
    return ["check", "--data.reader=folder"]


PREPARE: dict[str, Callable[[Path, list[str]], list[str]]] = {
    "lid": _prepare_lid,
    "voc": _prepare_voc,
    "coco": _prepare_coco,
    "folder": _prepare_folder,
    "check": _check,
}


@pytest.mark.parametrize(("what", "workers"), [*((what, 0) for what in PREPARE), ("lid", 2), ("check", 2)])
def test_by_prepare(tmp_path: Path, what: str, workers: int) -> None:
    names, reasons = odd_folder(tmp_path / "data")
    arguments = PREPARE[what](tmp_path / "data", names)
    source = f"--{'data.root' if what == 'check' else 'source'}={tmp_path / 'data'}"
    command = ["prepare", *arguments, source, f"--destination={tmp_path / 'out'}", f"--workers={workers}"]
    with seconds(60):
        assert main(command) == 0
    report = read_json(tmp_path / "out/report.json")["splits"]["val"]
    found: dict[str, Any] = report["findings"]
    problems = {
        entry["name"]: entry["reason"] for kind in ("corrupt image", "missing image") for entry in found[kind]
    }
    assert (report["listed"], report["written"]) == (len(names), len(names) - len(reasons))
    assert sorted(problems) == sorted(name.rpartition(".")[0] for name in reasons)
    for name, reason in reasons.items():
        assert reason in problems[name.rpartition(".")[0]]
    assert main([*command, "--strict"]) == 1
    if what != "check":
        prepared = Prepared(tmp_path / "out", "val")
        assert {prepared.name(i) for i in range(len(prepared))} == {"a", "b", "cmyk", "turned"}
        np.testing.assert_array_equal(prepared.image(1), GOOD["a-png.jpg"].pixels)


def test_an_image_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size when it was opened promises more than there is to read."""
    (tmp_path / "a.png").write_bytes(PNG)
    fstat = os.fstat

    def and_cut(number: int) -> os.stat_result:
        status = fstat(number)
        (tmp_path / "a.png").write_bytes(PNG[: len(PNG) // 2])
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", and_cut)
        with pytest.raises(DataError, match=r"a\.png: expected an image, got one that is cut off"):
            read_image(tmp_path / "a.png")


def test_an_image_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    os_open = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return os_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"a\.png: expected an image, got an error: Permission denied"):
        read_image(tmp_path / "a.png")
