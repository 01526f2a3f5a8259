"""What fills the small file system of the fixture `disk`."""

from __future__ import annotations

import shutil
from pathlib import Path

NO_SPACE = "No space left on device"


def fill(disk: Path, free: int) -> Path:
    """A file that leaves so many bytes of the disk."""
    path = disk / "ballast"
    left = shutil.disk_usage(disk).free
    with path.open("wb") as file:
        file.write(bytes(left - free))
    return path
