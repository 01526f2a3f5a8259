"""What was seen of each file, kept so that a command that was stopped goes on, and a second one is quick.

A text file to which a line is added for each image: a key and what was seen, as JSON. The key covers the
question and the size and time of the files, so a changed file is looked at again. A last line that a kill cut
off is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from wsss_fast.files import WriteError
from wsss_fast.prepare._examine import Examined, Problem
from wsss_fast.prepare._processes import in_processes
from wsss_fast.steps._progress import progress

Examinee = TypeVar("Examinee", contravariant=True)
Thing = TypeVar("Thing")


class Examines(Protocol[Examinee]):
    """`_examine.Examiner` or `_examine.SetExaminer`."""

    def files(self, item: Examinee, /) -> list[Path]: ...

    def identity(self, item: Examinee, /) -> str: ...

    def __call__(self, item: Examinee, /) -> Examined: ...


def examine_all(
    examiner: Examines[Thing], items: Sequence[Thing], journal: Path, workers: int, label: str
) -> Iterator[tuple[Thing, Examined]]:
    """``(item, what was seen)`` of each, in order; what the journal knows is not looked at again."""
    known = _read(journal)
    keys = [_key(examiner, item) for item in items]
    todo = [i for i, key in enumerate(keys) if key not in known]
    journal.parent.mkdir(parents=True, exist_ok=True)
    with (
        _told(journal),
        journal.open("ab") as file,
        progress(len(items), label, unit="image") as bar,
    ):
        bar.catch_up(len(items) - len(todo))
        if file.tell() and not _ends_a_line(journal):
            file.write(b"\n")
        fresh = in_processes(examiner, (items[i] for i in todo), workers)
        for item, key in zip(items, keys, strict=True):
            line = known.get(key)
            if line is not None:
                yield item, _parse(line)
                continue
            _, seen = next(fresh)
            file.write(f"{key} {json.dumps(seen)}\n".encode())
            file.flush()
            bar.update()
            yield item, seen


@contextmanager
def _told(journal: Path) -> Iterator[None]:
    """A write that fails, as on a full disk, is one of the journal."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(journal, error) from error


def _key(examiner: Examines[Thing], item: Thing) -> str:
    stats: list[tuple[str, int, int]] = []
    for path in examiner.files(item):
        try:
            stat = os.stat(path)
            stats.append((str(path), stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):  # ValueError: a path with the character 0
            stats.append((str(path), -1, -1))
    text = repr((examiner.identity(item), stats))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _read(journal: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    if journal.exists():
        for line in _whole_lines(journal):
            key, _, rest = line.partition(" ")
            known[key] = rest
    return known


def _whole_lines(journal: Path) -> Iterable[str]:
    with journal.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.endswith("]\n"):
                yield line[:-1]


def _ends_a_line(journal: Path) -> bool:
    with journal.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _parse(line: str) -> Examined:
    labels, digest, problems = json.loads(line)
    return Examined(tuple(labels), digest, tuple(Problem(*problem) for problem in problems))
