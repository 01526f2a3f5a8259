"""Text files with a name a line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from wsss_fast.data.image_set import check_name
from wsss_fast.data.labels_csv import some
from wsss_fast.files import DataError, read_bytes


def read_lines(path: Path) -> list[str]:
    """The lines of a list, without blanks around them, empty ones left out. Raises `DataError`."""
    try:
        text = read_bytes(path, "a list of names").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected a list of names in UTF-8, got: {error}") from error
    # Not splitlines, for which a line ends at characters that a name may have.
    return [line.strip() for line in io.StringIO(text, newline=None) if line.strip()]


def check_names(path: Path, names: Sequence[str]) -> list[str]:
    """The names, if there are any, fit for files and distinct; ``path`` is blamed if not."""
    checked = [check_name(path, name) for name in names]
    if not checked:
        raise DataError(path, "expected at least one name, got none")
    if len(set(checked)) != len(checked):
        seen: set[str] = set()
        twice = [name for name in checked if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise DataError(path, f"expected distinct names, got {some(twice)} more than once")
    return checked
