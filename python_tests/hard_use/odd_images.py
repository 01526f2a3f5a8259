"""Images as cameras, tools and accidents make them: bytes, and what should come of them.

The pixels that are expected are computed from arrays here, never by the decoder that is tested.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 36


def picture() -> np.ndarray:
    """Smooth, unlike itself in any orientation: uint8 ``[H,W,3]``."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green, blue = 20 + 6 * x, 30 + 8 * y, 230 - 3 * x - 4 * y
    return np.stack([red, green, np.clip(blue, 0, 255)], -1).astype(np.uint8)


PICTURE = picture()
GREY = PICTURE[..., 0]


class Good(NamedTuple):
    """An image that can be read."""

    name: str
    content: bytes
    pixels: np.ndarray
    mean_error: float = 0.0
    """What lossy formats may differ by on average, of 255."""


class Bad(NamedTuple):
    """A file that is to be refused."""

    name: str
    content: bytes
    reason: str
    """What the message must have in it."""


def encoded(pixels: np.ndarray, form: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, format=form, **options)
    return file.getvalue()


JPEG = encoded(PICTURE, "JPEG", quality=95, subsampling=0)
PNG = encoded(PICTURE, "PNG")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: ``rows`` as the format wants them, with a filter byte (0) before each."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def rows_of(values: np.ndarray) -> bytes:
    """Numbers of 8 or 16 bits ``[H,...]`` as the rows of a PNG."""
    return b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)


def tiff(values: np.ndarray, sample_format: int) -> bytes:
    """A grey TIFF by hand, ``values`` ``[H,W]``."""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    entries = [
        (256, values.shape[1]),
        (257, values.shape[0]),
        (258, 8 * values.itemsize),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, values.shape[0]),
        (279, len(data)),
        (339, sample_format),
    ]
    directory = struct.pack("<H", len(entries))
    for tag, value in entries:
        directory += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def damaged(content: bytes, part: float, length: int = 16) -> bytes:
    """With some bytes turned over, from this part of it on."""
    at = int(part * len(content))
    return content[:at] + bytes(byte ^ 0x5A for byte in content[at : at + length]) + content[at + length :]


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
"""By the EXIF orientation: from the pixels as they are stored to those to be shown."""


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


def _turned() -> Iterator[Good]:
    for number, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = number
        shown = turn(PICTURE)
        yield Good(
            f"turned-{number}.jpg", encoded(PICTURE, "JPEG", quality=95, subsampling=0, exif=exif), shown, 3
        )
        yield Good(f"turned-{number}.png", encoded(PICTURE, "PNG", exif=exif), shown)
        yield Good(f"turned-{number}.tif", encoded(PICTURE, "TIFF", tiffinfo={274: number}), shown)


def _good() -> Iterator[Good]:
    yield from _turned()
    deep = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 75
    yield Good(
        "grey-16.png", png(WIDTH, HEIGHT, 16, 0, rows_of(deep)), repeated((deep >> 8).astype(np.uint8))
    )
    colours = PICTURE.astype(np.uint16) * 256 + 77
    yield Good("rgb-16.png", png(WIDTH, HEIGHT, 16, 2, rows_of(colours)), PICTURE)
    yield Good("grey.png", encoded(GREY, "PNG"), repeated(GREY))
    yield Good("grey.jpg", encoded(GREY, "JPEG", quality=95), repeated(GREY), 2)
    alpha = np.dstack([GREY, 255 - GREY])
    yield Good("grey-alpha.png", png(WIDTH, HEIGHT, 8, 4, rows_of(alpha)), repeated(GREY))
    alpha = np.dstack([PICTURE, np.zeros_like(GREY)])
    yield Good("transparent.png", png(WIDTH, HEIGHT, 8, 6, rows_of(alpha)), PICTURE)
    bits = GREY > 100
    packed = np.packbits(bits, axis=1)
    yield Good(
        "one-bit.png", png(WIDTH, HEIGHT, 1, 0, rows_of(packed)), repeated(bits.astype(np.uint8) * 255)
    )
    yield Good("palette.png", *_palette(b""))
    yield Good("palette-transparent.png", *_palette(chunk(b"tRNS", bytes(range(8)))))
    # 4 inks: black takes the place of what the other three have in common.
    inks = 255 - PICTURE.astype(int)
    black = inks.min(-1, keepdims=True)
    cmyk = np.concatenate([inks - black, black], -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(cmyk, "CMYK").save(file, format="JPEG", quality=97, subsampling=0)
    yield Good("cmyk.jpg", file.getvalue(), _of_inks(cmyk), 4)
    yield Good(
        "progressive.jpg", encoded(PICTURE, "JPEG", quality=95, subsampling=0, progressive=True), PICTURE, 3
    )
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {})):
        file = io.BytesIO()
        frames = [
            Image.fromarray(np.where(PICTURE > 128, 255, 0).astype(np.uint8) ^ flip) for flip in (0, 255)
        ]
        frames[0].save(file, format=form, save_all=True, append_images=frames[1:], duration=50, **options)
        yield Good(f"animated-{form}.png", file.getvalue(), np.where(PICTURE > 128, 255, 0).astype(np.uint8))
    yield Good("a-png.jpg", PNG, PICTURE)
    yield Good("a-jpeg.PNG", JPEG, PICTURE, 3)
    yield Good("CAPITALS.JPG", JPEG, PICTURE, 3)
    yield Good("a-tiff.jpeg", encoded(PICTURE, "TIFF"), PICTURE)
    pixel = np.uint8([[[1, 2, 3]]])
    yield Good("one-pixel.png", png(1, 1, 8, 2, rows_of(pixel)), pixel)
    row = np.arange(3 * 20_000, dtype=np.uint32).astype(np.uint8).reshape(1, 20_000, 3)
    yield Good("wide.png", png(20_000, 1, 8, 2, rows_of(row)), row)
    yield Good("high.png", png(1, 20_000, 8, 2, rows_of(row.transpose(1, 0, 2))), row.transpose(1, 0, 2))
    # A phone appends its video to the photograph; there are both markers in that, the start of a scan last.
    yield Good("with-a-video.jpg", JPEG + b"\0\0\0\x18ftypmp42" + b"\xff\xd9 \xff\xda " * 5, PICTURE, 3)
    yield Good("padded.png", PNG + bytes(10_000), PICTURE)
    yield Good("padded.jpg", JPEG + bytes(10_000), PICTURE, 3)


def _palette(more: bytes) -> tuple[bytes, np.ndarray]:
    colours = np.random.default_rng(0).integers(0, 256, (8, 3)).astype(np.uint8)
    indices = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 8).astype(np.uint8)
    whole = png(WIDTH, HEIGHT, 8, 3, rows_of(indices))
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunk(b"PLTE", colours.tobytes()) + more + whole[at:], colours[indices]


def _of_inks(cmyk: np.ndarray) -> np.ndarray:
    light = 255 - cmyk.astype(float)
    return (light[..., :3] * light[..., 3:] / 255).round().astype(np.uint8)


GOOD = {case.name: case for case in _good()}


def _bad() -> Iterator[Bad]:
    # Behind the header, in the pixels, and where nothing but the end is missing.
    for part in (2, 30, 300, len(JPEG) // 2, len(JPEG) - 2, len(JPEG) - 1):
        yield Bad(f"cut-{part}.jpg", JPEG[:part], "")
    for part in (4, 8, 20, 45, len(PNG) // 2, len(PNG) - 12, len(PNG) - 8):
        yield Bad(f"cut-{part}.png", PNG[:part], "cut off")
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        yield Bad(f"damaged-{part}.png", damaged(PNG, part), "")
    tables = (JPEG.index(b"\xff\xc4") + 4) / len(JPEG)
    yield Bad("damaged-tables.jpg", damaged(JPEG, tables), "OpenCV cannot decode")
    yield Bad("empty.jpg", b"", "an empty file")
    yield Bad("zeros.jpg", bytes(4000), "OpenCV cannot decode")
    yield Bad("text.jpg", b"a text, whatever it is called\n", "OpenCV cannot decode")
    yield Bad("page.png", b"<html><body>404 Not Found</body></html>", "OpenCV cannot decode")
    yield Bad(
        "pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "OpenCV cannot decode"
    )
    big = encoded(np.zeros((1, 1), np.uint8), "BMP")
    yield Bad("bomb.bmp", big[:18] + struct.pack("<ii", 2**30, 2**30) + big[26:], "pixels")
    for side in (14_000, 60_000, 2**31 - 1):  # from some more than may be, to all that a PNG can say
        yield Bad(f"bomb-{side}.png", png(side, side, 1, 0, bytes(1000)), "pixels")
    at = JPEG.index(b"\xff\xc0") + 5
    yield Bad("bomb.jpg", JPEG[:at] + b"\xff\xdc\xff\xdc" + JPEG[at + 4 :], "pixels")
    levels = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    yield Bad("float-32.tif", tiff(levels.astype(np.float32), 3), "got floating-point numbers")
    yield Bad("float-64.tif", tiff(levels, 3), "OpenCV cannot decode")  # Pillow neither
    yield Bad("signed-16.tif", tiff((levels * 1000 - 500).astype(np.int16), 2), "got signed numbers")


BAD = {case.name: case for case in _bad()}
