"""From an image file to pixels."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np

from wsss_fast.files import DataError, PathLike, read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""What counts as an image in a folder, in any case."""


def read_image(path: PathLike) -> np.ndarray:
    """An image file as uint8 ``[H,W,3]``, RGB.

    As OpenCV reads it: turned as its EXIF orientation says, grey repeated, transparency dropped, 16 bits
    reduced to the higher 8, CMYK converted, of an animation the first frame; what it is called does not
    matter. Raises `DataError` for a file that is missing, empty, cut off or no image, for one of more pixels
    than Pillow allows for masks (twice ``PIL.Image.MAX_IMAGE_PIXELS``, 179 million), and for TIFFs of
    floating-point or signed numbers, which have no agreed white.

    A PNG has check sums, so that damage anywhere in it is seen. A JPEG has none: damage in its middle is seen
    where the decoder gives up, and else is in the pixels.
    """
    return decode_image(read_bytes(path, "an image"), path)


def decode_image(content: bytes, path: PathLike) -> np.ndarray:
    """What `read_image` makes of a file's content; ``path`` is blamed for what is wrong with it."""
    # Some versions of OpenCV fill what a cut file lacks with grey, and only print a warning.
    if _is_cut(content):
        raise DataError(path, "expected an image, got one that is cut off")
    _check_header(content, path)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    except cv2.error as error:  # want of memory too
        raise DataError(path, f"expected an image, got one OpenCV cannot decode: {error.err}") from error
    raise DataError(path, "expected an image, got something OpenCV cannot decode")


def _check_header(content: bytes, path: PathLike) -> None:
    """Refuse, before it is decoded, what would fill the memory, and what would be decoded to nonsense."""
    from PIL import Image  # the ops do without Pillow

    try:
        with Image.open(io.BytesIO(content)) as image:
            of_numbers = image.format == "TIFF" and image.tag_v2.get(_SAMPLE_FORMAT)
    except Image.DecompressionBombError as error:
        raise DataError(path, f"expected an image, got: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError):  # OpenCV knows other kinds of files
        return
    for kind in of_numbers or ():
        if kind in _NUMBERS:
            raise DataError(path, f"expected an image of unsigned integers, got {_NUMBERS[kind]} numbers")


_SAMPLE_FORMAT = 339
_NUMBERS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def _is_cut(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        # The end marker must follow the last start of a scan; an earlier one belongs to the EXIF thumbnail.
        # What phones add behind it, such as a video, may hold the bytes of either.
        seems_cut = content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
        return seems_cut and not _has_end_of_jpeg(content)
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-4096:] and not _has_end_of_png(content)
    return False


_PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")


def _has_end_of_jpeg(content: bytes) -> bool:
    """Whether its segments, of which all but the pixels say how long they are, come to the end marker."""
    at = 2
    while (found := _MARKER.search(content, at)) is not None:
        if found[1] == b"\xd9":
            return True
        at = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))
    return False


def _has_end_of_png(content: bytes) -> bool:
    """Whether its chunks, which say how long they are, come to the last one."""
    at = len(_PNG)
    while at + 12 <= len(content):
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(content[at : at + 4], "big")
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
