"""Reading the maps that earlier steps wrote, with a look at whether they are what those write."""

from __future__ import annotations

import numpy as np

from wsss_fast import _checks
from wsss_fast.files import DataError, PathLike, read_npz


def read_maps(path: PathLike, *names: str, classes: int) -> dict[str, np.ndarray]:
    """``classes``, int64 ``[K]``, and the arrays of the given names, floating ``[K,h,w]``, of an .npz file.

    Raises `DataError` for other shapes and types, values that are not finite, and ids that do not ascend or
    are none of those of so many ``classes``.
    """
    arrays = read_npz(path, "classes", *names)
    ids = _ids(path, arrays["classes"], classes)
    for name in names:
        maps = arrays[name]
        if maps.ndim != 3 or len(maps) != len(ids) or min(maps.shape[1:]) < 1:
            raise DataError(path, f"expected {name} [{len(ids)},h,w], got {_checks.describe(maps)}")
        _check_finite(path, name, maps)
    return {**arrays, "classes": ids}


def read_boundary(path: PathLike) -> np.ndarray:
    """The boundary map, floating ``[h,w]``, of a file of make-pseudo-masks."""
    boundary = read_npz(path, "boundary")["boundary"]
    if boundary.ndim != 2 or 0 in boundary.shape:
        raise DataError(path, f"expected boundary [h,w], got {_checks.describe(boundary)}")
    _check_finite(path, "boundary", boundary)
    return boundary


def check_size(path: PathLike, name: str, maps: np.ndarray, size: tuple[int, ...]) -> None:
    """Raise `DataError` unless maps ``[K,h,w]`` are as large as their image."""
    if maps.shape[1:] != size:
        raise DataError(path, f"expected {name} of the image's size {list(size)}, got {list(maps.shape[1:])}")


def _ids(path: PathLike, ids: np.ndarray, classes: int) -> np.ndarray:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(path, f"expected classes [K] of integers, got {_checks.describe(ids)}")
    ids = ids.astype(np.int64)
    if len(ids) and not (ids[0] >= 1 and ids[-1] <= classes and (np.diff(ids) > 0).all()):
        raise DataError(path, f"expected ascending class ids 1 to {classes}, got {ids[:20].tolist()}")
    return ids


def _check_finite(path: PathLike, name: str, maps: np.ndarray) -> None:
    if maps.dtype.kind != "f":
        raise DataError(path, f"expected {name} of floating numbers, got {_checks.describe(maps)}")
    # Of half-precision numbers the bits are looked at: four times as fast as to ask for each.
    half = maps.dtype == np.float16
    wrong = (maps.view(np.uint16) & 0x7C00) == 0x7C00 if half else ~np.isfinite(maps)
    if wrong.any():
        raise DataError(path, f"expected {name} of finite values, got some that are not")
