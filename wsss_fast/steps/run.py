"""All steps of the method in order."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from wsss_fast.config import Config, check_config
from wsss_fast.files import NoMasksError
from wsss_fast.steps._graph import graph
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._shares import check_shares
from wsss_fast.steps._states import waiting_for

_POLL_SECONDS = 0.5
_TELL_SECONDS = 60.0


def steps_of(config: Config) -> tuple[str, ...]:
    """The steps of a run by the names of their commands; the report comes after them.

    >>> from wsss_fast.config import Config
    >>> from wsss_fast.steps.run import steps_of
    >>> steps_of(Config())[:2]
    ('train-classifier', 'make-cams')
    """
    return (*graph(config), "evaluate")


def run(config: Config) -> Path:
    """Run every step, then write the report; returns its path.

    What an earlier call has finished is not done again. One line a step is printed.

    Several processes (``RANK``, ``WORLD_SIZE``) share the steps: each waits after a step until all have
    finished their share, by looking for what they write, and says once a minute for which ones. The first
    one evaluates and writes the report; the others are done before that.

    >>> from wsss_fast.steps.run import run
    >>> page = run(config)  # a line a step; here all are done
    train-classifier ...
    >>> page.name
    'index.html'
    """
    check_config(config)
    start = time.perf_counter()
    of = ranks()
    for name, node in graph(config).items():
        if node.collective:
            check_shares(config, name)  # now, and not after days of earlier steps
    for name, node in graph(config).items():
        _timed(name, f"wsss_fast.steps.{name.replace('-', '_')}", config)
        _wait(Path(config.output) / name, collective=node.collective)
    if of.first:
        try:
            _timed("evaluate", "wsss_fast.steps.evaluate", config)
        except NoMasksError as error:  # true masks are optional
            print(f"{'evaluate':<24} left out: {error}", flush=True)
        _timed("report", "wsss_fast.report", config)
    print(f"{of.prefix}{'all':<24} {time.perf_counter() - start:8.1f} s")
    return Path(config.output) / "report" / "index.html"


def _timed(name: str, module: str, config: Config) -> None:
    start = time.perf_counter()
    getattr(importlib.import_module(module), name.replace("-", "_"))(config)
    print(f"{ranks().prefix}{name:<24} {time.perf_counter() - start:8.1f} s", flush=True)


def _wait(folder: Path, *, collective: bool) -> None:
    """Until the step is done by all."""
    of = ranks()
    if of.world == 1:
        return
    told = time.monotonic()
    while missing := waiting_for(folder, of.world, collective=collective):
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            names = ", ".join(map(str, missing))
            print(f"{of.prefix}{folder.name}: waiting for rank {names}", flush=True)
        time.sleep(_POLL_SECONDS)
