"""tta_merge against plain torch: 6 predictions (scales 0.5, 1, 2 x flip) merged at 512 x 512.

pytest benchmarks/bench_tta.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import wsss_fast
import wsss_fast.reference.tta

MERGE: dict[str, Callable[..., Any]] = {
    "ours": wsss_fast.tta_merge,
    "reference": wsss_fast.reference.tta.tta_merge,
}


@pytest.mark.parametrize("name", MERGE)
@pytest.mark.parametrize("output", ["mean", "labels"])
@pytest.mark.parametrize(("classes", "stride"), [(21, 1), (21, 4), (201, 4)])  # stride of the logits
def test_merge(benchmark, name, output, classes, stride):
    benchmark.group = f"C={classes}, logits at stride {stride}, {output}"

    def inputs() -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Different in every round."""
        sides = [size // stride for size in (256, 512, 1024) for _ in range(2)]
        return ([torch.randn(1, classes, n, n) for n in sides],), {}

    def run(logits):
        return MERGE[name](logits, (512, 512), flipped=[False, True] * 3, output=output)

    benchmark.pedantic(run, setup=inputs, rounds=2 if classes > 100 else 5, warmup_rounds=1)
