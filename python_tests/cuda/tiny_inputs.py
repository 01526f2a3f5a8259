"""Every form of the CUDA kernels once, on a few pixels, for tools that watch each access:

    compute-sanitizer --tool racecheck python python_tests/cuda/tiny_inputs.py cuda

Results are compared with the CPU's. With `cuda-host` the kernels are those of a build that runs them on the
host.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from itertools import chain
from typing import Any

import tiny_cams
import tiny_crf
import tiny_paths
import tiny_predictions
import tiny_walk
import torch
from torch import Tensor

from wsss_fast import _device
from wsss_fast._info import cuda_kernels

PARTS = (tiny_crf, tiny_walk, tiny_paths, tiny_cams, tiny_predictions)


def check(name: str, found: Any, expected: Any) -> None:
    for ours, theirs in zip(_tensors(found), _tensors(expected), strict=True):
        message = lambda text: f"{name}: {text}"  # noqa: E731  torch calls it with what it has to say
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-4, msg=message)


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("device", choices=("cuda", "cuda-host"))
    host = parser.parse_args().device == "cuda-host"
    if cuda_kernels() != ("host" if host else "device"):
        parser.error(f"expected a build for it, got one with cuda_kernels() = {cuda_kernels()!r}")
    torch.manual_seed(0)
    count = 0
    for name, run, tensors in chain.from_iterable(part.cases() for part in PARTS):
        expected = run(*tensors)
        with _device.cpu_stands_in() if host else nullcontext():
            found = run(*(tensors if host else [tensor.cuda() for tensor in tensors]))
            if not host:
                torch.cuda.synchronize()
        check(name, found, expected)
        count += 1
    print(f"{count} forms agree with the CPU")


if __name__ == "__main__":
    main()
