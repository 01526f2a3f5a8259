"""All steps of the method in order."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from wsss_fast.config import Config
from wsss_fast.files import NoMasksError
from wsss_fast.steps._graph import graph


def steps_of(config: Config) -> tuple[str, ...]:
    """The steps of a run by the names of their commands; the report comes after them."""
    return (*graph(config), "evaluate")


def run(config: Config) -> Path:
    """Run every step, then write the report; returns its path.

    What an earlier call has finished is not done again. One line a step is printed.
    """
    start = time.perf_counter()
    for name in steps_of(config):
        try:
            _timed(name, f"wsss_fast.steps.{name.replace('-', '_')}", config)
        except NoMasksError as error:  # true masks are optional
            print(f"{name:<24} left out: {error}", flush=True)
    _timed("report", "wsss_fast.report", config)
    print(f"{'all':<24} {time.perf_counter() - start:8.1f} s")
    return Path(config.output) / "report" / "index.html"


def _timed(name: str, module: str, config: Config) -> None:
    start = time.perf_counter()
    getattr(importlib.import_module(module), name.replace("-", "_"))(config)
    print(f"{name:<24} {time.perf_counter() - start:8.1f} s", flush=True)
