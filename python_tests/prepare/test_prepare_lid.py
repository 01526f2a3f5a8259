"""`wsss-fast prepare lid`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

import trees
from damage import findings, prepare
from trees import LION, PERSON, SIZE, ZEBRA, annotation, image, text

from wsss_fast.data.prepared import Prepared
from wsss_fast.files import DataError, write_mask
from wsss_fast.prepare._det_synsets import DET_SYNSETS
from wsss_fast.prepare.lid import read_classes

THREE = f"{LION} 1 lion\n{PERSON} 2 person\n{ZEBRA} 3 zebra\n"

TRAIN = {
    f"ILSVRC2013_train/{LION}/{LION}_10": (LION,),
    f"ILSVRC2013_train/{ZEBRA}/{ZEBRA}_7": (ZEBRA, PERSON, ZEBRA),
    "ILSVRC2014_train_0000/ILSVRC2014_train_00000001": (PERSON,),
    "ILSVRC2013_train_extra0/ILSVRC2013_train_00000001": None,  # without objects, and without a file
}


@pytest.fixture
def det(tmp_path: Path) -> Path:
    root = trees.lid(tmp_path / "ILSVRC", TRAIN, [f"ILSVRC2012_val_0000000{i}" for i in (1, 2, 3)])
    text(tmp_path / "map_det.txt", THREE)
    return root


def lists(root: Path, *content: str) -> None:
    for k, lines in enumerate(content, start=1):
        text(root / "ImageSets" / "DET" / f"train_{k}.txt", lines)


def labels_of(images: Prepared) -> dict[str, list[str]]:
    return {
        images.name(i): [images.classes[k] for k in np.flatnonzero(images.labels(i))]
        for i in range(len(images))
    }


def test_the_table_of_classes() -> None:
    names = list(DET_SYNSETS.values())
    assert len(DET_SYNSETS) == len(set(names)) == 200
    assert (names[0], names[199]) == ("accordion", "zebra")
    assert names.index("person") == 123
    # In the order of map_det.txt, which is alphabetical but for these.
    out_of_order = [(a, b) for a, b in pairwise(names) if a.lower() > b.lower()]
    assert out_of_order == [("bow tie", "bow")]
    assert all(synset[0] == "n" and len(synset) == 9 and synset[1:].isdecimal() for synset in DET_SYNSETS)


def test_lists_and_annotations(det: Path, tmp_path: Path) -> None:
    first, second, third, extra = TRAIN
    lists(
        det,
        f"{first} 1\n{extra} -1\n",
        f"{second} -1\n{third} 1\n{first} 0\n",  # partly annotated: a person is in the first, without a box
        f"{second} 1\n{third} -1\n",
    )
    out = tmp_path / "out"
    arguments = ["lid", "--source", det, "--destination", out, "--classes-file", tmp_path / "map_det.txt"]
    prepare(*arguments)
    images = Prepared(out, "train")
    assert images.classes == ("lion", "person", "zebra")
    assert labels_of(images) == {
        f"{LION}_10": ["lion", "person"],
        f"{ZEBRA}_7": ["person", "zebra"],
        "ILSVRC2014_train_00000001": ["person"],
    }
    assert images.source(0) == str(det / "Data" / "DET" / "train" / f"{first}.JPEG")
    assert images.image(0).shape == (*SIZE, 3)
    assert findings(out, "train") == {"unlabelled": ["ILSVRC2013_train_00000001"]}
    val = Prepared(out, "val")
    assert len(val) == 3
    assert val.mask(0) is None
    prepare(*arguments, "--unlabelled", "keep")
    assert labels_of(Prepared(out, "train"))["ILSVRC2013_train_00000001"] == []


def test_without_lists_all_images_are_taken(det: Path, tmp_path: Path) -> None:
    prepare("lid", "--source", det, "--destination", tmp_path / "out", "--unlabelled", "keep")
    images = Prepared(tmp_path / "out", "train")
    assert len(images.classes) == 200
    assert labels_of(images) == {
        f"{LION}_10": ["lion"],
        f"{ZEBRA}_7": ["person", "zebra"],
        "ILSVRC2013_train_00000001": [],
        "ILSVRC2014_train_00000001": ["person"],
    }


def test_masks_of_the_challenge_are_the_validation_list(det: Path, tmp_path: Path) -> None:
    masks = tmp_path / "track1_val_annotations_raw"
    write_mask(masks / "ILSVRC2012_val_00000003.png", np.full(SIZE, 200, np.uint8))
    write_mask(masks / "ILSVRC2012_val_00000001.png", np.full(SIZE, 201, np.uint8))
    write_mask(masks / "ILSVRC2012_val_00000009.png", np.full(SIZE, 255, np.uint8))
    prepare("lid", "--source", det, "--destination", tmp_path / "out", "--val-masks", masks)
    images = Prepared(tmp_path / "out", "val")
    assert labels_of(images) == {"ILSVRC2012_val_00000001": ["lion"], "ILSVRC2012_val_00000003": ["lion"]}
    mask = images.mask(1)
    assert mask is not None
    assert (mask == 200).all()
    assert images.mask(0) is None
    assert findings(tmp_path / "out", "val") == {
        "corrupt mask": ["ILSVRC2012_val_00000001"],
        "missing image": ["ILSVRC2012_val_00000009"],
        "missing annotation": ["ILSVRC2012_val_00000009"],
    }


def test_one_name_in_several_folders(det: Path, tmp_path: Path) -> None:
    image(det / "Data" / "DET" / "train" / "ILSVRC2013_train" / ZEBRA / f"{LION}_10.JPEG", 77)
    annotation(det / "Annotations" / "DET" / "train" / "ILSVRC2013_train" / ZEBRA / f"{LION}_10.xml", ZEBRA)
    prepare("lid", "--source", det, "--destination", tmp_path / "out")
    found = labels_of(Prepared(tmp_path / "out", "train"))
    assert found[f"ILSVRC2013_train--{LION}--{LION}_10"] == ["lion"]
    assert found[f"ILSVRC2013_train--{ZEBRA}--{LION}_10"] == ["zebra"]
    assert f"{ZEBRA}_7" in found


def test_damage(det: Path, tmp_path: Path) -> None:
    photos, notes = det / "Data" / "DET" / "train", det / "Annotations" / "DET" / "train"
    first, second, third, extra = TRAIN
    (photos / f"{first}.JPEG").write_bytes((photos / f"{first}.JPEG").read_bytes()[:200])
    (notes / f"{second}.xml").write_text("")
    annotation(notes / f"{third}.xml", "n00000000", PERSON)
    (photos / f"{extra}.JPEG").write_bytes((photos / f"{third}.JPEG").read_bytes())
    lists(det, f"{first} 1\ngone/gone_1 1\n", f"{third} 1\n{extra} -1\n", f"{second} 1\n")
    out = tmp_path / "out"
    prepare("lid", "--source", det, "--destination", out, "--classes-file", tmp_path / "map_det.txt")
    assert findings(out, "train") == {
        "corrupt image": [f"{LION}_10"],
        "missing image": ["gone_1"],
        "corrupt annotation": [f"{ZEBRA}_7"],
        "unknown class": ["ILSVRC2014_train_00000001"],
        "duplicate": ["ILSVRC2013_train_00000001"],
        "unlabelled": ["ILSVRC2013_train_00000001"],
    }
    assert labels_of(Prepared(out, "train")) == {"ILSVRC2014_train_00000001": ["person"]}


def test_lists_that_cannot_be_right(det: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "lid",
        "--source",
        det,
        "--destination",
        tmp_path,
        "--classes-file",
        tmp_path / "map_det.txt",
    ]
    lists(det, "a 1\n", "b 1\n")
    prepare(*arguments, code=1)
    assert "expected train_1.txt to train_3.txt or none of them, got 2" in capsys.readouterr().err
    lists(det, "a 1\n", "b 1\n", "c 1\n\nd 2\n")
    prepare(*arguments, code=1)
    assert "train_3.txt: line 2: expected '<id> <1, 0 or -1>', got 'd 2'" in capsys.readouterr().err
    prepare(*arguments, "--val-masks", tmp_path / "none", code=2)
    assert "--val-masks: expected a folder of PNGs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n1 1 cat\nn2 3 dog\n", "expected the ids 1 to 2"),
        ("n1 1 cat\nn2 1 dog\n", "line 2: expected distinct ids, got 1 again"),
        ("n1 1 cat\nn1 2 dog\n", "expected distinct WordNet ids"),
        ("n1 cat\n", "line 1: expected '<WordNet id> <id> <name>', got 'n1 cat'"),
        ("", "an empty file"),
    ],
)
def test_class_files_that_cannot_be_right(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_classes(text(tmp_path / "map.txt", content))


def test_class_files_in_any_order(tmp_path: Path) -> None:
    path = text(tmp_path / "map.txt", "n2 2 bow tie\nn1 1 cat\n")
    assert list(read_classes(path).items()) == [("n1", "cat"), ("n2", "bow tie")]
