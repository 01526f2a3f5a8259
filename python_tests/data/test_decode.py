"""Image files of every kind, good and bad."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the pipeline extra")

from PIL import Image

from wsss_fast.data.decode import find_images, read_image
from wsss_fast.files import DataError


def photograph(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth picture with different colours in its corners."""
    corners = np.array([[[230, 20, 30], [20, 200, 40]], [[30, 40, 220], [240, 240, 250]]], np.uint8)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("name", ["a b.png", "größe.bmp", "図.tif", "x.jpg", "x.JPEG", "x.webp"])
def test_formats_and_names(tmp_path: Path, name: str) -> None:
    image = photograph()
    Image.fromarray(image).save(tmp_path / name)
    read = read_image(tmp_path / name)
    assert read.shape == image.shape
    assert read.dtype == np.uint8
    tolerance = 0 if Path(name).suffix in (".png", ".bmp", ".tif") else 25  # lossy, with coarser colours
    assert np.abs(read.astype(int) - image).max() <= tolerance


def test_exif_orientation(tmp_path: Path) -> None:
    image = photograph()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated a quarter clockwise
    Image.fromarray(image).save(tmp_path / "x.jpg", exif=exif, quality=98)
    read = read_image(tmp_path / "x.jpg")
    assert read.shape == (60, 40, 3)
    assert np.abs(read.astype(int) - np.rot90(image, -1)).mean() < 5


def test_grey_transparent_deep_and_palette_images(tmp_path: Path) -> None:
    image = photograph()
    grey = image[..., 1]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))

    rgba = np.dstack([image, np.full(image.shape[:2], 10, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), image)

    deep = image.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    assert np.abs(read_image(tmp_path / "deep.png").astype(int) - image).max() <= 1

    Image.fromarray(image).quantize(256).save(tmp_path / "palette.png")
    assert np.abs(read_image(tmp_path / "palette.png").astype(int) - image).mean() < 10


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_cut_files_are_refused(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match="expected an image, got") as caught:
        read_image(path)
    assert caught.value.file == str(path)


def test_a_cut_jpeg_with_a_thumbnail_is_refused(tmp_path: Path) -> None:
    # The thumbnail inside the header has an end marker of its own.
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    Image.fromarray(photograph(8, 8)).save(small)
    Image.fromarray(photograph()).save(large)
    thumbnail = b"Exif\0\0" + small.read_bytes()
    content = large.read_bytes()
    whole = content[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + content[2:]
    large.write_bytes(whole)
    assert read_image(large).shape == (40, 60, 3)
    large.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="cut off"):
        read_image(large)


def test_missing_empty_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: expected an image, got no such file"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg: expected an image, got an empty file"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not an image at all")
    with pytest.raises(DataError, match=r"text\.jpg: expected an image, got something OpenCV cannot decode"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(DataError, match="expected an image"):
        read_image(tmp_path)


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "a.png", "notes.txt", ".hidden.jpg", "c.d.webp"):
        (tmp_path / name).touch()
    found = {stem: [path.name for path in paths] for stem, paths in find_images(tmp_path).items()}
    assert found == {"a": ["a.jpg", "a.png"], "b": ["b.PNG"], "c.d": ["c.d.webp"]}
    with pytest.raises(DataError, match="expected a folder of images, got no such folder"):
        find_images(tmp_path / "none")
