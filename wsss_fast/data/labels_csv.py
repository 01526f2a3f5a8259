"""Image-level labels from a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from wsss_fast.data.image_set import check_classes
from wsss_fast.files import DataError, read_bytes

_DIGITS = {"0", "1"}


@dataclass(frozen=True)
class LabelTable:
    """The content of a labels.csv."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    """The column ``name``, as it is written."""
    labels: np.ndarray
    """bool ``[N,K]``."""
    splits: tuple[str, ...] | None
    """The column ``split``, if there is one."""


def read_labels(path: Path, classes: Sequence[str] = ()) -> LabelTable:
    """Read a CSV file (UTF-8, commas): the columns ``name``, one a class with 0 or 1, and maybe ``split``.

    The classes are the columns in their order, or ``classes``, which must then be the same names.
    Raises `DataError` that names the row and the column.
    """
    try:
        text = read_bytes(path, "a CSV file").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected a CSV file in UTF-8, got: {error}") from error
    reader = _rows(path, text)
    _, first = next(reader, (0, []))
    header = [field.strip() for field in first]
    if "name" not in header:
        raise DataError(path, f"expected the column 'name' and one a class, got {header}")
    columns = [field for field in header if field not in ("name", "split")]
    check_classes(path, columns)
    for special in ("name", "split"):
        if header.count(special) > 1:
            raise DataError(path, f"expected one column {special!r}, got {header.count(special)}")
    if classes and set(classes) != set(columns):
        lacking = [name for name in classes if name not in columns]
        unknown = [name for name in columns if name not in classes]
        raise DataError(
            path,
            "expected a column for each of data.classes and no other, got "
            + "; ".join(
                f"{what} {', '.join(map(repr, names))}"
                for what, names in (("none for", lacking), ("the unknown", unknown))
                if names
            ),
        )
    ordered = check_classes(path, classes or columns)
    column_of = {name: column for column, name in enumerate(header)}
    where = [column_of[name] for name in ordered]
    pick = itemgetter(*where, where[0])  # one more, so that it is a tuple for a single class too
    name_column = header.index("name")
    split_column = header.index("split") if "split" in header else None

    names: list[str] = []
    labels = bytearray()  # the digits, a byte a label
    splits: list[str] = []
    first_row: dict[str, int] = {}
    for line, row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(path, f"row {line}: expected {len(header)} fields, got {len(row)}")
        name = row[name_column].strip()
        if not name:
            raise DataError(path, f"row {line}: expected a name, got none")
        if name in first_row:
            raise DataError(
                path, f"row {line}: expected distinct names, got {name!r} as in row {first_row[name]}"
            )
        first_row[name] = line
        fields = pick(row)[:-1]
        if not _DIGITS.issuperset(fields):
            fields = tuple(field.strip() for field in fields)
        for column in () if _DIGITS.issuperset(fields) else where:
            if row[column].strip() not in ("0", "1"):
                raise DataError(
                    path, f"row {line}, column {header[column]!r}: expected 0 or 1, got {row[column]!r}"
                )
        names.append(name)
        labels += "".join(fields).encode()
        if split_column is not None:
            splits.append(row[split_column].strip())
    return LabelTable(
        classes=ordered,
        names=tuple(names),
        labels=(np.frombuffer(labels, np.uint8) == ord("1")).reshape(len(names), len(ordered)),
        splits=None if split_column is None else tuple(splits),
    )


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row, and the number of the line that it ends in."""
    # Not by splitlines: a quoted name may have the end of a line in it, or what only Python takes for one.
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(path, f"row {reader.line_num}: expected a row of a CSV file, got: {error}") from error


def some(names: Sequence[str]) -> str:
    """A few of many names, for a message."""
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
