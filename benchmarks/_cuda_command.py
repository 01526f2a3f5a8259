"""What the commands that print a table of a GPU have in common."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import _command
import _machine
import _table
import torch
from _table import LeftOut, Row

from wsss_fast._info import cuda_kernels

Given = TypeVar("Given")
Cases = Mapping[str, Callable[[Given], Iterator[Row]]]


def require_gpu() -> None:
    if cuda_kernels() != "device":
        sys.exit("error: expected a build with CUDA kernels (WSSS_FAST_CUDA=ON), got one without")
    if not torch.cuda.is_available():
        sys.exit(f"error: expected a GPU, torch {torch.__version__} finds none")


def machine(peer: str) -> dict[str, Any]:
    return {**_machine.describe(peer), **_machine.describe_gpu()}


def headlines(about: dict[str, Any]) -> list[str]:
    """Of a machine."""
    return [_machine.gpu_headline(about), _machine.headline(about)]


def copy_note(bandwidth: float) -> str:
    return f"A copy on the device moves {bandwidth / 1e9:.0f} GB/s, read and written bytes both counted."


def run(
    args: argparse.Namespace,
    kind: str,
    cases: Cases[Given],
    setting: Given,
    notes: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Measure, print and write. A case that fails is named below the table and in the error at the end; the
    others still run. ``kind`` stands in the name of the files."""
    print("\n\n".join(notes), end="\n\n", flush=True)
    print(_table.header(), flush=True)
    failures: dict[str, bool] = {}
    chosen = {name: partial(_guarded, cases, name, setting, failures) for name in args.only or cases}
    measured = _command.measure(chosen)
    table = [_table.header(), *(_table.line(row.cells()) for row in measured.rows)]
    about = {**about, "failed": list(failures)}
    _command.publish(args, kind, measured, notes, about, table, _machine.gpu_name())
    if failures:
        sys.exit(f"error: failed: {', '.join(failures)}")


def _guarded(cases: Cases[Given], name: str, setting: Given, failures: dict[str, bool]) -> Iterator[Row]:
    """The rows of a case up to where it fails, if it does. After Ctrl-C no case runs, but what was measured
    is written. ``failures``: whether that was it, by case."""
    if any(failures.values()):
        raise LeftOut("stopped before it")
    try:
        yield from cases[name](setting)
    except LeftOut:
        raise
    except (Exception, KeyboardInterrupt) as error:
        traceback.print_exc()
        failures[name] = isinstance(error, KeyboardInterrupt)
        raise LeftOut(f"failed: {type(error).__name__}: {error}") from error
    finally:
        torch.cuda.empty_cache()
