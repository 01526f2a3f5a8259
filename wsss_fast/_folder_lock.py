"""One command at a time in an output folder.

A command has locks of the operating system on ``<folder>/.lock`` while it runs. They belong to its process:
they end with it, however that ends, and processes that it forks neither have nor keep them. Whoever uses the
file last removes it; one that a killed process has left locks nothing.

The ranks of one run use a folder together. So each locks a byte of its own, among those of its number of
ranks, after a look whether any byte of another number of ranks is locked; byte 0 is locked while one looks.
What is written in the file is only for messages.

A process that has locks must not open the file a second time: to close it would end them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from wsss_fast.files import PathLike, WriteError

NAME = ".lock"
"""The file in the folder."""

_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)

_PATIENCE = 10.0
"""Seconds in which others must have looked; it takes them microseconds."""

_ours: set[tuple[int, int, int]] = set()
"""The files that this process has locked: its own locks would not stop it. With the number of the process,
since a forked one has none of them."""

_guard = threading.Lock()


class InUseError(RuntimeError):
    """A folder in which another command is at work."""


@dataclass(frozen=True)
class _Holder:
    """Who has a byte."""

    byte: int
    process: int
    host: str
    rank: int
    world: int
    since: str

    def __str__(self) -> str:
        rank = f", rank {self.rank} of {self.world}" if self.world > 1 else ""
        return f"process {self.process} on {self.host}{rank}, since {self.since}"


@contextmanager
def hold(folder: PathLike, key: str, *, rank: int = 0, world: int = 1) -> Iterator[None]:
    """Have ``folder`` for this command, or for this rank of it, until the block ends.

    The folder is made if it is missing. Raises `InUseError` if another process, or another thread of this
    one, has it alone, as the same rank, or as one of another number of ranks; ``key`` is what the user named
    the folder by. Raises `WriteError` where it cannot be written. On a file system that has no locks nothing
    is locked, and a line on standard error says so.
    """
    lock = _Lock(Path(folder), key, rank, world)
    lock.take()
    try:
        yield
    finally:
        lock.release()


class _Lock:
    def __init__(self, folder: Path, key: str, rank: int, world: int) -> None:
        first = 1 + world * (world - 1) // 2
        self._folder = folder
        self._path = folder / NAME
        self._key = key
        self._others = ((1, first - 1), (first + world, 0))  # where, and how many; 0: all that follow
        self._me = _Holder(
            byte=first + rank,
            process=os.getpid(),
            host=socket.gethostname(),
            rank=rank,
            world=world,
            since=datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        )
        self._file: int | None = None
        self._made_folder = False

    def take(self) -> None:
        try:
            with _guard:
                while not self._taken():
                    self._close()
        except BaseException as error:
            self._close()
            self._remove_folder()
            if not isinstance(error, OSError):
                raise
            if error.errno not in _NO_LOCKS:
                raise WriteError(self._path, error) from error
            print(
                f"{self._key}: {self._folder} cannot be locked ({error.strerror}): see to it that no other "
                "wsss-fast command uses it",
                file=sys.stderr,
            )

    def release(self) -> None:
        if self._file is None:
            return
        with _guard, suppress(OSError):  # of a file system that has gone; the locks end with the process
            _ours.discard(self._identity())
            if self._entered() and self._lock(1, 0):
                self._path.unlink(missing_ok=True)
        self._close()
        self._remove_folder()

    def _taken(self) -> bool:
        """False where the file or its folder was removed meanwhile."""
        self._made_folder |= not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            status = os.stat(self._path)
            if (os.getpid(), status.st_dev, status.st_ino) in _ours:
                raise InUseError(self._message("by another thread of this process"))
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            return False
        if not self._entered():
            raise InUseError(self._message("by other wsss-fast commands, all about to start"))
        if not self._is_the_file():
            return False
        free = all(self._lock(start, count) for start, count in self._others if start > 1 or count)
        if not (free and self._lock(self._me.byte)):
            records = sorted(self._records(), key=lambda of: of.byte != self._me.byte)  # the same rank first
            holder = next((of for of in records if self._is_held(of.byte)), None)
            who = "" if holder is None else f" ({holder})"
            raise InUseError(self._message(f"by another wsss-fast command{who}"))
        for start, count in self._others:
            if start > 1 or count:
                self._unlock(start, count)
        with suppress(OSError):  # on a full disk the next file has a better message
            others = [of for of in self._records() if of.byte != self._me.byte and self._is_held(of.byte)]
            self._write([*others, self._me])
        self._unlock(0)
        _ours.add(self._identity())
        return True

    def _message(self, who: str) -> str:
        return f"{self._key}: {self._folder} is in use {who}"

    def _identity(self) -> tuple[int, int, int]:
        assert self._file is not None
        status = os.fstat(self._file)
        return os.getpid(), status.st_dev, status.st_ino

    def _is_the_file(self) -> bool:
        """Whether nobody has removed it after it was opened."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False
        return self._identity()[1:] == (status.st_dev, status.st_ino)

    def _entered(self) -> bool:
        """Whether this process is the one that looks."""
        end = time.monotonic() + _PATIENCE
        while not self._lock(0):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def _records(self) -> list[_Holder]:
        """What is written of those who had a byte, or still have it."""
        assert self._file is not None
        found = []
        for line in os.pread(self._file, os.fstat(self._file).st_size, 0).splitlines():
            with suppress(ValueError, TypeError):  # a kill has cut it off
                found.append(_Holder(**json.loads(line)))
        return found

    def _is_held(self, byte: int) -> bool:
        """By another process. (This one no longer has it if it had.)"""
        if not self._lock(byte):
            return True
        self._unlock(byte)
        return False

    def _write(self, holders: list[_Holder]) -> None:
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, "".join(f"{json.dumps(asdict(of))}\n" for of in holders).encode(), 0)

    def _lock(self, start: int, count: int = 1) -> bool:
        assert self._file is not None
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, count, start)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def _unlock(self, start: int, count: int = 1) -> None:
        assert self._file is not None
        fcntl.lockf(self._file, fcntl.LOCK_UN, count, start)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _remove_folder(self) -> None:
        """If it was made for nothing."""
        if self._made_folder:
            with suppress(OSError):
                self._folder.rmdir()
