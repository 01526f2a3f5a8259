"""fuse_cams against plain torch: 4 scales x flip of one 375 x 500 image, 20 classes of which 2 are present.

pytest benchmarks/bench_cam_fusion.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import wsss_fast
import wsss_fast.reference.cam_fusion

# Maps at stride 16 of the image at scales 1, 0.5, 1.5, 2.
SIZES = [(24, 32), (12, 16), (36, 47), (47, 63)]
FUSE: dict[str, Callable[..., Any]] = {
    "ours": wsss_fast.fuse_cams,
    "reference": wsss_fast.reference.cam_fusion.fuse_cams,
}


def inputs() -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Different in every round."""
    cams = [torch.randn(1, 20, h, w) for h, w in SIZES for _ in range(2)]
    classes = torch.zeros(1, 20, dtype=torch.bool)
    classes[0, torch.randperm(20)[:2]] = True
    return (cams,), {"classes": classes}


@pytest.mark.parametrize("name", FUSE)
@pytest.mark.benchmark(group="full resolution")
def test_full(benchmark, name):
    def run(cams, classes):
        return FUSE[name](cams, (375, 500), flipped=[False, True] * 4, classes=classes)

    benchmark.pedantic(run, setup=inputs, rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("name", FUSE)
@pytest.mark.benchmark(group="strided and full resolution in one call")
def test_strided_and_full(benchmark, name):
    def run(cams, classes):
        return FUSE[name](
            cams,
            [(94, 125), (384, 512)],
            crop=[None, (375, 500)],
            flipped=[False, True] * 4,
            classes=classes,
        )

    benchmark.pedantic(run, setup=inputs, rounds=20, warmup_rounds=2)
