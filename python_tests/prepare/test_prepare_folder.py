"""`wsss-fast prepare folder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

import trees
from damage import findings, prepare, report

from wsss_fast.data.folder import Folder
from wsss_fast.data.prepared import Prepared
from wsss_fast.files import write_mask
from wsss_fast.prepare import _examine

ROWS = {"a.jpg": "train,1,0", "b.jpg": "val,0,1", "c d.png": "train,1,1", "e.jpg": "test,1,0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images for training, one with a mask, and one for validation with one."""
    root = trees.folder(tmp_path / "folder", ROWS)
    for name in ("b", "c d"):
        write_mask(root / "masks" / f"{name}.png", np.full(trees.SIZE, 2, np.uint8))
    return root


def same_as_the_reader(ours: Prepared, theirs: Folder) -> None:
    assert ours.classes == theirs.classes
    assert [ours.name(i) for i in range(len(ours))] == [theirs.name(i) for i in range(len(theirs))]
    np.testing.assert_array_equal(ours.label_matrix(), theirs.label_matrix())
    for i in range(len(ours)):
        assert ours.source(i) == theirs.source(i)
        assert ours.mask_source(i) == theirs.mask_source(i)


def test_same_as_the_reader_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("folder", "--source", folder, "--destination", out, "--strict")
    for split in ("train", "val"):
        same_as_the_reader(Prepared(out, split), Folder(folder, split))
    counts = report(out, "train")
    assert (counts["listed"], counts["written"], counts["with_mask"]) == (2, 2, 1)
    assert counts["labels"] == {"cat": 2, "dog": 1}
    # The whole folder may move, its masks with it.
    folder.rename(tmp_path / "moved")
    assert Prepared(out, "val", images_root=tmp_path / "moved").mask(0) is not None


def test_other_values_of_the_column(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["folder", "--source", folder, "--destination", tmp_path / "out"]
    prepare(*arguments, "--train-split", "val", "--val-split", "test")
    same_as_the_reader(Prepared(tmp_path / "out", "train"), Folder(folder, "val"))
    same_as_the_reader(Prepared(tmp_path / "out", "val"), Folder(folder, "test"))
    prepare(*arguments, "--val-split", "validation", code=1)
    assert "labels.csv: expected rows with 'validation' in the column 'split'" in capsys.readouterr().err


def test_without_the_column_each_image_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.folder(tmp_path / "folder", {"a.jpg": "1", "b.jpg": "0", "c.jpg": "1"}, "name,cat")
    looked: list[str] = []
    real = _examine.examine_image

    def examine(path: Path, *rest: object) -> object:
        looked.append(path.name)
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(_examine, "examine_image", examine)
    out = tmp_path / "out"
    prepare("folder", "--source", root, "--destination", out)
    assert looked == ["a.jpg", "b.jpg", "c.jpg"]
    train, val = Prepared(out, "train"), Prepared(out, "val")
    assert [train.name(i) for i in range(len(train))] == ["a", "c"]
    same_as_the_reader(val, Folder(root, "val"))
    assert findings(out, "train") == findings(out, "val") == {"unlabelled": ["b"]}
    prepare("folder", "--source", root, "--destination", out, "--unlabelled", "keep")
    assert len(looked) == 3
    same_as_the_reader(Prepared(out, "train"), Folder(root, "train"))


def test_damage(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "a.jpg").unlink()
    (folder / "images" / "b.jpg").write_bytes((folder / "images" / "c d.png").read_bytes())
    write_mask(folder / "masks" / "c d.png", np.full(trees.SIZE, 3, np.uint8))
    prepare("folder", "--source", folder, "--destination", tmp_path / "out", "--strict", code=1)
    assert findings(tmp_path / "out", "train") == {"missing image": ["a"], "corrupt mask": ["c d"]}
    assert findings(tmp_path / "out", "val") == {"duplicate": ["b"]}
    train = Prepared(tmp_path / "out", "train")
    assert [(train.name(i), train.mask_source(i)) for i in range(len(train))] == [("c d", None)]


def test_changed_labels_are_taken(folder: Path, tmp_path: Path) -> None:
    arguments = ["folder", "--source", folder, "--destination", tmp_path / "out"]
    prepare(*arguments)
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("a.jpg,train,1,0", "a.jpg,train,0,1"))
    prepare(*arguments)
    assert Prepared(tmp_path / "out", "train").labels(0).tolist() == [False, True]
