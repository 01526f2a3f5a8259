"""The dense CRF on a GPU against its bars, in one table: speed, accuracy, bytes over the bandwidth of a copy.

    make bench-cuda
    PYTHONPATH=. python benchmarks/cuda_table.py --only c21 accuracy --repeats 3

Needs a GPU that nobody else uses. Inputs rotate over sets that together exceed the GPU's last cache twice; a
repetition is a pass over all of them between two CUDA events.
"""

from __future__ import annotations

import sys
from pathlib import Path

import _command
import _cuda_cases
import _cuda_command
import _cuda_timing
import _peer
from _cuda_cases import BATCH, CASES, SIZE, Setting
from _photos import HEIGHT, WIDTH, PhotosError, Picture, choose, photographs, scenes

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
    _cuda_command.require_gpu()
    try:
        chosen = pictures(args.photos)
    except PhotosError as error:
        sys.exit(f"error: {error}")
    machine = _cuda_command.machine(_peer.DISTRIBUTION)
    setting = Setting(args.repeats, [picture.at(HEIGHT, WIDTH) for picture in chosen])
    notes = [*_cuda_command.headlines(machine), *describe(chosen, args.repeats, setting.bandwidth)]
    about = {
        "machine": machine,
        "pictures": {picture.name: size for picture, size in chosen.items()},
        "copy_bytes_per_second": setting.bandwidth,
    }
    _cuda_command.run(args, "cuda", CASES, setting, notes, about)


def pictures(source: str) -> dict[Picture, int]:
    found = scenes() if source == "synthetic" else photographs(Path(source))
    return choose(found, BATCH)


def describe(chosen: dict[Picture, int], repeats: int, bandwidth: float) -> list[str]:
    sizes = ", ".join(f"{picture.name} {size:,}" for picture, size in chosen.items())
    return [
        f"{SIZE}, 10 iterations, Gaussian 3/3, compat 10; construction of the lattices is in the times. They "
        "are of one image, a batch's divided by its size (in the rows of bytes of the batch), medians of "
        f"{repeats} passes over inputs that together exceed the last cache twice, after "
        f"{_cuda_timing.WARM_UP} passes to warm up, by CUDA events. A ratio is of the other's times to the "
        f"median of ours. The CPU solves {_cuda_cases.PEER_PICTURES} of the pictures; pydensecrf has one "
        "thread.",
        f"{_cuda_command.copy_note(bandwidth)} The shares of it are of what the passes move if each reads "
        "and writes its arrays once: benchmarks/_cuda_work.py.",
        "MONAI's filter refuses more than 16 channels, so it is compared with at C = 4 and 16. What else "
        "differs stands in benchmarks/_monai_peer.py.",
        f"Pictures and their bilateral lattice's vertices at 50/5: {sizes}.",
    ]


if __name__ == "__main__":
    main()
