"""random_walk, path_affinity and its loss, fuse_cams and tta_merge on a GPU against their bars, in one table.

    make bench-cuda
    PYTHONPATH=. python benchmarks/cuda_ops_table.py --only walk tta-c21 --repeats 3

Needs a GPU that nobody else uses. Inputs rotate over sets that together exceed the GPU's last cache twice; a
repetition is a pass over all of them between two CUDA events.
"""

from __future__ import annotations

import _command
import _cuda_command
import _cuda_fusion_cases
import _cuda_path_cases
import _cuda_timing
import _cuda_tta_cases
import _cuda_walk_cases
import _tta
from _cuda_setting import GpuSetting, OpsCase

CASES: dict[str, OpsCase] = {
    **_cuda_walk_cases.CASES,
    **_cuda_path_cases.CASES,
    **_cuda_fusion_cases.CASES,
    **_cuda_tta_cases.CASES,
}


def main() -> None:
    parser = _command.parser(__doc__.split("\n\n")[0], CASES, "passes over the inputs to measure")
    args = parser.parse_args()
    _cuda_command.require_gpu()
    machine = _cuda_command.machine(_tta.DISTRIBUTION)
    setting = GpuSetting(args.repeats)
    notes = [*_cuda_command.headlines(machine), *describe(args.repeats, setting.bandwidth)]
    about = {"machine": machine, "copy_bytes_per_second": setting.bandwidth}
    _cuda_command.run(args, "cuda-ops", CASES, setting, notes, about)


def describe(repeats: int, bandwidth: float) -> list[str]:
    return [
        "Times are of a batch, for random_walk of one image (a batch's divided by its size), medians of "
        f"{repeats} passes over inputs that together exceed the last cache twice, after "
        f"{_cuda_timing.WARM_UP} passes to warm up, by CUDA events. A ratio is of the other's times to the "
        "median of ours; the others run on the same GPU. What a peer has built beforehand (a sparse matrix, "
        "index tables) counts neither in its time nor in its memory.",
        f"{_cuda_command.copy_note(bandwidth)} The shares of it are of inputs read once and outputs written "
        "once (benchmarks/_work.py), which is the floor of an op's time. Memory is what a call needs at most "
        "beyond its inputs, outputs and gradients, in units of 10^6 bytes.",
    ]


if __name__ == "__main__":
    main()
