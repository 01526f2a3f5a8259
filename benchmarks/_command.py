"""What the commands that print a table have in common: options, the loop over the cases, the result file."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import _machine
import _table
from _machine import Watch
from _table import Judged, LeftOut

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("WSSS_FAST_SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "benchmarks" / "results"
QUIET = 0.1  # cores that others may use during a case before the table says so
ENOUGH = 5  # repetitions of a median that may be published

AnyRow = TypeVar("AnyRow", bound=Judged)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def parser(description: str, cases: Iterable[str], repeats: str) -> argparse.ArgumentParser:
    """``repeats`` says what is repeated."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=cases, metavar="CASE", help=f"of {', '.join(cases)}")
    options.add_argument("--repeats", type=positive, default=ENOUGH, help=repeats)
    options.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where to write the table; by default benchmarks/results/, for a whole table of {ENOUGH} or "
        "more repeats, and nowhere for less",
    )
    return options


def dense_option(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--dense",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="measure the random walk with its dense matrix: minutes, 3 GB",
    )


def former(prefix: str) -> dict[str, Any]:
    """The result file of this kind of machine and these versions, where there is one."""
    path = RESULTS / f"{prefix}_{_machine.name()}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


@dataclass
class Measured(Generic[AnyRow]):
    rows: list[AnyRow] = field(default_factory=list)
    # Cores in use by others, by case.
    disturbance: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        notes = [f"Left out: {reason}" for reason in self.left_out]
        if loud := [f"{name} {cores:.2f}" for name, cores in self.disturbance.items() if cores > QUIET]:
            notes.append(f"Not a quiet machine: cores in use by others, by case: {', '.join(loud)}.")
        return notes


def measure(
    cases: Mapping[str, Callable[[], Iterator[AnyRow]]],
    line: Callable[[Sequence[str]], str] = _table.line,
    disturbance: Mapping[str, float] | None = None,
) -> Measured[AnyRow]:
    """Prints each row as soon as it is there. ``disturbance`` is of what was measured before."""
    measured = Measured[AnyRow](disturbance=dict(disturbance or {}))
    for name, case in cases.items():
        watch = Watch()
        try:
            for row in case():
                measured.rows.append(row)
                print(line(row.cells()), flush=True)
        except LeftOut as reason:
            measured.left_out.append(f"{name}: {reason}")
        measured.disturbance[name] = watch.others()
    print(f"\n{_table.summary(measured.rows)}")
    for note in measured.notes():
        print(note)
    return measured


def publish(
    args: argparse.Namespace,
    kind: str,
    measured: Measured[AnyRow],
    notes: Sequence[str],
    about: dict[str, Any],
    table: Sequence[str],
    machine: str | None = None,
) -> None:
    """``notes`` stand above the table, and in front of those of the measurement. ``machine`` stands in the
    name of the files in place of the CPU's."""
    folder = args.output
    if folder is None and args.only is None and args.repeats >= ENOUGH:
        folder = RESULTS
    if folder is None:
        return
    name = f"{kind}_{_machine.name() if machine is None else machine}"
    record = {
        **about,
        "cores_used_by_others": measured.disturbance,
        "left_out": measured.left_out,
        "repeats": args.repeats,
        "rows": [row.record() for row in measured.rows],
    }
    paragraphs = [line for note in (*notes, *measured.notes()) for line in (note, "")]
    _table.write(folder, name, record, [*paragraphs, *table, "", _table.summary(measured.rows)])
    print(f"written to {name}.json and .md in {folder}")
