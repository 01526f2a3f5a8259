"""One progress bar for everything that takes longer than a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(total: int, description: str, *, done: int = 0) -> tqdm[Any]:
    """A bar that disappears when it is full, and is silent where no person is watching (a log file)."""
    return tqdm(total=total, initial=done, desc=description, leave=False, disable=None)


def progress_over(items: Iterable[Item], description: str) -> Iterator[Item]:
    """The items, with such a bar if they take longer than a second."""
    return iter(tqdm(items, desc=description, unit="image", leave=False, delay=1, disable=None))
