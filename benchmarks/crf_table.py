"""The dense CRF against its bars: speed, memory and accuracy beside pydensecrf, in one table.

    make bench-crf
    PYTHONPATH=. python benchmarks/crf_table.py --only c21 memory --repeats 3

Needs a quiet machine with at least two cores. The peer runs on one thread, which is all it has; two threads
of ours are held to the same times. Every repetition is a different picture, on which the peer, ours on one
thread and ours on two follow each other.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import _command
import _machine
import _peer
import _table
from _crf_cases import CASES, MEMORY_PICTURES, Setting
from _photos import PhotosError, Picture, choose, photographs, scenes

PHOTOS = _command.SHARED / "data" / "catdogperson" / "JPEGImages"


def arguments() -> argparse.Namespace:
    parser = _command.parser("The dense CRF against its bars, in one table.", CASES, "pictures to measure on")
    parser.add_argument(
        "--photos",
        default=str(PHOTOS),
        metavar="DIR",
        help="a folder of JPEG photographs (the default lies beside the checkout, or in WSSS_FAST_SHARED), "
        "or the word synthetic for made-up scenes",
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    source = scenes() if args.photos == "synthetic" else photographs(Path(args.photos))
    try:
        chosen = choose(source, args.repeats + 1)
    except PhotosError as error:
        sys.exit(f"error: {error}")
    machine = _machine.describe(_peer.DISTRIBUTION)
    notes = describe(machine, chosen, args.repeats)
    print("\n\n".join(notes), end="\n\n", flush=True)

    setting = Setting(list(chosen), _command.SHARED)
    print(_table.header(), flush=True)
    measured = _command.measure({name: partial(CASES[name], setting) for name in args.only or CASES})
    about = {
        "machine": machine,
        "pictures": {picture.name: size for picture, size in chosen.items()},
        "warm_up": setting.pictures[0].name,
    }
    table = [_table.header(), *(_table.line(row.cells()) for row in measured.rows)]
    _command.publish(args, "crf", measured, notes, about, table)


def describe(machine: dict[str, Any], chosen: dict[Picture, int], repeats: int) -> list[str]:
    sizes = ", ".join(f"{picture.name} {size:,}" for picture, size in chosen.items())
    return [
        _machine.headline(machine),
        "500 x 375, 10 iterations, Gaussian 3/3, compat 10. Times are medians over the pictures, the figure "
        "is the median of the ratios on the single pictures, for accuracy the worst picture. Pictures: "
        f"{repeats}, for memory {min(repeats, MEMORY_PICTURES)}.",
        f"Pictures and their bilateral lattice's vertices at 50/5 (the first warms up): {sizes}.",
    ]


if __name__ == "__main__":
    main()
