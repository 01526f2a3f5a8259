"""The reader `folder` and its labels.csv."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsss_fast.config import DataConfig
from wsss_fast.data import ImageSet, open_images
from wsss_fast.data.folder import Folder
from wsss_fast.files import DataError, write_image, write_mask

TABLE = "name,cat,dog\na,1,0\nb,0,1\nc d,1,1\n"


def make(
    root: Path, table: str | bytes = TABLE, images: tuple[str, ...] = ("a.jpg", "b.png", "c d.jpg")
) -> Path:
    for number, name in enumerate(images):
        write_image(root / "images" / name, np.full((6, 8, 3), 40 * number, np.uint8))
    (root / "labels.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    return root


def contents(images: ImageSet) -> dict[str, list[int]]:
    return {images.name(i): images.labels(i).astype(int).tolist() for i in range(len(images))}


@pytest.mark.parametrize("place", ["plain", "a folder", "größe 図"])
def test_reads(tmp_path: Path, place: str) -> None:
    root = make(tmp_path / place)
    write_mask(root / "masks" / "c d.png", np.full((6, 8), 2, np.uint8))
    images = open_images(DataConfig(reader="folder", root=str(root)), "train")
    assert images.classes == ("cat", "dog")
    assert contents(images) == {"a": [1, 0], "b": [0, 1], "c d": [1, 1]}
    assert images.labels(0).dtype == np.bool_
    assert images.source(2) == str(root / "images" / "c d.jpg")
    assert images.image(1).shape == (6, 8, 3)
    assert (images.image(1) == 40).all()
    assert images.mask(0) is None
    mask = images.mask(2)
    assert mask is not None
    assert (mask == 2).all()
    copy = pickle.loads(pickle.dumps(images))  # as a spawned worker gets it
    assert contents(copy) == contents(images)


def test_labels_are_not_the_callers_to_change(tmp_path: Path) -> None:
    images = Folder(make(tmp_path), "train")
    images.labels(0)[:] = True
    assert images.labels(0).tolist() == [True, False]


def test_without_splits_both_splits_are_everything(tmp_path: Path) -> None:
    config = DataConfig(reader="folder", root=str(make(tmp_path)))
    assert contents(open_images(config, "train")) == contents(open_images(config, "val"))


def test_splits(tmp_path: Path) -> None:
    table = "split,name,cat\nfit,a,1\nfit,b.png,0\nheld out,c d,1\n,e,0\n"
    make(tmp_path, table, ("a.jpg", "b.png", "c d.jpg", "e.jpg"))
    config = DataConfig(reader="folder", root=str(tmp_path), train_split="fit", val_split="held out")
    assert contents(open_images(config, "train")) == {"a": [1], "b": [0]}
    assert contents(open_images(config, "val")) == {"c d": [1]}
    with pytest.raises(
        DataError, match=r"labels\.csv: expected rows with 'test' in the column 'split'.*held out"
    ):
        Folder(tmp_path, "test")


def test_classes_in_another_order(tmp_path: Path) -> None:
    images = Folder(make(tmp_path), "train", classes=["dog", "cat"])
    assert images.classes == ("dog", "cat")
    assert contents(images) == {"a": [0, 1], "b": [1, 0], "c d": [1, 1]}


def test_byte_order_mark_spaces_quotes_and_blank_lines(tmp_path: Path) -> None:
    table = '\ufeffname, cat,dog\r\n"a", 1,0\r\n\r\nb,0,1\r\n"c d",1,1\r\n\r\n'
    assert contents(Folder(make(tmp_path, table), "train")) == {"a": [1, 0], "b": [0, 1], "c d": [1, 1]}


def test_names_with_dots_and_with_suffixes(tmp_path: Path) -> None:
    table = "name,cat\nv1.2,1\nv1.3.jpg,0\ngone.jpg,1\ngone.2,0\n"
    images = Folder(make(tmp_path, table, ("v1.2.jpg", "v1.3.jpg")), "train")
    assert contents(images) == {"v1.2": [1], "v1.3": [0], "gone": [1], "gone.2": [0]}
    assert images.image(1).shape == (6, 8, 3)


def test_a_row_without_its_image_fails_only_when_read(tmp_path: Path) -> None:
    images = Folder(make(tmp_path, TABLE + "gone.jpg,0,0\n"), "train")
    assert len(images) == 4
    with pytest.raises(DataError, match=r"images/gone\.jpg: expected an image, got no such file"):
        images.image(3)


BAD_TABLES: Mapping[str, tuple[str | bytes, str]] = {
    "no name column": (
        "file,cat\na,1\n",
        r"expected the column 'name' and one a class, got \['file', 'cat'\]",
    ),
    "semicolons": ("name;cat\na;1\n", r"expected the column 'name' and one a class, got \['name;cat'\]"),
    "no class": ("name\na\n", "expected at least one class, got none"),
    "a class twice": ("name,cat,cat\na,1,1\n", "expected distinct classes, got 'cat' more than once"),
    "split twice": ("name,split,split,cat\na,x,x,1\n", "expected one column 'split', got 2"),
    "no name of a class": ("name,cat,\na,1,1\n", "expected a name for every class, got an empty one"),
    "background": ("name,Background,cat\na,1,1\n", "expected object classes only, got 'Background'"),
    "a value": ("name,cat,dog\na,1,0\nb,0,2\n", "row 3, column 'dog': expected 0 or 1, got '2'"),
    "no value": ("name,cat\na,\n", "row 2, column 'cat': expected 0 or 1, got ''"),
    "a fraction": ("name,cat\na,0.5\n", "row 2, column 'cat': expected 0 or 1, got '0.5'"),
    "a short row": ("name,cat,dog\na,1\n", "row 2: expected 3 fields, got 2"),
    "no image name": ("name,cat\n,1\n", "row 2: expected a name, got none"),
    "a name twice": ("name,cat\na,1\nb,1\na,0\n", "row 4: expected distinct names, got 'a' as in row 2"),
    "a name twice, once with suffix": (
        "name,cat\na,1\nb,1\na.jpg,0\n",
        "expected names that differ in more than the suffix, got 'a' and 'a.jpg'",
    ),
    "a path": ("name,cat\n../a,1\n", r"fit for a file name, got '\.\./a'"),
    "no row for images": (
        "name,cat\na,1\n",
        "a row for every image in images/, got none for 'b.png', 'c d.jpg'",
    ),
    "nothing": ("", "expected a CSV file, got an empty file"),
    "no rows": ("name,cat\n", "a row for every image"),
    "another encoding": ("name,größe\na,1\n".encode("latin-1"), "expected a CSV file in UTF-8"),
    "too many classes": (
        "name," + ",".join(f"c{i}" for i in range(65_535)) + "\n",
        r"expected at most 65534 classes \(masks have 16 bits\), got 65535",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(tmp_path: Path, case: str) -> None:
    table, message = BAD_TABLES[case]
    make(tmp_path, table)
    with pytest.raises(DataError, match=r"labels\.csv: .*" + message) as caught:
        Folder(tmp_path, "train")
    assert caught.value.file == str(tmp_path / "labels.csv")


@pytest.mark.parametrize("count", [254, 255, 300])
def test_many_classes_are_not_too_many(tmp_path: Path, count: int) -> None:
    table = "name," + ",".join(f"c{i}" for i in range(count)) + "\na" + ",0" * (count - 1) + ",1\n"
    images = Folder(make(tmp_path, table, ("a.jpg",)), "train")
    assert images.labels(0).nonzero()[0].tolist() == [count - 1]


def test_masks_have_the_type_of_the_data_set(tmp_path: Path) -> None:
    table = "name," + ",".join(f"c{i}" for i in range(300)) + "\na" + ",1" * 300 + "\n"
    images = Folder(make(tmp_path, table, ("a.jpg",)), "train")
    path = tmp_path / "masks" / "a.png"
    wide = np.array([[0, 255, 256, 300, 65535, 1, 254, 257]] * 6, np.uint16)
    write_mask(path, wide)
    mask = images.mask(0)
    assert mask is not None
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, wide)  # 255 is a class like others
    # 8 bits will do for a mask without the higher ids; its 255 is no class.
    write_mask(path, np.array([[0, 255, 254, 1, 2, 3, 4, 5]] * 6, np.uint8))
    mask = images.mask(0)
    assert mask is not None
    assert mask.dtype == np.uint16
    assert mask[0].tolist() == [0, 65535, 254, 1, 2, 3, 4, 5]
    write_mask(path, np.where(wide == 300, 301, wide).astype(np.uint16))
    with pytest.raises(DataError, match=r"values 0 to 300 and 65535 \(16 bits\), got \[301\]"):
        images.mask(0)


def test_masks_of_16_bits_of_few_classes(tmp_path: Path) -> None:
    images = Folder(make(tmp_path), "train")
    path = tmp_path / "masks" / "a.png"
    write_mask(path, np.array([[0, 1, 2, 65535, 0, 1, 2, 0]] * 6, np.uint16))
    mask = images.mask(0)
    assert mask is not None
    assert mask.dtype == np.uint8
    assert mask[0].tolist() == [0, 1, 2, 255, 0, 1, 2, 0]
    write_mask(path, np.full((6, 8), 255, np.uint16))
    with pytest.raises(DataError, match=r"values 0 to 2 and 65535 \(16 bits\), got \[255\]"):
        images.mask(0)


def test_class_names_that_the_table_does_not_have(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=r"labels\.csv: .*got none for 'cow'; the unknown 'dog'"):
        Folder(tmp_path, "train", classes=["cat", "cow"])
    with pytest.raises(DataError, match=r"labels\.csv: .*got the unknown 'dog'"):
        Folder(tmp_path, "train", classes=["cat"])


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    make(tmp_path, "name,cat\na,1\n", ("a.jpg", "a.png"))
    with pytest.raises(DataError, match=r"with its suffix .* got 'a' for 'a\.jpg', 'a\.png'"):
        Folder(tmp_path, "train")
    make(tmp_path, "name,cat\na.png,1\n", ("a.jpg", "a.png"))
    assert Folder(tmp_path, "train").source(0).endswith("a.png")


def test_no_rows_and_no_images(tmp_path: Path) -> None:
    make(tmp_path, "name,cat\n", ())
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"labels\.csv: expected at least one row, got none"):
        Folder(tmp_path, "train")


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images: expected a folder of images, got no such folder"):
        Folder(tmp_path, "train")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"labels\.csv: expected a CSV file, got no such file"):
        Folder(tmp_path, "train")


def test_bad_masks(tmp_path: Path) -> None:
    images = Folder(make(tmp_path), "train")
    path = tmp_path / "masks" / "a.png"
    good = np.array([[0, 1, 2, 255]] * 6).repeat(2, 1).astype(np.uint8)
    write_mask(path, good)
    np.testing.assert_array_equal(images.mask(0), good)
    write_mask(path, np.full((6, 8), 3, np.uint8))
    with pytest.raises(DataError, match=r"a\.png: expected mask values 0 to 2 and 255 \(8 bits\), got \[3\]"):
        images.mask(0)
    write_mask(path, good[:, :7])
    with pytest.raises(DataError, match=r"masks/a\.png: .* as large as its image, 8x6, got 7x6"):
        images.mask(0)
    cv2.imwrite(str(path), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"masks/a\.png: expected a palette or grey PNG"):
        images.mask(0)
    path.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"masks/a\.png: .*something that is not an image"):
        images.mask(0)
