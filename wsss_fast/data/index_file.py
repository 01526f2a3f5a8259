"""The index file: the images of one split in one file that is mapped into memory, not read.

A list of a million images costs nothing to open: names, paths and labels stay on disk until they are asked
for, and worker processes share the pages. ``wsss-fast prepare`` writes it; the reader ``prepared`` reads it.

The format, version 1 (integers are little-endian; N images, K classes):

| at | what                    | content                                                                   |
| -- | ----------------------- | ------------------------------------------------------------------------- |
| 0  | 8 bytes                 | the magic, ``wsssidx`` and a newline                                      |
| 8  | uint32                  | the version of the format                                                 |
| 12 | uint32                  | the length of the header in bytes                                         |
| 16 | uint64                  | where the header is: the labels' end                                      |
| 24 | uint64                  | the length of the whole file                                              |
| 32 | text                    | for each image ``name \\0 image \\0 mask \\0``, in UTF-8                  |
| -  | uint64 ``[N+1]``        | where the text of each image begins, and the last ends; at a multiple of 8 |
| -  | uint8 ``[N,ceil(K/8)]`` | labels, a bit a class: class k is bit ``k % 8`` of byte ``k // 8``        |
| -  | JSON                    | the header: its keys are below                                            |

The header's keys are ``count``, ``classes``, ``images_root``, ``masks_root``, ``offsets_at``, ``labels_at``.

``image`` is relative to ``images_root`` and ``mask`` to ``masks_root``, unless they are absolute; an empty
``mask`` means that there is none. A root that is relative starts at the folder of the index file.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import shutil
import struct
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from wsss_fast.data.image_set import check_classes, check_name
from wsss_fast.files import DataError, PathLike, atomic_path, open_regular

MAGIC = b"wsssidx\n"
VERSION = 1
SUFFIX = ".index"
_FRONT = struct.Struct("<8sIIQQ")
_KIND = "an index file"


class Entry(NamedTuple):
    """What an index file has of an image, beside its labels.

    >>> from wsss_fast.data.index_file import Entry
    >>> Entry("rex", "rex.jpg", "").mask
    ''
    """

    name: str
    image: str
    """The path of the image, as it is written."""
    mask: str
    """The path of the mask, as it is written; empty where there is none."""


class IndexWriter:
    """Takes images one after another; made by `write_index`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.data.index_file import IndexFile, write_index
    >>> path = Path(tempfile.mkdtemp()) / "train.index"
    >>> with write_index(path, classes=["cat", "dog"], images_root="images", masks_root="masks") as index:
    ...     index.add("rex", "rex.jpg", "", np.array([False, True]))
    >>> index.count
    1
    """

    def __init__(self, path: Path, classes: Sequence[str], text: IO[bytes], labels: IO[bytes]) -> None:
        self.path = path
        self.classes = check_classes(path, classes)
        self.count = 0
        self.offsets = array("Q", [_FRONT.size])  # 8 bytes an image
        self.hashes = array("q")
        self._text = text
        self._labels = labels

    def add(self, name: str, image: str, mask: str, labels: np.ndarray) -> None:
        """``labels``: bool ``[K]``. Raises `DataError` for a name that cannot be a file name."""
        check_name(self.path, name)
        if labels.shape != (len(self.classes),) or labels.dtype != np.bool_:
            raise ValueError(
                f"labels: expected bool [{len(self.classes)}], got {labels.dtype} {labels.shape}"
            )
        text = b"".join(_encode(self.path, part) + b"\0" for part in (name, image, mask))
        self._text.write(text)
        self._labels.write(np.packbits(labels, bitorder="little").tobytes())
        self.offsets.append(self.offsets[-1] + len(text))
        self.hashes.append(hash(name))
        self.count += 1

    def _refuse_duplicates(self) -> None:
        """Raise `DataError` for names that came more than once. Only hashes are kept of them, so those that
        share one are read again."""
        hashes = np.frombuffer(self.hashes, np.int64)
        values, counts = np.unique(hashes, return_counts=True)
        suspects = np.flatnonzero(np.isin(hashes, values[counts > 1]))
        seen: set[str] = set()
        self._text.flush()
        for index in suspects:
            self._text.seek(self.offsets[index])
            length = self.offsets[index + 1] - self.offsets[index]
            name = self._text.read(length).partition(b"\0")[0].decode("utf-8", "surrogateescape")
            if name in seen:
                raise DataError(self.path, f"expected distinct names, got {name!r} more than once")
            seen.add(name)
        self._text.seek(0, io.SEEK_END)


@contextmanager
def write_index(
    path: PathLike, *, classes: Sequence[str], images_root: str, masks_root: str
) -> Iterator[IndexWriter]:
    """Write an index file: it appears when the block ends well. Names must be distinct (`DataError`).

    Streaming: memory holds 16 bytes an image.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.data.index_file import IndexFile, write_index
    >>> path = Path(tempfile.mkdtemp()) / "train.index"
    >>> with write_index(path, classes=["cat", "dog"], images_root="images", masks_root="masks") as index:
    ...     index.add("rex", "rex.jpg", "", np.array([False, True]))
    >>> len(IndexFile(path))
    1
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        file = stack.enter_context(temporary.open("w+b"))
        labels = stack.enter_context(tempfile.TemporaryFile(dir=temporary.parent))
        file.write(bytes(_FRONT.size))
        writer = IndexWriter(Path(path), classes, file, labels)
        yield writer
        writer._refuse_duplicates()
        file.write(bytes(-file.tell() % 8))
        offsets_at = file.tell()
        file.write(np.frombuffer(writer.offsets, np.uint64).astype("<u8").tobytes())
        labels_at = file.tell()
        labels.seek(0)
        shutil.copyfileobj(labels, file)
        header_at = file.tell()
        header = json.dumps(
            {
                "count": writer.count,
                "classes": writer.classes,
                "images_root": images_root,
                "masks_root": masks_root,
                "offsets_at": offsets_at,
                "labels_at": labels_at,
            }
        ).encode()
        file.write(header)
        length = file.tell()
        file.seek(0)
        file.write(_FRONT.pack(MAGIC, VERSION, len(header), header_at, length))
        file.close()  # before it takes its place


class IndexFile:
    """An index file, open for reading; see the module for the format.

    Opening looks at its beginning and end only, whatever its length, and raises `DataError` for a file that
    is missing, cut off, of another kind or of another version. Pickling it sends its path.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.data.index_file import IndexFile, write_index
    >>> path = Path(tempfile.mkdtemp()) / "train.index"
    >>> with write_index(path, classes=["cat", "dog"], images_root="images", masks_root="masks") as index:
    ...     index.add("rex", "rex.jpg", "", np.array([False, True]))
    >>> images = IndexFile(path)
    >>> images.entry(0).image, images.labels(0).tolist(), images.label_matrix().shape
    ('rex.jpg', [False, True], (1, 2))
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        try:
            with open_regular(path, _KIND) as file:
                length = os.fstat(file.fileno()).st_size
                if not length:
                    raise DataError(path, f"expected {_KIND}, got an empty file")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(path, f"expected {_KIND}, got an error: {error.strerror or error}") from error
        header, header_at = self._header(length)
        try:
            self._count = int(header["count"])
            self.classes = check_classes(path, header["classes"])
            self.images_root = str(header["images_root"])
            self.masks_root = str(header["masks_root"])
            offsets_at, labels_at = int(header["offsets_at"]), int(header["labels_at"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(path, f"expected a header with all its keys, got: {error!r}") from error
        width = -(-len(self.classes) // 8)
        if (
            self._count < 0
            or not _FRONT.size <= offsets_at <= labels_at
            or labels_at - offsets_at != 8 * (self._count + 1)
            or header_at - labels_at != self._count * width
        ):
            raise DataError(path, "expected sections that fit the header, got others")
        self._offsets = np.frombuffer(self._map, "<u8", self._count + 1, offsets_at)
        self._labels = np.frombuffer(self._map, np.uint8, self._count * width, labels_at)
        self._labels = self._labels.reshape(self._count, width)
        if not _FRONT.size <= int(self._offsets[-1]) <= offsets_at:
            raise DataError(path, "expected text that ends before the offsets, got another end")

    def _header(self, length: int) -> tuple[dict[str, Any], int]:
        if self._map[: len(MAGIC)] != MAGIC[:length]:
            raise DataError(self.path, f"expected {_KIND}, got one that begins with {self._map[:8]!r}")
        if length < _FRONT.size:
            raise DataError(self.path, f"expected {_KIND}, got one cut off after {length} bytes")
        _, version, header_length, header_at, whole = _FRONT.unpack_from(self._map)
        if version != VERSION:
            raise DataError(
                self.path,
                f"expected {_KIND} of version {VERSION}, got version {version}: make it anew by "
                "`wsss-fast prepare`",
            )
        if length != whole or header_at + header_length != whole:
            raise DataError(
                self.path, f"expected {_KIND} of {whole} bytes, got {length}: it is cut off or spoilt"
            )
        try:
            header = json.loads(self._map[header_at:whole])
        except ValueError as error:
            raise DataError(self.path, f"expected a header in JSON, got: {error}") from error
        if not isinstance(header, dict):
            raise DataError(self.path, f"expected a header of keys and values, got {type(header).__name__}")
        return header, header_at

    def __reduce__(self) -> tuple[type[IndexFile], tuple[Path]]:
        return type(self), (self.path,)

    def __len__(self) -> int:
        return self._count

    def entry(self, index: int) -> Entry:
        """Name and paths of an image, as they are written."""
        at = self._checked(index)
        start, stop = int(self._offsets[at]), int(self._offsets[at + 1])
        parts = self._map[start:stop].decode("utf-8", "surrogateescape").split("\0")
        if len(parts) != 4 or parts[3] or not parts[0]:
            raise DataError(self.path, f"expected a name and two paths for image {at}, got something else")
        check_name(self.path, parts[0])  # outputs are called after it
        return Entry(*parts[:3])

    def labels(self, index: int) -> np.ndarray:
        """bool ``[K]``."""
        return self._unpacked(self._labels[self._checked(index)])

    def label_matrix(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """bool ``[N,K]`` of some images, by default of all."""
        if indices is None:
            rows = self._labels
        elif isinstance(indices, range) and indices.step == 1 and indices.start >= 0:
            rows = self._labels[indices.start : indices.stop]
        else:
            rows = self._labels[np.asarray(indices, np.int64)]
        return self._unpacked(rows)

    def _unpacked(self, rows: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(rows, axis=-1, count=len(self.classes), bitorder="little")
        return bits.view(np.bool_)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(f"index: expected an integer in [0, {self._count - 1}], got {index}")
        return int(index)


def _encode(path: Path, text: str) -> bytes:
    content = text.encode("utf-8", "surrogateescape")
    if b"\0" in content:
        raise DataError(path, f"expected a path without the character 0, got {text!r}")
    return content
