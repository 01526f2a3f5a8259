"""From an image file to pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from wsss_fast.files import DataError, PathLike, read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""What counts as an image in a folder, in any case."""


def read_image(path: PathLike) -> np.ndarray:
    """An image file as uint8 ``[H,W,3]``, RGB.

    As OpenCV reads it: turned as its EXIF orientation says, grey repeated, transparency dropped, 16 bits
    reduced to the higher 8. Raises `DataError` for a file that is missing, empty, cut off or no image.
    """
    return decode_image(read_bytes(path, "an image"), path)


def decode_image(content: bytes, path: PathLike) -> np.ndarray:
    """What `read_image` makes of a file's content; ``path`` is blamed for what is wrong with it."""
    # Some versions of OpenCV fill what a cut file lacks with grey, and only print a warning.
    if _is_cut(content):
        raise DataError(path, "expected an image, got one that is cut off")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DataError(path, f"expected an image, got one OpenCV cannot decode: {error.err}") from error
    if image is None:
        raise DataError(path, "expected an image, got something OpenCV cannot decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_cut(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        # The end marker must follow the last start of a scan; an earlier one belongs to the EXIF thumbnail.
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-4096:]
    return False


def stem_of(name: str) -> str:
    """A file name without the suffix of an image; another dot in it stays.

    >>> from wsss_fast.data.decode import stem_of
    >>> stem_of("a.v2.jpg"), stem_of("a.v2")
    ('a.v2', 'a.v2')
    """
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else name


def find_images(folder: Path) -> dict[str, list[Path]]:
    """The image files of a folder by their stems; more than one file may share a stem."""
    if not folder.is_dir():
        raise DataError(folder, "expected a folder of images, got no such folder")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    return found
