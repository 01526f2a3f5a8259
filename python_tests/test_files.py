"""Files of a run: atomic, never pickled, and clear about what is wrong with them."""

from __future__ import annotations

import json
import os
import pickle
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the pipeline extra")

from PIL import Image

from wsss_fast import files
from wsss_fast.files import DataError


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_atomic_path_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "größe 1" / "x.bin"
    with files.atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".bin"
        assert not target.exists()
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert listing(target.parent) == ["x.bin"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_keeps_the_old_file_on_error(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    with pytest.raises(failure), files.atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["x.bin"]


def test_atomic_path_takes_names_as_long_as_the_file_system_does(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".png")
    files.write_mask(target, np.zeros((2, 3), np.uint8))
    assert listing(tmp_path) == [target.name]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_json(tmp_path / "x.json", 1)
        files.write_mask(tmp_path / "x.png", np.zeros((2, 3), np.uint8))
        files.save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o640}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    files.write_json(target, [0] * 20_000)
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            files.write_json(target, [n] * 20_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [files.read_json(target) for _ in range(30)]
    finally:
        stop.set()
        writer.join()
    assert all(len(values) == 20_000 and len(set(values)) == 1 for values in seen)


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    value = {
        "a": np.float32(0.5),
        "b": (1, np.int64(2)),
        "c": np.array([[1, 2]]),
        "d": torch.tensor([0.25]),
        "e": Path("f") / "g",
        "h": [float("nan"), np.float64("inf"), True, None, "größe"],
        3: {},
    }
    files.write_json(path, value)
    assert files.read_json(path) == {
        "a": 0.5,
        "b": [1, 2],
        "c": [[1, 2]],
        "d": [0.25],
        "e": "f/g",
        "h": [None, None, True, None, "größe"],
        "3": {},
    }
    json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("compress", [False, True])
def test_npz_round_trip(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "x.npz"
    full = np.random.default_rng(0).random((2, 5, 7)).astype(np.float16)
    classes = np.array([1, 3], np.int16)
    files.write_npz(path, compress=compress, full=full, classes=classes, none=np.zeros((0, 4)))
    content = files.read_npz(path)
    assert set(content) == {"full", "classes", "none"}
    assert content["full"].dtype == np.float16
    np.testing.assert_array_equal(content["full"], full)
    np.testing.assert_array_equal(content["classes"], classes)
    assert content["none"].shape == (0, 4)
    assert set(files.read_npz(path, "classes")) == {"classes"}


def test_npz_names_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    files.write_npz(path, a=np.zeros(1))
    with pytest.raises(DataError, match=r"expected the arrays \['a', 'b'\], got \['a'\]"):
        files.read_npz(path, "a", "b")


def test_npz_neither_writes_nor_reads_pickles(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(TypeError, match="a: expected an array of numbers or strings, got dtype object"):
        files.write_npz(path, a=np.array([{}]))
    assert listing(tmp_path) == []
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(DataError):
        files.read_npz(path)


def test_mask_round_trip_and_palette(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    files.write_mask(path, mask)
    np.testing.assert_array_equal(files.read_mask(path), mask)
    # The colours that VOC's masks show for background, aeroplane, bicycle, person and the void border.
    with Image.open(path) as image:
        assert image.mode == "P"
        shown = np.array(image.convert("RGB")).reshape(256, 3)
    assert shown[[0, 1, 2, 15, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [224, 224, 192],
    ]
    assert len({tuple(colour) for colour in shown.tolist()}) == 256


def test_mask_of_other_tools(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), mask)
    np.testing.assert_array_equal(files.read_mask(tmp_path / "grey.png"), mask)
    Image.fromarray(mask == 1).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(files.read_mask(tmp_path / "bits.png"), mask == 1)
    few = Image.fromarray(mask % 4)
    few.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 7, 7, 7])
    few.save(tmp_path / "few.png", bits=2)
    np.testing.assert_array_equal(files.read_mask(tmp_path / "few.png"), mask % 4)
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(
        DataError, match="palette or grey PNG of at most 16 bits a pixel, got PNG with mode RGB"
    ):
        files.read_mask(tmp_path / "colour.png")
    cv2.imwrite(str(tmp_path / "deep.png"), mask * np.uint16(257))
    deep = files.read_mask(tmp_path / "deep.png")
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, mask * np.uint16(257))


def test_masks_of_many_classes_have_16_bits(tmp_path: Path) -> None:
    assert [files.mask_dtype(n) for n in (1, 254, 255)] == [np.uint8, np.uint8, np.uint16]
    mask = np.array([[0, 255, 256], [1000, 65535, 1]], np.uint16)
    files.write_mask(tmp_path / "x.png", mask)
    again = files.read_mask(tmp_path / "x.png")
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, mask)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (np.zeros((2, 3), np.int64), TypeError),
        (np.zeros((2, 3, 1), np.uint8), ValueError),
        (np.zeros((0, 3), np.uint8), ValueError),
    ],
)
def test_write_mask_refuses(tmp_path: Path, mask: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"mask: expected \[H,W\] uint8 or uint16, got"):
        files.write_mask(tmp_path / "x.png", mask)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", ["ein Bild.png", "図.jpg"])
def test_write_image(tmp_path: Path, name: str) -> None:
    image = np.full((20, 30, 3), (200, 100, 20), np.uint8)
    files.write_image(tmp_path / name, image)
    with Image.open(tmp_path / name) as read:
        assert np.abs(np.array(read).astype(int) - image).max() <= 3  # jpeg rounds
    files.write_image(tmp_path / "grey.png", image[..., 0])
    with Image.open(tmp_path / "grey.png") as read:
        np.testing.assert_array_equal(np.array(read), image[..., 0])


def test_write_image_refuses(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"image: expected .* got \[4, 4, 3\] float64"):
        files.write_image(tmp_path / "x.png", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"image: expected .* got \[4, 4, 2\] uint8"):
        files.write_image(tmp_path / "x.png", np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .png, .jpg or .jpeg"):
        files.write_image(tmp_path / "x.webp", np.zeros((4, 4, 3), np.uint8))


def test_tensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    weight = torch.randn(3, 4)
    tensors = {
        "weight": weight,
        "tied": weight,
        "transposed": weight.t(),
        "row": weight[1],
        "step": torch.tensor(7),
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    }
    files.save_tensors(path, tensors, {"epoch": "3"})
    read, metadata = files.load_tensors(path)
    assert metadata == {"epoch": "3"}
    assert set(read) == set(tensors)
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)
    files.save_tensors(path, {"weight": weight})
    assert files.load_tensors(path)[1] == {}


READERS: dict[str, Callable[[Path], Any]] = {
    "a JSON file": files.read_json,
    "an .npz file": files.read_npz,
    "a palette or grey PNG": files.read_mask,
    "a .safetensors file": files.load_tensors,
}


@pytest.mark.parametrize("kind", READERS)
def test_readers_name_the_file_and_what_is_wrong(tmp_path: Path, kind: str) -> None:
    read = READERS[kind]
    with pytest.raises(DataError, match=f"none: expected {kind}.*, got no such file") as caught:
        read(tmp_path / "none")
    assert caught.value.file == str(tmp_path / "none")
    assert caught.value.reason.startswith(f"expected {kind}")
    for content in (b"", b"junk, and enough of it to hold a header", b"\x80\x04junk"):
        bad = tmp_path / "bad"
        bad.write_bytes(content)
        with pytest.raises(DataError, match=f"bad: expected {kind}.*, got"):
            read(bad)
    with pytest.raises(DataError, match=f"expected {kind}"):
        read(tmp_path)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files.write_npz(tmp_path / "x.npz", a=rng.random((50, 50)))
    files.write_mask(tmp_path / "x.png", rng.integers(0, 255, (50, 50)).astype(np.uint8))
    files.save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(100)})
    reads: dict[str, Callable[[Path], Any]] = {
        ".npz": files.read_npz,
        ".png": files.read_mask,
        ".safetensors": files.load_tensors,
    }
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for part in (0.1, 0.5, 0.95):
            path.write_bytes(content[: int(len(content) * part)])
            with pytest.raises(DataError):
                reads[path.suffix](path)
        if path.suffix == ".npz":  # a damaged array, not a missing end
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
            with pytest.raises(DataError):
                files.read_npz(path)


def test_data_error_survives_a_process_boundary() -> None:
    error = DataError(Path("images") / "a.jpg", "expected an image, got nothing")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ValueError)
    assert (copy.file, copy.reason, str(copy)) == (error.file, error.reason, str(error))
    assert str(error) == "images/a.jpg: expected an image, got nothing"
