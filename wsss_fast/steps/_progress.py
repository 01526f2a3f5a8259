"""One progress bar for everything that takes longer than a second."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress(total: int, description: str, *, done: int = 0) -> tqdm[Any]:
    """A bar that disappears when it is full, and is silent where no person is watching (a log file)."""
    return tqdm(total=total, initial=done, desc=description, leave=False, disable=None)
