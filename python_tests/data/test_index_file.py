"""Index files, and the reader `prepared`."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from wsss_fast.config import ConfigError, DataConfig
from wsss_fast.data import open_images
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.index_file import IndexFile, write_index
from wsss_fast.data.prepared import Prepared
from wsss_fast.data.selection import Selection
from wsss_fast.files import DataError, write_image, write_mask

CLASSES = [f"c{k}" for k in range(11)]
NAMES = ["a", "ein Bild", "図", "d.e", "z" * 200]


def made_labels(count: int = len(NAMES), classes: int = len(CLASSES)) -> np.ndarray:
    return np.random.default_rng(0).random((count, classes)) < 0.3


def make(path: Path, classes: list[str] = CLASSES, masks_root: str = "masks") -> np.ndarray:
    labels = made_labels(classes=len(classes))
    with write_index(path, classes=classes, images_root="images", masks_root=masks_root) as index:
        for i, name in enumerate(NAMES):
            index.add(name, f"sub/{name}.jpg", f"{name}.png" if i % 2 else "", labels[i])
    return labels


@pytest.mark.parametrize("count", [1, 8, 11, 200, 300])
def test_what_is_written_is_read(tmp_path: Path, count: int) -> None:
    classes = [f"c{k}" for k in range(count)]
    labels = make(tmp_path / "train.index", classes)
    index = IndexFile(tmp_path / "train.index")
    assert (len(index), index.classes, index.images_root) == (len(NAMES), tuple(classes), "images")
    for i, name in enumerate(NAMES):
        assert index.entry(i) == (name, f"sub/{name}.jpg", f"{name}.png" if i % 2 else "")
        np.testing.assert_array_equal(index.labels(i), labels[i])
    np.testing.assert_array_equal(index.label_matrix(), labels)
    np.testing.assert_array_equal(index.label_matrix(range(1, 3)), labels[1:3])
    np.testing.assert_array_equal(index.label_matrix([4, 0, 4]), labels[[4, 0, 4]])
    assert index.label_matrix().dtype == np.bool_
    with pytest.raises(IndexError, match=r"\[0, 4\], got 5"):
        index.entry(5)


def test_none_at_all(tmp_path: Path) -> None:
    with write_index(tmp_path / "val.index", classes=CLASSES, images_root=".", masks_root="."):
        pass
    assert IndexFile(tmp_path / "val.index").label_matrix().shape == (0, len(CLASSES))
    with pytest.raises(DataError, match=r"val\.index: expected at least one image, got none"):
        Prepared(tmp_path, "val")


def test_pickling_sends_the_path(tmp_path: Path) -> None:
    with write_index(tmp_path / "train.index", classes=CLASSES, images_root=".", masks_root=".") as index:
        for i in range(5000):
            index.add(f"image_{i}", f"image_{i}.jpg", "", made_labels(1)[0])
    images = Prepared(tmp_path, "train")
    content = pickle.dumps(images)
    assert len(content) < 1000
    again = pickle.loads(content)
    assert again.name(4999) == "image_4999"
    np.testing.assert_array_equal(again.labels(7), images.labels(7))


def write_names(path: Path, names: list[str], labels: np.ndarray | None = None) -> None:
    with write_index(path, classes=CLASSES, images_root=".", masks_root=".") as index:
        for name in names:
            index.add(name, "x.jpg", "", made_labels(1)[0] if labels is None else labels)


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "train.index"
    for names, message in (
        (["a", "b", "a"], r"train\.index: expected distinct names, got 'a' more than once"),
        (["a/b"], "fit for a file name, got 'a/b'"),
    ):
        with pytest.raises(DataError, match=message):
            write_names(path, names)
    assert list(tmp_path.iterdir()) == []  # neither the file nor a temporary one


def test_a_stopped_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.index"
    labels = make(path)
    with pytest.raises(ValueError, match=r"labels: expected bool \[11\], got bool \(10,\)"):
        write_names(path, ["other"], labels[0, :10])
    assert IndexFile(path).entry(0).name == "a"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "train.index"
    make(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"train\.index: expected an index file.*, got") as caught:
            IndexFile(path)
        assert ("cut off" in caught.value.reason) == (length > 0)
    path.write_bytes(content + b"\0")
    with pytest.raises(DataError, match=f"of {len(content)} bytes, got {len(content) + 1}"):
        IndexFile(path)


def test_other_files_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "train.index"
    make(path)
    content = path.read_bytes()
    _, _, header_length, header_at, _ = struct.unpack_from("<8sIIQQ", content)

    def with_header(**changes: object) -> bytes:
        header = json.dumps({**json.loads(content[header_at:]), **changes}).encode()
        front = struct.pack("<8sIIQQ", b"wsssidx\n", 1, len(header), header_at, header_at + len(header))
        return front + content[32:header_at] + header

    path.write_bytes(with_header())
    assert len(IndexFile(path)) == len(NAMES)
    assert header_at + header_length == len(content)
    for wrong, message in (
        (b"\x89PNG" + content[4:], r"got one that begins with b'\\x89PNG"),
        (b"PK\3\4", "got one that begins with b'PK"),
        (content[:8] + struct.pack("<I", 2) + content[12:], "of version 1, got version 2: make it anew"),
        (content[:-1] + b"]", "expected a header in JSON, got"),
        (with_header(count=4), "expected sections that fit the header"),
        (with_header(labels_at=0), "expected sections that fit the header"),
        (with_header(classes=[]), "expected at least one class"),
        (with_header(count=None), "expected a header with all its keys"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=message):
            IndexFile(path)
    with pytest.raises(DataError, match=r"none\.index: expected an index file, got no such file"):
        IndexFile(tmp_path / "none.index")


def test_spoilt_text_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.index"
    make(path)
    content = bytearray(path.read_bytes())
    content[33] = ord("!")  # the end of the first name
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a name and two paths for image 0"):
        IndexFile(path).entry(0)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    labels = make(tmp_path / "train.index", masks_root="images/masks")
    assert labels.any()
    for i, name in enumerate(NAMES):
        write_image(tmp_path / "images" / "sub" / f"{name}.jpg", np.full((6, 8, 3), 10 * i, np.uint8))
        if i % 2:
            write_mask(tmp_path / "images" / "masks" / f"{name}.png", np.full((6, 8), i, np.uint8))
    return tmp_path


def test_the_reader(prepared: Path) -> None:
    images = open_images(DataConfig(reader="prepared", root=str(prepared)), "train")
    assert [images.name(i) for i in range(len(images))] == NAMES
    assert images.image(3).shape == (6, 8, 3)
    assert images.mask(0) is None
    mask = images.mask(3)
    assert mask is not None
    assert (mask == 3).all()
    np.testing.assert_array_equal(images.label_matrix(), made_labels())
    with pytest.raises(DataError, match=r"val\.index: expected an index file, got no such file"):
        open_images(DataConfig(reader="prepared", root=str(prepared)), "val")
    with pytest.raises(DataError, match="made by `wsss-fast prepare`, got no such folder"):
        open_images(DataConfig(reader="prepared", root=str(prepared / "no")), "train")
    with pytest.raises(DataError, match=r"expected the classes of data\.classes in their order"):
        Prepared(prepared, "train", classes=CLASSES[::-1])
    with pytest.raises(ConfigError, match=r"data\.images_root: expected nothing \(reader 'folder'"):
        DataConfig(reader="folder", root="x", images_root="y")
    (prepared / "images" / "masks" / "ein Bild.png").unlink()
    with pytest.raises(DataError, match=r"ein Bild\.png: expected .*, got no such file"):
        images.mask(1)


def test_images_that_have_moved(prepared: Path) -> None:
    (prepared / "images").rename(prepared / "elsewhere")
    with pytest.raises(DataError, match="expected an image, got no such file"):
        Prepared(prepared, "train").image(0)
    config = DataConfig(reader="prepared", root=str(prepared), images_root=str(prepared / "elsewhere"))
    images = open_images(config, "train")
    assert (images.image(2) == 20).all()
    assert images.mask(1) is not None  # inside the folder that has moved
    with pytest.raises(DataError, match="expected the folder of the images, got no such folder"):
        Prepared(prepared, "train", images_root=prepared / "images")


class Unreadable(ImageSet):
    """Image 1 has labels that cannot be read."""

    classes = ("x", "y")

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return str(index)

    source = name

    def image(self, index: int) -> np.ndarray:
        raise AssertionError

    def labels(self, index: int) -> np.ndarray:
        if index == 1:
            raise DataError("1.xml", "expected an annotation")
        return np.array([index == 0, True])

    def mask(self, index: int) -> np.ndarray | None:
        return None


def test_label_matrix_of_any_set() -> None:
    images = Unreadable()
    with pytest.raises(DataError, match=r"1\.xml"):
        images.label_matrix()
    told: list[int] = []
    matrix = images.label_matrix(unreadable=lambda index, error: told.append(index))
    assert matrix.tolist() == [[True, True], [False, False], [False, True]]
    assert told == [1]
    assert images.label_matrix([2, 0]).tolist() == [[False, True], [True, True]]
    selected = Selection(images, [0], [2, 0])
    assert selected.label_matrix().tolist() == [[False], [True]]
    assert selected.label_matrix([1]).tolist() == [[True]]
    assert isinstance(Selection(images, [0]).indices, range)
