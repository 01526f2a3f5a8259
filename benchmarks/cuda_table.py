"""The dense CRF on a GPU against its bars, in one table: speed, accuracy, bytes over the bandwidth of a copy.

    make bench-cuda
    PYTHONPATH=. python benchmarks/cuda_table.py --only c21 accuracy --repeats 3

Needs a GPU that nobody else uses. Inputs rotate over sets that together exceed the GPU's last cache twice; a
repetition is a pass over all of them between two CUDA events. A case that fails is named below the table and
in the error at the end; the others still run.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import _command
import _cuda_cases
import _cuda_timing
import _machine
import _peer
import _table
import torch
from _cuda_cases import BATCH, CASES, SIZE, Setting
from _photos import HEIGHT, WIDTH, PhotosError, Picture, choose, photographs, scenes
from _table import LeftOut, Row

from wsss_fast._info import cuda_kernels

PHOTOS = _command.SHARED / "data" / "catdogperson" / "JPEGImages"


def main() -> None:
    parser = _command.parser(__doc__.split("\n\n")[0], CASES, "passes over the inputs to measure")
    parser.add_argument(
        "--photos",
        default=str(PHOTOS) if PHOTOS.is_dir() else "synthetic",
        metavar="DIR",
        help="a folder of JPEG photographs, or the word synthetic for made-up scenes",
    )
    args = parser.parse_args()
    if cuda_kernels() != "device":
        sys.exit("error: expected a build with CUDA kernels (WSSS_FAST_CUDA=ON), got one without")
    if not torch.cuda.is_available():
        sys.exit(f"error: expected a GPU, torch {torch.__version__} finds none")
    try:
        chosen = pictures(args.photos)
    except PhotosError as error:
        sys.exit(f"error: {error}")
    machine = {**_machine.describe(_peer.DISTRIBUTION), **_machine.describe_gpu()}
    setting = Setting([picture.at(HEIGHT, WIDTH) for picture in chosen], args.repeats)
    notes = describe(machine, chosen, args.repeats, setting.bandwidth)
    print("\n\n".join(notes), end="\n\n", flush=True)

    print(_table.header(), flush=True)
    failures: dict[str, bool] = {}
    cases = {name: partial(guarded, name, setting, failures) for name in args.only or CASES}
    measured = _command.measure(cases)
    about = {
        "machine": machine,
        "pictures": {picture.name: size for picture, size in chosen.items()},
        "copy_bytes_per_second": setting.bandwidth,
        "failed": list(failures),
    }
    table = [_table.header(), *(_table.line(row.cells()) for row in measured.rows)]
    _command.publish(args, "cuda", measured, notes, about, table, _machine.gpu_name())
    if failures:
        sys.exit(f"error: failed: {', '.join(failures)}")


def pictures(source: str) -> dict[Picture, int]:
    found = scenes() if source == "synthetic" else photographs(Path(source))
    return choose(found, BATCH)


def guarded(name: str, setting: Setting, failures: dict[str, bool]) -> Iterator[Row]:
    """The rows of a case up to where it fails, if it does. After Ctrl-C no case runs, but what was measured
    is written. ``failures``: whether that was it, by case."""
    if any(failures.values()):
        raise LeftOut("stopped before it")
    try:
        yield from CASES[name](setting)
    except LeftOut:
        raise
    except (Exception, KeyboardInterrupt) as error:
        traceback.print_exc()
        failures[name] = isinstance(error, KeyboardInterrupt)
        raise LeftOut(f"failed: {type(error).__name__}: {error}") from error
    finally:
        torch.cuda.empty_cache()


def describe(
    machine: dict[str, Any], chosen: dict[Picture, int], repeats: int, bandwidth: float
) -> list[str]:
    sizes = ", ".join(f"{picture.name} {size:,}" for picture, size in chosen.items())
    return [
        _machine.gpu_headline(machine),
        _machine.headline(machine),
        f"{SIZE}, 10 iterations, Gaussian 3/3, compat 10; construction of the lattices is in the times. They "
        "are of one image, a batch's divided by its size (in the rows of bytes of the batch), medians of "
        f"{repeats} passes over inputs that together exceed the last cache twice, after "
        f"{_cuda_timing.WARM_UP} passes to warm up, by CUDA events. A ratio is of the other's times to the "
        f"median of ours. The CPU solves {_cuda_cases.PEER_PICTURES} of the pictures; pydensecrf has one "
        "thread.",
        f"A copy on the device moves {bandwidth / 1e9:.0f} GB/s, read and written bytes both counted. The "
        "shares of it are of what the passes move if each reads and writes its arrays once: "
        "benchmarks/_cuda_work.py.",
        "MONAI's filter refuses more than 16 channels, so it is compared with at C = 4 and 16. What else "
        "differs stands in benchmarks/_monai_peer.py.",
        f"Pictures and their bilateral lattice's vertices at 50/5: {sizes}.",
    ]


if __name__ == "__main__":
    main()
