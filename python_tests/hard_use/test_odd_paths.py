"""Names and folders that are hard to handle: nothing is lost, and nothing is written outside the output."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from odd_images import PNG
from tiny_run import tiny_config

from wsss_fast.cli import main
from wsss_fast.config import DataConfig
from wsss_fast.config_file import save
from wsss_fast.data import index_file, open_images
from wsss_fast.data.folder import Folder
from wsss_fast.data.index_file import write_index
from wsss_fast.data.prepared import Prepared
from wsss_fast.files import DataError, read_json, write_image, write_mask

NAMES = {
    "blank": "ein Bild",
    "composed": "gr\u00f6\u00dfe",
    "decomposed": "gro\u0308\u00dfe",
    "wide": "\u56f3",
    "joined emoji": "\U0001f408\u200d\u2b1b",
    "right to left": "\u05e9\u05dc\u05d5\u05dd",
    "an option": "-rf",
    "ends in dots": "a..",
    "dots inside": "a..b",
    "percent": "100%d%s%%",
    "braces": "{name}{0}{",
    "glob": "[ab]*?",
    "shell": "$HOME `id`;&|>'",
    "capital": "Case",
    "small": "case",
    "home": "~",
    "hash": "#1",
    "tab": "a\tb",
    "line": "a\nb",
    "other lines": "a\u2028b\x85c\x0bd",
    "tag": "<b>&amp;",
    "quotes": '"a" "b"',
    "suffix of another": "a.png.jpg",
    "null": "null",
    "long": "x" * 236,
    "long wide": "\u56f3" * 78,
}


def quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def make_folder(root: Path, names: Sequence[str], size: int, *, split: bool = False) -> Path:
    """Images, labels and masks of such names, each for both splits or for one."""
    generator = np.random.default_rng(0)
    lines = ["name,cat,dog" + ",split" * split]
    for i, name in enumerate(names):
        image = (
            generator.integers(0, 255, (8, 8, 3)).astype(np.uint8).repeat(size // 8, 0).repeat(size // 8, 1)
        )
        write_image(root / "images" / f"{name}.png", image)
        mask = np.zeros((size, size), np.uint8)
        mask[8:40, 8:40] = 1 + i % 2
        write_mask(root / "masks" / f"{name}.png", mask)
        role = (",train", ",val")[i // 2 % 2] if split else ""
        lines.append(f"{quoted(name)},{1 - i % 2},{i % 2}{role}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def contents(root: Path, but: Path) -> dict[str, bytes | str | None]:
    """Everything below ``root`` but what is in a folder: bytes, the target of a link, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for where, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(where, name) != but]
        for name in [*folders, *files]:
            path = os.path.join(where, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                found[path] = Path(path).read_bytes()
            else:
                found[path] = None
    return found


def test_a_run_of_odd_names_in_an_odd_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step, evaluation and report; the output is a relative path through a link and upwards."""
    world = tmp_path / "world"
    root = make_folder(world / "data %s {} [a]* \u56f3", list(NAMES.values()), size=32, split=True)
    odd = "\u5b9f\u884c gro\u0308\u00df [x]* %d {0} 'q' \U0001f408"
    (world / "real/deep").mkdir(parents=True)
    (world / "real" / odd).mkdir()
    (world / "link").symlink_to("real/deep")
    monkeypatch.chdir(world)
    output = Path("link", "..", odd, "-x.")
    data = DataConfig(reader="folder", root=os.path.relpath(root), workers=0)
    config = tiny_config(output, data)
    config.classifier.epochs = 1
    config.report.images = len(NAMES)
    save(config, tmp_path / "run.yaml")
    inside = world / "real" / odd
    before = contents(tmp_path, but=inside)
    assert main(["run", "--config", str(tmp_path / "run.yaml")]) == 0
    capsys.readouterr()
    assert contents(tmp_path, but=inside) == before
    assert [path.name for path in inside.iterdir()] == ["-x."]
    names = {
        role: {name for i, name in enumerate(NAMES.values()) if i // 2 % 2 == k}
        for k, role in enumerate(("train", "val"))
    }
    for step, suffix in (
        ("make-cams/val", ".npz"),
        ("make-ir-labels/train", ".png"),
        ("make-pseudo-masks/train/0.25", ".png"),
        ("predict/val/tta", ".png"),
    ):
        made = {path.name for path in (output / step).iterdir() if path.suffix == suffix}
        assert made == {f"{name}{suffix}" for name in names[Path(step).parts[1]]}, step
    assert len(list((output / "report").glob("*.prediction.png"))) == len(names["val"])
    assert read_json(output / "run.json")["config"]["output"] == str(output)
    assert read_json(output / "evaluate/metrics.json")["splits"]["val"]["images"] == len(names["val"])
    assert read_json(output / "make-cams/step.json")["skipped"] == []
    page = (output / "report/index.html").read_text(encoding="utf-8")
    assert "<b>&amp;" not in page
    assert main(["report", "--config", str(output / "config.yaml"), "--report.images=1"]) == 0


@pytest.mark.parametrize("kind", NAMES)
def test_each_name_by_prepare_and_reader(tmp_path: Path, kind: str) -> None:
    root = make_folder(tmp_path / "data", [NAMES[kind], "other"], size=8)
    out = tmp_path / "out"
    before = contents(tmp_path, but=out)
    assert main(["prepare", "folder", f"--source={root}", f"--destination={out}", "--workers=0"]) == 0
    assert contents(tmp_path, but=out) == before
    for images in (Folder(root, "val"), Prepared(tmp_path / "out", "val")):
        assert [images.name(i) for i in range(2)] == [NAMES[kind], "other"]
        assert images.image(0).shape == (8, 8, 3)
        assert images.mask(0) is not None
    assert read_json(tmp_path / "out/report.json")["splits"]["val"]["findings"] == {}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A CSV cannot have them; what walks through folders can."""
    name = os.fsdecode(b"caf\xe9")
    for split in ("train", "val"):
        path = tmp_path / "det/Data/DET" / split / f"{name}.JPEG"
        path.parent.mkdir(parents=True)
        path.write_bytes(PNG)
        annotation = tmp_path / "det/Annotations/DET" / split / f"{name}.xml"
        annotation.parent.mkdir(parents=True)
        annotation.write_text("<annotation><object><name>n02129165</name></object></annotation>")
        write_mask(tmp_path / "masks" / f"{name}.png", np.zeros((24, 36), np.uint8))
    arguments = ["lid", f"--source={tmp_path / 'det'}", f"--val-masks={tmp_path / 'masks'}"]
    assert main(["prepare", *arguments, f"--destination={tmp_path / 'out'}", "--workers=0"]) == 0
    for split in ("train", "val"):
        images = Prepared(tmp_path / "out", split)
        assert images.name(0) == name
        assert images.image(0).shape == (24, 36, 3)
    root = tmp_path / "folder"
    make_folder(root, ["other"], size=8)
    (root / "images" / f"{name}.png").write_bytes(PNG)
    with pytest.raises(
        DataError, match=r"expected a row for every image in images/, got none for 'caf\\udce9"
    ):
        Folder(root, "val")


def test_an_output_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told before anything is made: the library for weights would fail after the first training."""
    output = tmp_path / os.fsdecode(b"caf\xe9")
    assert main(["make-cams", f"--output={output}"]) == 2
    assert (
        "output: expected a text, UTF-8, not blank, without control characters, got"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [" a", "a ", "\u3000a"])
def test_blanks_around_a_name_are_not_part_of_it(tmp_path: Path, name: str) -> None:
    root = make_folder(tmp_path, [name], size=8)
    with pytest.raises(DataError, match=re.escape(f"got none for {name + '.png'!r}")):
        Folder(root, "val")


@pytest.mark.parametrize("key", ["output", "data.root", "--destination", "--source"])
def test_home(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` where no shell replaces it: nothing is called that."""
    home, here = tmp_path / "home", tmp_path / "here"
    make_folder(home / "data", ["a"], size=8)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    if key == "output":
        assert main(["make-cams", "--output=~/run"]) == 1  # after it has written its config
        assert (home / "run/config.yaml").exists()
    elif key == "data.root":
        assert len(open_images(DataConfig(reader="folder", root="~/data"), "val")) == 1
    else:
        assert main(["prepare", "folder", "--source=~/data", "--destination=~/out", "--workers=0"]) == 0
        assert (home / "out/val.index").exists()
    assert list(here.iterdir()) == []


# --- names that lead out -----------------------------------------------------------------------------------

EVIL = ["../evil", "../../evil", "/{root}/evil", "a/../../evil", "..", ".", "a\0b", "x" * 300, "back\\slash"]


def evil_names(root: Path) -> list[str]:
    return [name.replace("{root}", str(root).strip("/")) for name in EVIL]


def _csv(root: Path, name: str) -> list[str]:
    make_folder(root, ["a"], size=8)
    with (root / "labels.csv").open("a") as file:
        file.write(f"{quoted(name)},1,0\n")
    return ["folder"]


def _list(root: Path, name: str) -> list[str]:
    make_folder(root, ["a"], size=8)
    (root / "images").rename(root / "JPEGImages")
    (root / "JPEGImages/a.png").rename(root / "JPEGImages/a.jpg")
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    for split in ("train", "val"):
        path = root / "ImageSets/Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a\n{name}\n")
    return ["voc"]


def _json(root: Path, name: str) -> list[str]:
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        write_image(root / f"{split}2017/a.png", np.zeros((8, 8, 3), np.uint8))
        size = {"height": 8, "width": 8}
        square = {"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}
        content = {
            "images": [{"id": i, "file_name": of, **size} for i, of in enumerate(["a.png", f"{name}.xyz"])],
            "annotations": [{"id": i, "image_id": i, **square} for i in range(2)],
            "categories": [{"id": 1, "name": "cat"}],
        }
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return ["coco", "--train-masks"]


def _json_with_suffix(root: Path, name: str) -> list[str]:
    arguments = _json(root, name)
    for path in (root / "annotations").iterdir():
        path.write_text(path.read_text().replace(".xyz", ".jpg"))
    return arguments


def _det(root: Path, name: str) -> list[str]:
    for split in ("train", "val"):
        write_image(root / "a.png", np.zeros((8, 8, 3), np.uint8))
        (root / "Data/DET" / split).mkdir(parents=True)
        (root / "a.png").rename(root / "Data/DET" / split / "a.JPEG")
        (root / "Annotations/DET" / split).mkdir(parents=True)
        (root / "Annotations/DET" / split / "a.xml").write_text(
            "<annotation><object><name>n02129165</name></object></annotation>"
        )
    (root / "ImageSets/DET").mkdir(parents=True)
    (root / "ImageSets/DET/val.txt").write_text(f"a 1\n{name} 2\n")
    return ["lid"]


LISTS = {"csv": _csv, "list": _list, "json": _json, "json with suffix": _json_with_suffix, "det": _det}


@pytest.mark.parametrize("kind", LISTS)
def test_no_list_leads_out_of_the_output(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, name in enumerate(evil_names(tmp_path)):
        world = tmp_path / str(i)
        arguments = LISTS[kind](world / "data", name)
        output = world / "a/b/out"
        output.parent.mkdir(parents=True)
        before = contents(tmp_path, but=output)
        data = f"--source={world / 'data'}"
        command = ["prepare", *arguments, data, f"--destination={output}", "--workers=0"]
        code = main(command)
        said = capsys.readouterr().err
        assert code in (0, 1)
        assert "Traceback" not in said
        assert contents(tmp_path, but=output) == before, name
        if code == 1:
            assert "fit for a file name" in said or "a path without" in said, said
        else:  # an image elsewhere, which is not there, and would be called after its file
            assert _only_missing(output) in ("evil", "...xyz", "..xyz"), name


def _only_missing(output: Path) -> str:
    found: dict[str, Any] = read_json(output / "report.json")["splits"]["val"]["findings"]
    (entry,) = found["missing image"]
    return str(entry["name"])


def test_no_index_leads_out_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    for name in ("../evil", "/evil", "..", "x" * 300):
        with monkeypatch.context() as patch:  # as another program may write it
            patch.setattr(index_file, "check_name", lambda _, name: name)
            with write_index(
                tmp_path / "val.index", classes=["cat"], images_root=".", masks_root="."
            ) as index:
                index.add(name, "a.png", "", np.ones(1, bool))
        images = Prepared(tmp_path, "val")
        with pytest.raises(
            DataError, match=r"val\.index: expected the name of an image, fit for a file name"
        ):
            images.name(0)


@pytest.mark.parametrize("split", ["../evil", "/evil", ".."])
@pytest.mark.parametrize("reader", ["voc", "prepared"])
def test_no_split_leads_out_of_the_data(tmp_path: Path, reader: str, split: str) -> None:
    config = DataConfig(reader=reader, root=str(tmp_path), val_split=split)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="fit for a file name"):
        open_images(config, "val")
