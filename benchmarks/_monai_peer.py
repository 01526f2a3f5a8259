"""The peer on the GPU: MONAI's permutohedral filter, and the mean field that its users build on it.

What pip installs of MONAI has neither the filter's binary nor its sources. There are two ways to it:

- an installation from a checkout, `BUILD_MONAI=1 pip install --no-build-isolation .` (a long build);
- a checkout that WSSS_FAST_MONAI names: its filter alone is built here, for the channels and dimensions that
  are measured. That takes a minute, and is kept in build/monai.

What is compared differs in this: MONAI builds the lattice anew in each call, one image after the other,
divides by the filter of ones in the same pass (so ours has normalization="after"), breaks ties in rounding in
its own way, and lets a vertex without neighbours along an axis count four times. Its atomic additions make no
two runs equal.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCES = "WSSS_FAST_MONAI"
MOST_CHANNELS = 16
CHANNELS = (4, 16)
DIMS = (2, 5)
_BUILD = Path(__file__).resolve().parents[1] / "build" / "monai"

# values [N,C,H,W], features [N,d,H,W] -> [N,C,H,W]
Filter = Callable[[Tensor, Tensor], Tensor]


class NoMonaiError(Exception):
    """MONAI's filter cannot be had; the message says why, and how it could."""


def load() -> tuple[Filter, str]:
    """The filter, and where it comes from."""
    try:
        installed: Any = importlib.import_module("monai._C")
    except ImportError:  # not installed, built without it, or for another torch
        installed = None
    if installed is not None:
        # Built without CUDA it would take a GPU's addresses for its own.
        if b"PermutohedralCuda" not in Path(installed.__file__).read_bytes():
            raise NoMonaiError("monai._C: expected a build with CUDA, got one for the CPU alone")
        version = importlib.import_module("monai").__version__
        return installed.phl_filter, f"MONAI {version}"
    folder = os.environ.get(SOURCES)
    if folder is None:
        raise NoMonaiError(
            "no monai._C (the MONAI of the package index is without it): install MONAI from a checkout with "
            f"BUILD_MONAI=1, or name a checkout in {SOURCES}"
        )
    sources = Path(folder, "monai", "csrc")
    if not (sources / "filtering" / "permutohedral").is_dir():
        raise NoMonaiError(f"{SOURCES}: expected a checkout of MONAI, got {folder} (no {sources}/filtering)")
    return _built(sources), f"MONAI of {SOURCES}, {len(CHANNELS) * len(DIMS)} of its kernels built"


def _built(sources: Path) -> Filter:
    """MONAI instantiates its kernels for each of 16 x 19 numbers of channels and features, by macros of one
    header. Ours stands in front of it on the include path."""
    from torch.utils import cpp_extension

    folder = _BUILD / f"torch{torch.__version__}"
    (folder / "utils").mkdir(parents=True, exist_ok=True)
    pairs = [(channels, dims) for channels in CHANNELS for dims in DIMS]
    _write(folder / "utils" / "meta_macros.h", _narrowed(pairs))
    _write(folder / "module.cpp", _MODULE)
    permutohedral = sources / "filtering" / "permutohedral"
    files = [folder / "module.cpp", *permutohedral.glob("*.cpp"), *permutohedral.glob("*.cu")]
    (folder / "lock").unlink(missing_ok=True)  # of a build that was stopped: torch would wait for it for ever
    release = [int(part) for part in torch.__version__.split("+")[0].split(".")[:3]]
    defines = [f"-DMONAI_TORCH_VERSION={release[0] * 10000 + release[1] * 100 + release[2]}", "-DWITH_CUDA"]
    try:
        module = cpp_extension.load(
            "wsss_fast_monai_peer",
            [str(file) for file in files],
            extra_cflags=defines,
            extra_cuda_cflags=defines,
            extra_include_paths=[str(folder), str(sources)],
            build_directory=str(folder),
            with_cuda=True,
        )
    except (OSError, RuntimeError, ImportError) as error:
        raise NoMonaiError(f"{SOURCES}: MONAI's filter does not build here: {error}") from error
    filter_: Filter = module.phl_filter
    return filter_


def _write(path: Path, text: str) -> None:
    """Only what is new, so that nothing is built twice."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


_MODULE = """\
#include <torch/extension.h>

torch::Tensor PermutohedralFilter(torch::Tensor input, torch::Tensor features);

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("phl_filter", &PermutohedralFilter); }
"""


def _narrowed(pairs: Sequence[tuple[int, int]]) -> str:
    """The two macros that the filter uses, over these channels and features in place of two ranges."""
    targets = " ".join(f"TARGET({channels}, {dims})" for channels, dims in pairs)
    cases = " ".join(
        f"case {channels * 100 + dims}: CALL({channels}, {dims}) break;" for channels, dims in pairs
    )
    return (
        "#pragma once\n"
        f"#define DO_FOR_AB(TARGET, A_RANGE, B_RANGE) {targets}\n"
        "#define SWITCH_AB(CALL, A_RANGE, B_RANGE, A, B) switch ((A) * 100 + (B)) { "
        f'{cases} default: TORCH_CHECK(false, "no kernel was built for this"); }}\n'
    )


def main() -> None:
    """Builds it, so that a benchmark need not."""
    try:
        print(load()[1])
    except NoMonaiError as error:
        sys.exit(f"error: {error}")


def crf(
    phl_filter: Filter, unary: Tensor, kernels: Sequence[tuple[Tensor, float]], iterations: int
) -> Tensor:
    """Q as MONAI's block CRF computes it: ``kernels`` are features [N,d,H,W] and weights."""
    q = torch.softmax(-unary, 1)
    for _ in range(iterations):
        energy = -unary
        for features, weight in kernels:
            energy = energy + weight * phl_filter(q, features)
        q = torch.softmax(energy, 1)
    return q


if __name__ == "__main__":
    main()
