"""The reader `voc`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from wsss_fast.config import DataConfig
from wsss_fast.data import open_images
from wsss_fast.data.voc import VOC_CLASSES, Voc
from wsss_fast.files import DataError, write_image, write_mask


def annotation(*names: str) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{i % 2}</difficult><part><name>head</name></part></object>"
        for i, name in enumerate(names)
    )
    return f"<annotation><filename>x.jpg</filename>{objects}</annotation>"


def make(root: Path, lists: dict[str, str], kind: str = "Segmentation") -> Path:
    for name in ("2007_000032", "ein Bild", "図"):
        write_image(root / "JPEGImages" / f"{name}.jpg", np.zeros((6, 8, 3), np.uint8))
    for split, content in lists.items():
        path = root / "ImageSets" / kind / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def annotate(root: Path, name: str, content: str | bytes) -> None:
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("kind", ["Segmentation", "Main"])
def test_annotations(tmp_path: Path, kind: str) -> None:
    root = make(tmp_path / "VOC größe", {"train": "2007_000032\n図\n\n", "minival": "ein Bild\n"}, kind)
    annotate(root, "2007_000032", annotation("person", "aeroplane", "aeroplane"))
    annotate(root, "図", annotation())
    annotate(root, "ein Bild", annotation("dog"))
    write_mask(root / "SegmentationClass" / "図.png", np.full((6, 8), 20, np.uint8))
    config = DataConfig(reader="voc", root=str(root), val_split="minival")
    images = open_images(config, "train")
    assert images.classes == VOC_CLASSES
    assert len(VOC_CLASSES) == 20
    assert [images.name(i) for i in range(len(images))] == ["2007_000032", "図"]
    # Difficult objects count, parts of objects do not.
    assert [VOC_CLASSES[k] for k in np.flatnonzero(images.labels(0))] == ["aeroplane", "person"]
    assert not images.labels(1).any()
    assert images.mask(0) is None
    mask = images.mask(1)
    assert mask is not None
    assert (mask == 20).all()
    assert images.image(1).shape == (6, 8, 3)
    val = open_images(config, "val")
    assert [val.name(0), val.source(0)] == ["ein Bild", str(root / "JPEGImages" / "ein Bild.jpg")]


def test_masks_of_300_classes(tmp_path: Path) -> None:
    classes = [f"c{i}" for i in range(300)]
    make(tmp_path, {"train": "図\n"})
    annotate(tmp_path, "図", annotation("c299"))
    written = np.array([[0, 255, 256, 300, 65535, 1, 2, 3]] * 6, np.uint16)
    write_mask(tmp_path / "SegmentationClass" / "図.png", written)
    images = Voc(tmp_path, "train", classes=classes)
    assert np.flatnonzero(images.labels(0)).tolist() == [299]
    mask = images.mask(0)
    assert mask is not None
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, written)


def test_annotations_with_other_classes(tmp_path: Path) -> None:
    make(tmp_path, {"train": "2007_000032\n"})
    annotate(tmp_path, "2007_000032", annotation("newt"))
    assert Voc(tmp_path, "train", classes=["frog", "newt"]).labels(0).tolist() == [False, True]
    with pytest.raises(DataError, match=r"2007_000032\.xml: expected objects of the classes .*, got 'newt'"):
        Voc(tmp_path, "train").labels(0)


def test_labels_csv_goes_before_annotations(tmp_path: Path) -> None:
    make(tmp_path, {"train": "図\n2007_000032\n"})
    annotate(tmp_path, "図", annotation("dog"))
    (tmp_path / "labels.csv").write_text(
        "name,newt,frog\n2007_000032.jpg,1,0\n図,0,1\nother,0,0\n", encoding="utf-8"
    )
    images = Voc(tmp_path, "train")
    assert images.classes == ("newt", "frog")
    assert images.labels(0).tolist() == [False, True]
    assert images.labels(1).tolist() == [True, False]


def test_lists_and_tables_that_do_not_fit(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"train": "図\n2007_000032\nein Bild\n", "empty": "\n", "twice": "図\na\n図\n", "path": "../x\n"},
    )
    with pytest.raises(DataError, match=r"expected labels\.csv or the folder Annotations, got neither"):
        Voc(tmp_path, "train")
    (tmp_path / "labels.csv").write_text("name,newt\n図,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.csv: .*train\.txt, got none for '2007_000032', 'ein Bild'"):
        Voc(tmp_path, "train")
    with pytest.raises(DataError, match=r"empty\.txt: expected at least one name, got none"):
        Voc(tmp_path, "empty")
    with pytest.raises(DataError, match=r"twice\.txt: expected distinct names, got '図' more than once"):
        Voc(tmp_path, "twice")
    with pytest.raises(DataError, match=r"path\.txt: .*fit for a file name, got '\.\./x'"):
        Voc(tmp_path, "path")
    with pytest.raises(DataError, match=r"Segmentation/test\.txt: .*Main/test\.txt, got no such file"):
        Voc(tmp_path, "test")
    with pytest.raises(DataError, match=r"got '\.\./train'"):
        Voc(tmp_path, "../train")
    with pytest.raises(DataError, match="layout of PASCAL VOC, got no such folder"):
        Voc(tmp_path / "none", "train")
    with pytest.raises(DataError, match=r"labels\.csv: .*got none for 'frog'; the unknown 'newt'"):
        Voc(tmp_path, "train", classes=["frog"])


def test_missing_images_and_annotations_fail_only_when_read(tmp_path: Path) -> None:
    make(tmp_path, {"train": "図\ngone\n"})
    annotate(tmp_path, "図", annotation("dog"))
    images = Voc(tmp_path, "train")
    with pytest.raises(DataError, match=r"JPEGImages/gone\.jpg: expected an image, got no such file"):
        images.image(1)
    with pytest.raises(
        DataError, match=r"Annotations/gone\.xml: expected an annotation in plain XML, got no such"
    ):
        images.labels(1)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"<annotation><object>", "no element found"),
        (b"\xff\xd8 jpeg", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "unknown encoding"),
        (
            b'<!DOCTYPE a [<!ENTITY x "dog"><!ENTITY y "&x;&x;">]>'
            b"<annotation><object><name>&x;</name></object></annotation>",
            "a document type declaration",
        ),
        (
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "secret.txt">]>'
            b"<annotation><object><name>&x;</name></object></annotation>",
            "a document type declaration",
        ),
        (
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "dog">]><annotation/>'.encode(
                "utf-16"
            ),
            "a document type declaration",
        ),
    ],
)
def test_bad_annotations(tmp_path: Path, content: bytes, got: str) -> None:
    make(tmp_path, {"train": "図\n"})
    annotate(tmp_path, "図", content)
    (tmp_path / "Annotations" / "secret.txt").write_text("dog")
    with pytest.raises(DataError, match=rf"図\.xml: expected an annotation in plain XML, got.*{got}"):
        Voc(tmp_path, "train").labels(0)


def test_real_photographs() -> None:
    root = SHARED / "data" / "catdogperson"
    if not root.exists():
        message = f"no photographs at {root} (set WSSS_FAST_SHARED)"
        if os.environ.get("REQUIRE_GOLDEN") == "1":
            pytest.fail(message)
        pytest.skip(message)
    config = DataConfig(reader="voc", root=str(root))
    train, val = open_images(config, "train"), open_images(config, "val")
    assert (len(train), len(val)) == (392, 60)
    assert train.classes == val.classes == ("cat", "dog", "person")
    assert sum(train.mask(i) is None for i in range(len(train))) == 45
    for i in range(len(val)):
        mask = val.mask(i)
        assert mask is not None
        assert mask.shape == val.image(i).shape[:2]
        # The mask shows no class that the labels do not name.
        assert set(np.unique(mask)) - {0, 255} <= set(np.flatnonzero(val.labels(i)) + 1)
