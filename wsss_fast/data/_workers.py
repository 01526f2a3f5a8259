"""What the loaders share: worker processes, and the news of items that they could not read.

An image that cannot be read does not stop a run: the worker carries the failure to the main process inside
the item (an exception would end the epoch, and lose its type on the way), and there it is told to a
``skip`` function, once an image. With ``strict=True`` the first failure raises `DataError`, in the main
process too.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import cv2

Skip: TypeAlias = Callable[[str, str, str], None]
"""Told the name, the file and the reason of every item that is left out."""


class Skipped(NamedTuple):
    """An item that could not be read."""

    name: str
    file: str
    reason: str


def start_worker(_: int) -> None:
    """What a worker process does first."""
    cv2.setNumThreads(0)  # the workers themselves are the parallelism
    # Ctrl-C reaches all processes of a terminal. One that it ends amid a message leaves the main process
    # waiting for seconds; that one is to end the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
