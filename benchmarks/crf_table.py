"""The dense CRF against its bars: speed, memory and accuracy beside pydensecrf, in one table.

    make bench-crf
    PYTHONPATH=. python benchmarks/crf_table.py --only c21 memory --repeats 3

Needs a quiet machine with at least two cores. The peer runs on one thread, which is all it has; two threads
of ours are held to the same times. Every repetition is a different picture, on which the peer, ours on one
thread and ours on two follow each other.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import _machine
import _table
from _crf_cases import CASES, MEMORY_PICTURES, Setting
from _photos import PhotosError, Picture, choose, photographs, scenes
from _table import Row

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("WSSS_FAST_SHARED", ROOT.parent / "shared"))
PHOTOS = SHARED / "data" / "catdogperson" / "JPEGImages"
RESULTS = ROOT / "benchmarks" / "results"
QUIET = 0.1  # cores that others may use during a case before the table says so
ENOUGH = 5  # repetitions of a median that may be published


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="The dense CRF against its bars, in one table.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=positive, default=ENOUGH, help="pictures to measure on")
    parser.add_argument(
        "--photos",
        default=str(PHOTOS),
        metavar="DIR",
        help="a folder of JPEG photographs (the default lies beside the checkout, or in WSSS_FAST_SHARED), "
        "or the word synthetic for made-up scenes",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where to write the table; by default benchmarks/results/, for a whole table of {ENOUGH} or "
        "more repeats, and nowhere for less",
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    source = scenes() if args.photos == "synthetic" else photographs(Path(args.photos))
    try:
        chosen = choose(source, args.repeats + 1)
    except PhotosError as error:
        sys.exit(f"error: {error}")
    notes = describe(chosen, args.repeats)
    print("\n".join(notes), end="\n\n", flush=True)

    setting = Setting(list(chosen), SHARED)
    rows: list[Row] = []
    disturbance: dict[str, float] = {}
    print(_table.header(), flush=True)
    for name in args.only or CASES:
        start, others = time.perf_counter(), _machine.others_seconds()
        for row in CASES[name](setting):
            rows.append(row)
            print(_table.line(row.cells()), flush=True)
        disturbance[name] = (_machine.others_seconds() - others) / (time.perf_counter() - start)
    print(f"\n{_table.summary(rows)}")
    if loud := [f"{name} {cores:.2f}" for name, cores in disturbance.items() if cores > QUIET]:
        notes += ["", f"Not a quiet machine: cores in use by others, by case: {', '.join(loud)}."]
        print(notes[-1])

    folder = args.output
    if folder is None and args.only is None and args.repeats >= ENOUGH:
        folder = RESULTS
    if folder is not None:
        about = {
            "machine": _machine.describe(),
            "cores_used_by_others": disturbance,
            "repeats": args.repeats,
            "pictures": {picture.name: size for picture, size in chosen.items()},
            "warm_up": setting.pictures[0].name,
        }
        name = f"crf_{_machine.name()}"
        _table.write(folder, name, rows, about, notes)
        print(f"written to {name}.json and .md in {folder}")


def describe(chosen: dict[Picture, int], repeats: int) -> list[str]:
    machine = _machine.describe()
    versions = machine["wsss_fast"]
    sizes = ", ".join(f"{picture.name} {size:,}" for picture, size in chosen.items())
    return [
        f"wsss_fast {versions['version']} ({versions['compiler']}), torch {versions['torch']}, "
        f"{machine['peer']}; {machine['cpu']}, family {machine['cpu_family']}, model {machine['cpu_model']}, "
        f"{machine['cores']} cores.",
        "",
        "500 x 375, 10 iterations, Gaussian 3/3, compat 10. Times are medians over the pictures, the figure "
        "is the median of the ratios on the single pictures, for accuracy the worst picture. Pictures: "
        f"{repeats}, for memory {min(repeats, MEMORY_PICTURES)}.",
        "",
        f"Pictures and their bilateral lattice's vertices at 50/5 (the first warms up): {sizes}.",
    ]


if __name__ == "__main__":
    main()
