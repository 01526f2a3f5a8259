"""One progress bar for everything that takes longer than a second."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from wsss_fast.steps._ranks import ranks

Item = TypeVar("Item")

_MINUTE = 60.0


class Bar(tqdm):
    """A bar whose throughput and remaining time are about what is done in this call."""

    monitor_interval = 0  # no thread that looks after bars: steps fork worker processes

    def catch_up(self, n: int) -> None:
        """So many more turn out to have been done before."""
        if self.disable:  # it has nothing of what follows
            return
        self.initial += n
        self.n += n
        self.last_print_n += n

    def set_postfix(self, *values: Any, refresh: bool = False, **more: Any) -> None:
        """As of tqdm; it is shown when the bar is shown next."""
        super().set_postfix(*values, refresh=refresh, **more)


def progress(total: int, description: str, *, unit: str = "step", shared: bool = False) -> Bar:
    """A bar that disappears when it is full: how much is done, how fast and how long it will take.

    Where no person is watching (stderr is a file), one line a minute says that, from the second minute on.
    ``shared``: ``total`` is the share of one of several processes. Of several, the first alone has a bar;
    lines are of all, and begin with the rank.
    """
    of = ranks()
    if sys.stderr.isatty():
        if shared and of.world > 1:
            description = f"{description} (share of rank {of.rank} of {of.world})"
        return Bar(
            total=total,
            desc=description,
            unit=unit,
            leave=False,
            delay=1,
            miniters=1,
            disable=not of.first,
        )
    return Bar(
        total=total,
        desc=of.prefix + description,
        unit=f" {unit}s",
        leave=False,
        file=_Lines(sys.stderr),
        bar_format="{desc}: {n_fmt} of {total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}",
        delay=_MINUTE,
        mininterval=_MINUTE,
        maxinterval=_MINUTE,
        miniters=1,
    )


def progress_over(items: Collection[Item], description: str) -> Iterator[Item]:
    """The items, one an image, with such a bar."""
    with progress(len(items), description, unit="image") as bar:
        for item in items:
            yield item
            bar.update()


class _Lines:
    """Takes what a bar writes over itself, and writes a line each time."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        for line in text.replace("\r", "\n").split("\n"):
            if line.strip():
                self._file.write(line.rstrip() + "\n")

    def flush(self) -> None:
        self._file.flush()
