"""What the loaders share: worker processes, and the news of items that they could not read.

An image that cannot be read does not stop a run: the worker carries the failure to the main process inside
the item (an exception would end the epoch, and lose its type on the way), and there it is told to a
``skip`` function, once an image. With ``strict=True`` the first failure raises `DataError`, in the main
process too.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import cv2

from wsss_fast.files import is_running

Skip: TypeAlias = Callable[[str, str, str], None]
"""Told the name, the file and the reason of every item that is left out."""


class Skipped(NamedTuple):
    """An item that could not be read."""

    name: str
    file: str
    reason: str


def start_worker(_: int) -> None:
    """What a worker process of a loader does first."""
    become_worker(threading.Lock())


def become_worker(at_work: threading.Lock) -> None:
    """What a worker process does first. It holds ``at_work`` while it must not end, as in a write."""
    cv2.setNumThreads(0)  # the workers themselves are the parallelism
    # Ctrl-C reaches all processes of a terminal. One that it ends amid a message leaves the main process
    # waiting for seconds; that one is to end the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent.pid, at_work), daemon=True).start()


def _end_after(parent: int | None, at_work: threading.Lock) -> None:
    """End this process soon after the one that it reads for, also where that is killed.

    Torch's workers look for it too, but one that waits to hand over an image that nobody takes any more (and
    that is larger than a pipe holds) would wait for ever.
    """
    # Where a server forks the workers it is their parent, and ends with the process that it serves.
    forked_by = os.getppid()
    while os.getppid() == forked_by and (parent is None or is_running(parent)):
        time.sleep(1)
    with at_work:
        os._exit(1)


def lost_worker(error: RuntimeError) -> str | None:
    """What to tell the user where torch's error is that a worker process is no more; None for other errors.

    Torch raises it from a signal handler, so it may come out of any line of a step.

    >>> from wsss_fast.data._workers import lost_worker
    >>> lost_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))[:76]
    "a process that reads images (data.workers) was ended by the signal 'Killed',"
    """
    message = str(error)
    if not re.match(r"DataLoader worker \(pid", message):
        return None
    killed = re.search(r"is killed by signal: (.*?)\.(?:\s|$)", message)
    how = "ended unexpectedly" if killed is None else f"was ended by the signal {killed[1]!r}"
    why = "often for lack of memory: fewer of them need less"
    if killed is not None and "Bus error" in killed[1]:
        why = "often for lack of shared memory (/dev/shm): fewer of them need less"
    return f"a process that reads images (data.workers) {how}, {why}"
