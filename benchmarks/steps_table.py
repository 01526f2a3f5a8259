"""make-ir-labels and make-pseudo-masks beside the same steps written with the established packages.

    make bench-steps
    PYTHONPATH=. python benchmarks/steps_table.py --only ir-labels --repeats 3

Needs a quiet machine with at least two cores. A repetition is two pictures of its own, which each way takes
from file to file, one way after the other. `--dense` also measures the walk with the dense matrix that IRNet
published, which takes minutes and gigabytes an image; without it the table repeats what the result file of a
former run has, with its date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import _command
import _machine
import _table
from _photos import PhotosError, choose, photographs, scenes
from _steps_cases import CASES, CLASSES, PAIR, PEER, THRESHOLDS, WALK, Setting

PHOTOS = _command.SHARED / "data" / "catdogperson" / "JPEGImages"


def arguments() -> argparse.Namespace:
    parser = _command.parser(
        "Two steps beside the established packages, in one table.", CASES, f"times {PAIR} pictures"
    )
    parser.add_argument(
        "--photos",
        default=str(PHOTOS),
        metavar="DIR",
        help="a folder of JPEG photographs (the default lies beside the checkout, or in WSSS_FAST_SHARED), "
        "or the word synthetic for made-up scenes",
    )
    _command.dense_option(parser)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    source = scenes() if args.photos == "synthetic" else photographs(Path(args.photos))
    try:
        pictures = choose(source, PAIR * (args.repeats + 1))
    except PhotosError as error:
        sys.exit(f"error: {error}")
    machine = _machine.describe(PEER)
    notes = describe(machine, [picture.name for picture in pictures], args.repeats)
    print("\n\n".join(notes), end="\n\n", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(list(pictures), Path(folder), args.dense, _command.former("steps"))
        print(_table.header(), flush=True)
        measured = _command.measure({name: partial(CASES[name], setting) for name in args.only or CASES})
    table = [_table.header(), *(_table.line(row.cells()) for row in measured.rows)]
    _command.publish(args, "steps", measured, notes, {"machine": machine, **setting.about}, table)


def describe(machine: dict[str, Any], pictures: list[str], repeats: int) -> list[str]:
    return [
        _machine.headline(machine),
        f"500 x 375, {CLASSES} classes an image (made-up maps). CRF: Gaussian 3/3, bilateral 50/5/10, 10 "
        f"iterations, thresholds {THRESHOLDS.foreground_threshold:g} and "
        f"{THRESHOLDS.background_threshold:g}. Walk: 94 x 125 cells, radius {WALK.radius}, beta "
        f"{WALK.beta:g}, {2**WALK.exp_times} steps, inside made-up boundaries as a trained network draws "
        "them; networks have random weights, see the image and its mirror image, and cost both sides alike.",
        "An image goes from its files (JPEG, maps) to its files (mask, maps), which both sides read and "
        f"write by the same functions. Times are of {PAIR} images; medians over {repeats} repetitions, the "
        "figure is the median of the ratios of the single repetitions, for equal labels the worst image. "
        "pydensecrf knows no threads: it gets one process, and two at once as IRNet's script has them.",
        f"Pictures, the first {PAIR} to warm up, photographs scaled to that size: {', '.join(pictures)}.",
    ]


if __name__ == "__main__":
    main()
