"""Reading and writing the files of a run.

Every write is atomic: the content goes to a temporary file in the same folder, which then takes the place of
the target in one rename, so that a reader (or a run that is started again after it was killed) finds the old
file, the new file or none, never half of one. Missing folders are made. Nothing is pickled.

A process that is killed leaves the temporary file of the write it was in. The next process that writes into
that folder, as the same command does when it goes on, removes it: its name says whose it was.

Every read of something missing, cut off or of another kind raises `DataError`, every write that fails (a full
disk, a folder without permission) `WriteError`; both name the file.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import os
import re
import secrets
import socket
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor

PathLike: TypeAlias = "str | os.PathLike[str]"

IGNORE = 255
"""The label of pixels that take no part, in masks of 8 bits."""

MAX_CLASSES_8_BITS = 254
"""Object classes that masks of 8 bits hold, beside 0 for the background and 255."""

MAX_CLASSES = 65_534
"""Object classes that masks of 16 bits hold, beside 0 for the background and 65535."""


class DataError(ValueError):
    """A file that cannot be used.

    Attributes:
        file: the file (or folder) that is at fault.
        reason: what was expected and what came.

    It survives pickling, so it may be raised in a worker process.

    >>> from wsss_fast.files import DataError
    >>> str(DataError("images/cat.jpg", "expected an image, got an empty file"))
    'images/cat.jpg: expected an image, got an empty file'
    """

    def __init__(self, file: PathLike, reason: str) -> None:
        self.file = os.fspath(file)
        self.reason = reason
        super().__init__(f"{self.file}: {reason}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str]]:
        return type(self), (self.file, self.reason)


class NoMasksError(DataError):
    """A data set without any true mask: it can be trained on, not evaluated.

    >>> from wsss_fast.files import DataError, NoMasksError
    >>> issubclass(NoMasksError, DataError)
    True
    """


class WriteError(OSError):
    """A file that cannot be written. No `DataError`: with those an image is skipped and the step goes on,
    and on a full disk that would be all of them.

    Attributes:
        file: the file (or folder) that was to be written.
        reason: what the system says.

    >>> import errno, os
    >>> from wsss_fast.files import WriteError
    >>> str(WriteError("run/cat.png", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    'run/cat.png: expected to write it, got: No space left on device'
    """

    def __init__(self, file: PathLike, cause: OSError) -> None:
        self.file = os.fspath(file)
        self.reason = cause.strerror or str(cause)
        super().__init__(cause.errno, self.reason, self.file)

    def __str__(self) -> str:
        return f"{self.file}: expected to write it, got: {self.reason}"

    def __reduce__(self) -> tuple[type[WriteError], tuple[str, OSError]]:
        return type(self), (self.file, OSError(self.errno, self.reason))


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary path beside ``path``, with its suffix; it replaces ``path`` when the block ends well.

    If the block raises, the temporary file is removed and ``path`` stays as it was; an `OSError` of the block
    becomes a `WriteError` that names ``path``. The folder of ``path`` is made if it is missing, and what
    processes that were killed have left of writing into it is removed. A crash of the process is survived, a
    loss of power may not be: nothing is synced.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from wsss_fast.files import atomic_path
    >>> target = Path(tempfile.mkdtemp()) / "new" / "notes.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("done")
    >>> target.read_text(), [p.name for p in target.parent.iterdir()]
    ('done', ['notes.txt'])
    """
    target = Path(path)
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy_once(target.parent)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)  # what the umask leaves
        yield temporary
        temporary.chmod(mode)  # some writers (safetensors) make their file anew, for its owner alone
        os.replace(temporary, target)
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def temporary_beside(target: Path) -> Path:
    """A new name for what will take the place of ``target``: short, and it says whose it is."""
    return target.parent / f".tmp-{_machine()}-{os.getpid()}-{secrets.token_hex(6)}{target.suffix}"


_TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}(\.|$)")


def is_temporary(path: PathLike) -> bool:
    """Whether it is a file that a write (perhaps of a process that was killed) has not finished."""
    return _TEMPORARY.match(os.path.basename(path)) is not None


_STALE_SECONDS = 24 * 3600.0
"""No write takes that long."""

_tidied: set[str] = set()
"""Folders that this process has looked through; their list is read once, however many files it writes."""


def _tidy_once(folder: Path) -> None:
    place = os.path.abspath(folder)
    if place not in _tidied:
        _tidied.add(place)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that are no more.

    The first write into a folder does. Of a process of this machine it is known; a file of another machine
    (that shares the folder), or of a process number that is in use again, is removed when it is a day old.
    """
    with os.scandir(folder) as entries:
        found = [(entry, match) for entry in entries if (match := _TEMPORARY.match(entry.name))]
    for entry, match in found:
        with suppress(FileNotFoundError):  # another process has removed or renamed it
            age = time.time() - entry.stat(follow_symlinks=False).st_mtime
            gone = match[1] == _machine() and not is_running(int(match[2]))
            if gone or age > _STALE_SECONDS:
                os.unlink(entry.path)


def is_running(number: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return not _has_ended(number)


def _has_ended(number: int) -> bool:
    """Whether a process is only there until its parent, perhaps a slow first one of a container, asks for
    its exit code."""
    try:
        state = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):  # no such system, or it has gone
        return False
    return state in (b"Z", b"X")


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    """Eight digits for where a process number means one process: the host since its start, or a container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def read_bytes(path: PathLike, kind: str) -> bytes:
    """The content of a file; ``kind`` (such as ``"a PNG"``) says in the error what was expected."""
    try:
        with open_regular(path, kind) as file:
            content = file.read()
    except OSError as error:
        raise DataError(path, f"expected {kind}, got an error: {error.strerror or error}") from error
    if not content:
        raise DataError(path, f"expected {kind}, got an empty file")
    return content


def open_regular(path: PathLike, kind: str) -> io.BufferedReader:
    """A file, open for reading. `DataError` for what is none: a pipe that nobody writes into would be waited
    for without end."""
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  the caller closes it
    except FileNotFoundError:
        raise DataError(path, f"expected {kind}, got no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with the character 0
        reason = getattr(error, "strerror", None) or error
        raise DataError(path, f"expected {kind}, got an error: {reason}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(path, f"expected {kind}, got a pipe or device")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _plain(value: Any) -> Any:
    """``value`` in types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON.

    NumPy and torch values become numbers and lists, paths become strings, and numbers that JSON does not have
    (NaN and infinities) become null.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from wsss_fast.files import read_json, write_json
    >>> path = Path(tempfile.mkdtemp()) / "metrics.json"
    >>> write_json(path, {"iou": [0.5, float("nan")]})
    >>> read_json(path)
    {'iou': [0.5, None]}
    """
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: PathLike, text: str) -> None:
    """Write text in UTF-8.

    What names of files may have and UTF-8 has not (bytes that are no text) is written as ``\\udcff``, which
    JSON and YAML read back.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: PathLike) -> Any:
    """What a JSON file holds.

    >>> from wsss_fast.files import read_json
    >>> read_json("nowhere.json")
    Traceback (most recent call last):
    ...
    wsss_fast.files.DataError: nowhere.json: expected a JSON file, got no such file
    """
    try:
        return json.loads(read_bytes(path, "a JSON file"))
    # Beside errors of JSON: bytes that are no UTF-8, integers of thousands of digits, thousands of brackets.
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"expected a JSON file, got: {error}") from error


def write_npz(path: PathLike, *, compress: bool = False, **arrays: np.ndarray) -> None:
    """Write named arrays. ``compress`` pays for masks and sparse maps and costs time on noisy ones.

    Raises `TypeError` for an array of Python objects, which only pickle could write.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import read_npz, write_npz
    >>> path = Path(tempfile.mkdtemp()) / "cat.npz"
    >>> write_npz(path, classes=np.array([3]), full=np.zeros((1, 4, 6), np.float16))
    >>> read_npz(path, "full")["full"].shape
    (1, 4, 6)
    """
    values = {name: np.asarray(array) for name, array in arrays.items()}
    for name, value in values.items():
        if value.dtype.hasobject:
            raise TypeError(f"{name}: expected an array of numbers or strings, got dtype {value.dtype}")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **values)  # type: ignore[arg-type]


# The last of kinds of compression and encryption that Python does not know.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError)


def read_npz(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file: all of them, or those of the given names.

    Raises `DataError` for a file that is missing or no .npz, and for an array that is not in it. Pickled
    objects in it are not loaded.

    >>> from wsss_fast.files import DataError, read_npz
    >>> try:
    ...     read_npz("nowhere.npz", "full")
    ... except DataError as error:
    ...     print(error.reason)
    expected an .npz file, got no such file
    """
    kind = "an .npz file"
    content = read_bytes(path, kind)
    if content[:2] != b"PK":  # np.load would take it for a pickle and advise to load it unsafely
        raise DataError(path, f"expected {kind}, got something else")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            missing = set(names) - set(arrays.files)
            if missing:
                raise DataError(path, f"expected the arrays {sorted(names)}, got {sorted(arrays.files)}")
            found = {name: arrays[name] for name in names or arrays.files}
    except DataError:
        raise
    except (*_BROKEN_ZIP, OSError, EOFError, ValueError, KeyError, SyntaxError, MemoryError) as error:
        raise DataError(path, f"expected {kind}, got: {error}") from error
    others = [name for name, value in found.items() if not isinstance(value, np.ndarray)]
    if others:  # NumPy gives the bytes of what is no array
        raise DataError(path, f"expected {kind}, got {others[0]!r} in it, which is no array")
    return found


def voc_palette() -> np.ndarray:
    """The colours of the PASCAL VOC masks: uint8 ``[256,3]``, RGB; 0 is black, 255 a light beige.

    The three lowest bits of a label give the highest bit of red, green and blue, the next three the second
    highest, and so on.

    >>> from wsss_fast.files import voc_palette
    >>> voc_palette()[[0, 1, 2, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    label = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for level in range(3):
        for channel in range(3):
            bit = label >> (3 * level + channel) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


_PALETTE = voc_palette().tobytes()


def mask_dtype(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of masks of a data set with so many object classes: 8 bits to 254 of them, then 16.

    >>> from wsss_fast.files import mask_dtype
    >>> mask_dtype(20).__name__, mask_dtype(1000).__name__
    ('uint8', 'uint16')
    """
    return np.uint8 if classes <= MAX_CLASSES_8_BITS else np.uint16


def ignore_of(dtype: np.typing.DTypeLike) -> int:
    """The label of pixels that take no part in masks of a type: its largest value.

    >>> import numpy as np
    >>> from wsss_fast.files import ignore_of
    >>> ignore_of(np.uint8), ignore_of(np.uint16)
    (255, 65535)
    """
    return int(np.iinfo(np.dtype(dtype)).max)


def write_mask(path: PathLike, mask: np.ndarray) -> None:
    """Write a mask ``[H,W]`` as a PNG: uint8 with the VOC palette, uint16 as 16 bits of grey.

    Raises `ValueError` for another shape, `TypeError` for another dtype.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import read_mask, write_mask
    >>> path = Path(tempfile.mkdtemp()) / "cat.png"
    >>> write_mask(path, np.uint8([[0, 1], [255, 1]]))
    >>> read_mask(path).tolist()
    [[0, 1], [255, 1]]
    """
    from PIL import Image  # the ops do without Pillow

    mask = np.asarray(mask)
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(f"mask: expected [H,W] uint8 or uint16, got {list(mask.shape)} {mask.dtype}")
    if mask.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"mask: expected [H,W] uint8 or uint16, got {list(mask.shape)} {mask.dtype}")
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        image.putpalette(_PALETTE)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def read_mask(path: PathLike) -> np.ndarray:
    """The labels of a palette or grey PNG ``[H,W]``: uint8, or uint16 where it has 16 bits.

    Of a palette PNG the indices, not the colours.

    Raises `DataError` for a file that is missing or another kind of image.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import read_mask, write_mask
    >>> path = Path(tempfile.mkdtemp()) / "cat.png"
    >>> write_mask(path, np.uint16([[0, 300]]))
    >>> read_mask(path).dtype
    dtype('uint16')
    """
    from PIL import Image, UnidentifiedImageError

    kind = "a palette or grey PNG of at most 16 bits a pixel"
    content = read_bytes(path, kind)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("P", "L", "1", "I;16", "I;16B"):
                raise DataError(path, f"expected {kind}, got {image.format} with mode {image.mode}")
            return np.array(image, np.uint16 if image.mode.startswith("I") else np.uint8)
    except UnidentifiedImageError:
        raise DataError(path, f"expected {kind}, got something that is not an image") from None
    except DataError:
        raise
    # Pillow reports broken chunks as SyntaxError, cut files as OSError and absurd sizes by its own error.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(path, f"expected {kind}, got: {error}") from error


def write_image(path: PathLike, image: np.ndarray) -> None:
    """Write an image uint8 ``[H,W,3]`` RGB or ``[H,W]`` grey; the suffix (.png, .jpg) tells the format.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import write_image
    >>> path = Path(tempfile.mkdtemp()) / "cat.jpg"
    >>> write_image(path, np.zeros((40, 60, 3), np.uint8))
    >>> path.exists()
    True
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(f"image: expected [H,W,3] or [H,W] uint8, got {list(image.shape)} {image.dtype}")
    if 0 in image.shape or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"image: expected [H,W,3] or [H,W] uint8, got {list(image.shape)} {image.dtype}")
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"path: expected a name that ends in .png, .jpg or .jpeg, got {os.fspath(path)!r}")
    good, content = cv2.imencode(suffix, bgr)
    if not good:
        raise ValueError(f"image: expected something {suffix} can hold, got {list(image.shape)}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())


def save_tensors(
    path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors and strings as .safetensors; tensors on a GPU are copied to the CPU first.

    Tensors that share memory (tied weights) are written once each.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from wsss_fast.files import load_tensors, save_tensors
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_tensors(path, torch.nn.Linear(3, 2).state_dict(), {"epoch": "4"})
    >>> tensors, strings = load_tensors(path)
    >>> tensors["weight"].shape, strings["epoch"]
    (torch.Size([2, 3]), '4')
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    content: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        content[name] = value.clone() if memory in seen else value
        seen.add(memory)
    with atomic_path(path) as temporary:
        try:
            save_file(content, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))  # how it tells of a full disk
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load_tensors(
    path: PathLike, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and strings of a .safetensors file.

    Raises `DataError` for a file that is missing or of another kind.

    >>> from wsss_fast.files import DataError, load_tensors
    >>> try:
    ...     load_tensors("nowhere.safetensors")
    ... except DataError as error:
    ...     print(error.reason)
    expected a .safetensors file, got no such file
    """
    from safetensors import SafetensorError, safe_open

    kind = "a .safetensors file"
    if not Path(path).is_file():
        raise DataError(path, f"expected {kind}, got no such file")
    if Path(path).stat().st_size == 0:
        raise DataError(path, f"expected {kind}, got an empty file")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(path, f"expected {kind}, got: {error}") from error
