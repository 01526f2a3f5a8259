"""random_walk, path_affinity and its loss, fuse_cams and tta_merge against their bars, in one table.

    make bench-ops
    PYTHONPATH=. python benchmarks/ops_table.py --only walk tta-c21

Needs a quiet machine with at least two cores. Every repetition has inputs of its own, on which the rivals and
ours follow each other. `--dense` also measures the walk with its dense matrix, which takes minutes and
gigabytes; without it the table repeats what the result file of a former run has, with its date.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import _command
import _machine
import _table
import _tta
from _ops_cases import CASES
from _setting import Setting
from _timing import SETTLED


def arguments() -> argparse.Namespace:
    parser = _command.parser(
        "The ops but the dense CRF against their bars, in one table.",
        CASES,
        "inputs to measure on, more where calls take milliseconds",
    )
    _command.dense_option(parser)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    machine = _machine.describe(_tta.DISTRIBUTION)
    notes = describe(machine, args.repeats)
    print("\n\n".join(notes), end="\n\n", flush=True)

    setting = Setting(args.repeats, _command.SHARED, args.dense, _command.former("ops"))
    print(_table.header(), flush=True)
    measured = _command.measure({name: partial(CASES[name], setting) for name in args.only or CASES})
    table = [_table.header(), *(_table.line(row.cells()) for row in measured.rows)]
    _command.publish(args, "ops", measured, notes, {"machine": machine, **setting.about}, table)


def describe(machine: dict[str, Any], repeats: int) -> list[str]:
    return [
        _machine.headline(machine),
        f"Times are medians over {repeats} repetitions or more, each on inputs of its own; the figure is the "
        "median of the ratios of the single repetitions. Before each call the machine has settled for "
        f"{1000 * SETTLED:g} ms, and fuse_cams and its rivals are called once on other inputs. Memory is the "
        "peak of the first call of a fresh process, above inputs, outputs and gradients, in units of 10^6 "
        "bytes; what a rival has built beforehand (a sparse matrix, index tables) counts neither in its time "
        "nor in its memory. A row without a bar is there to compare with.",
    ]


if __name__ == "__main__":
    main()
