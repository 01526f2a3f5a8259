"""`wsss-fast prepare coco`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("pycocotools", reason="needs the pipeline extra")

import trees
from damage import findings, prepare, report
from pycocotools import mask as coco_mask
from trees import SIZE, annotated, box, instances

from wsss_fast.cli import main
from wsss_fast.data.prepared import Prepared
from wsss_fast.files import temporary_beside
from wsss_fast.prepare import coco as module

HEIGHT, WIDTH = SIZE


def run_length(rows: slice, columns: slice, compressed: bool) -> dict[str, Any]:
    pixels = np.zeros(SIZE, np.uint8, order="F")
    pixels[rows, columns] = 1
    if compressed:
        encoded = coco_mask.encode(pixels)
        return {"size": list(SIZE), "counts": encoded["counts"].decode()}
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": list(SIZE), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


VAL = [
    annotated(100, 1, box(2, 2, 6, 6)),  # small, before the large one that covers it
    annotated(100, 90, box(0, 0, 16, 8)),
    annotated(100, 13, run_length(slice(6, 12), slice(0, 16), False), crowd=1),
    annotated(101, 13, run_length(slice(0, 4), slice(3, 5), True)),
]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    train = [annotated(100, 13, box(0, 0, 3, 3)), annotated(101, 1, box(0, 0, 9, 9)), annotated(101, 1, [])]
    return trees.coco(
        tmp_path / "coco", ["t0.jpg", "t1.jpg", "t2.jpg"], train, ["v0.jpg", "v1.jpg", "v2.jpg"], VAL
    )


def test_labels_and_masks(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("coco", "--source", coco, "--destination", out)
    train = Prepared(out, "train")
    assert train.classes == ("person", "stop sign", "toothbrush")  # by their ids: 1, 13, 90
    assert [train.name(i) for i in range(len(train))] == ["t0", "t1"]
    assert train.label_matrix().tolist() == [[False, True, False], [True, False, False]]
    assert train.mask(0) is None
    assert findings(out, "train") == {"unlabelled": ["t2"]}
    val = Prepared(out, "val")
    assert val.label_matrix().tolist() == [[True, True, True], [False, True, False], [False] * 3]
    expected = np.zeros(SIZE, np.uint8)
    expected[6:] = 255  # the crowd
    expected[:8] = 3
    expected[2:6, 2:6] = 1
    np.testing.assert_array_equal(val.mask(0), expected)
    expected[:] = 0
    expected[:4, 3:5] = 2
    np.testing.assert_array_equal(val.mask(1), expected)
    np.testing.assert_array_equal(val.mask(2), np.zeros(SIZE))
    assert report(out, "val")["with_mask"] == 3
    # The whole folder may move: masks that were made are found from the index.
    out.rename(tmp_path / "moved")
    assert Prepared(tmp_path / "moved", "val").mask(1) is not None


def test_masks_of_training_images_by_processes(coco: Path, tmp_path: Path) -> None:
    arguments = [
        "--source",
        str(coco),
        "--destination",
        str(tmp_path / "out"),
        "--train-masks",
        "--workers",
        "2",
    ]
    assert main(["prepare", "coco", *arguments]) == 0
    mask = Prepared(tmp_path / "out", "train").mask(0)
    assert mask is not None
    assert (int(mask[0, 0]), int((mask > 0).sum())) == (2, 9)


def test_more_than_254_classes_have_masks_of_16_bits() -> None:
    objects = (
        module.Instance(1, 300, False, box(0, 0, 4, 4)),
        module.Instance(2, 7, True, box(0, 8, 4, 12)),
        module.Instance(3, 5, False, box(0, 0, 4, 4)),  # as large: the greater id lies on top
    )
    mask = module.paint(module.Picture("x.jpg", HEIGHT, WIDTH, objects[:2]), 300)
    assert mask.dtype == np.uint16
    assert (mask[0, 0], mask[9, 0], mask[0, 9]) == (300, 65535, 0)
    assert module.paint(module.Picture("x.jpg", HEIGHT, WIDTH, objects), 300)[0, 0] == 5


def test_masks_are_made_once_and_anew_for_another_json(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    painted: list[str] = []
    real = module.paint

    def paint(picture: module.Picture, classes: int) -> np.ndarray:
        painted.append(picture.file)
        if len(painted) == 2:
            raise KeyboardInterrupt
        return real(picture, classes)

    monkeypatch.setattr(module, "paint", paint)
    prepare("coco", "--source", coco, "--destination", out, code=130)
    prepare("coco", "--source", coco, "--destination", out)
    assert painted == ["v0.jpg", "v1.jpg", "v1.jpg", "v2.jpg"]
    prepare("coco", "--source", coco, "--destination", out)
    assert len(painted) == 4
    changed = [annotated(100, 1, box(0, 0, 16, 12))]
    instances(coco / "annotations" / "instances_val2017.json", ["v0.jpg", "v1.jpg", "v2.jpg"], changed)
    prepare("coco", "--source", coco, "--destination", out)
    assert painted[4:] == ["v0.jpg", "v1.jpg", "v2.jpg"]
    mask = Prepared(out, "val").mask(0)
    assert mask is not None
    assert (mask == 1).all()


def test_killed_before_it_made_a_mask(coco: Path, tmp_path: Path) -> None:
    """What the kill has left of its first write is not taken for somebody's masks."""
    left = temporary_beside(tmp_path / "out" / "masks" / "val" / "made-from.json")
    left.parent.mkdir(parents=True)
    left.write_text("{")
    prepare("coco", "--source", coco, "--destination", tmp_path / "out")
    assert Prepared(tmp_path / "out", "val").mask(0) is not None


def test_processes_of_a_killed_one_that_die_late(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They still lived when the command that goes on looked for what they might have left."""
    late = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(os, "getpid", lambda: late.pid)
    left = temporary_beside(tmp_path / "out" / "masks" / "val" / "v1.png")
    monkeypatch.undo()
    left.parent.mkdir(parents=True)
    left.touch()
    real = module.paint
    there: list[bool] = []

    def paint(picture: module.Picture, classes: int) -> np.ndarray:
        there.append(left.exists())
        late.kill()
        late.communicate()
        return real(picture, classes)

    monkeypatch.setattr(module, "paint", paint)
    prepare("coco", "--source", coco, "--destination", tmp_path / "out")
    assert there[0]
    assert not left.exists()


def test_killed_while_it_removed_masks_of_another_json(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare("coco", "--source", coco, "--destination", out)
    instances(coco / "annotations" / "instances_val2017.json", ["v0.jpg", "v1.jpg", "v2.jpg"], [])
    real = Path.unlink
    removed: list[str] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".png" and path.parent.name == "val":
            if removed:
                raise KeyboardInterrupt
            removed.append(path.name)
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    prepare("coco", "--source", coco, "--destination", out, code=130)
    monkeypatch.undo()
    assert len(removed) == 1
    prepare("coco", "--source", coco, "--destination", out)
    for i in range(3):
        mask = Prepared(out, "val").mask(i)
        assert mask is not None
        assert not mask.any()


def test_masks_of_others_are_left_alone(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "out" / "masks" / "val" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    prepare("coco", "--source", coco, "--destination", tmp_path / "out", code=1)
    assert "expected masks made by this command, got others" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"


def test_damage(coco: Path, tmp_path: Path) -> None:
    annotations = [
        *VAL,
        annotated(100, 77, box(0, 0, 2, 2)),
        annotated(999, 1, box(0, 0, 2, 2)),
        annotated(102, 1, {"size": [3, 3], "counts": [0, 9]}),
    ]
    instances(coco / "annotations" / "instances_val2017.json", ["v0.jpg", "v1.jpg", "v2.jpg"], annotations)
    (coco / "val2017" / "v1.jpg").write_bytes(b"")
    (coco / "train2017" / "t1.jpg").unlink()
    out = tmp_path / "out"
    prepare("coco", "--source", coco, "--destination", out)
    assert findings(out, "train") == {"missing image": ["t1"], "unlabelled": ["t2"]}
    assert findings(out, "val") == {
        "unknown class": ["v0", "image 999"],
        "corrupt mask": ["v2"],
        "corrupt image": ["v1"],
    }
    val = Prepared(out, "val")
    assert [(val.name(i), val.mask_source(i) is None) for i in range(len(val))] == [
        ("v0", False),
        ("v2", True),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a JSON file"),
        ("[]", "expected COCO's instances"),
        ('{"images": [], "annotations": []}', "expected COCO's instances .*categories"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "expected COCO's instances"),
        ('{"images": [], "annotations": [], "categories": []}', "expected at least one class"),
        ("", "an empty file"),
    ],
)
def test_json_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_text(content)
    with pytest.raises(module.DataError, match=message):
        module.read_annotations(path)


def test_both_years(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        (coco / f"{split}2017").rename(coco / f"{split}2014")
        path = coco / "annotations" / f"instances_{split}2017.json"
        path.with_name(f"instances_{split}2014.json").write_bytes(path.read_bytes())
    arguments = ["coco", "--source", coco, "--destination", tmp_path / "out"]
    prepare(*arguments, code=2)
    assert "--year says which), got both" in capsys.readouterr().err
    prepare(*arguments, "--year", "2017", code=2)
    assert "expected a folder with train2017 or images/train2017" in capsys.readouterr().err
    prepare(*arguments, "--year", "2014")
    assert len(Prepared(tmp_path / "out", "val")) == 3
