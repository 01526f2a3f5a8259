"""Grad-CAM of a batch beside its forward pass: what the maps of three classes an image cost.

`pytest benchmarks/bench_grad_cam.py --benchmark-only`; as a script it prints the ratio, measured in turns:
`python benchmarks/bench_grad_cam.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from wsss_fast.config import BackboneConfig, CamsConfig
from wsss_fast.models.activation_maps import activation_maps
from wsss_fast.models.classifier import Classifier

BATCH, CLASSES, SIDE, REPEATS = 8, 20, 224, 7
BACKBONES = ("resnet50", "tf_efficientnet_lite0")
PRESENT = torch.zeros(BATCH, CLASSES, dtype=torch.bool)
for image in range(BATCH):
    PRESENT[image, [image, image + 3, image + 8]] = True


def cases(name: str, method: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The forward pass, and the maps of three classes an image (which have a forward pass in them)."""
    model = Classifier(BackboneConfig(name=name), CLASSES).eval()
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    config = CamsConfig(method=method)  # type: ignore[arg-type]

    @torch.no_grad()
    def forward() -> object:
        return model(images)

    return forward, lambda: activation_maps(model, images, PRESENT, config)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("what", ["forward", "gradcam", "gradcam++"])
def test_grad_cam(benchmark: Any, name: str, what: str) -> None:
    forward, maps = cases(name, "gradcam" if what == "forward" else what)
    benchmark.group = f"{name}, {BATCH} images of {SIDE} pixels, 3 classes each"
    benchmark(forward if what == "forward" else maps)


def main() -> None:
    for name in BACKBONES:
        for method in ("gradcam", "gradcam++"):
            pair = cases(name, method)
            times: list[list[float]] = [[], []]
            for _ in range(1 + REPEATS):
                for one, call in zip(times, pair, strict=True):
                    start = time.perf_counter()
                    call()
                    one.append(time.perf_counter() - start)
            ratios = sorted(maps / forward for forward, maps in zip(times[0][1:], times[1][1:], strict=True))
            print(
                f"{name} {method}: forward {1e3 * statistics.median(times[0][1:]):.0f} ms, "
                f"maps {1e3 * statistics.median(times[1][1:]):.0f} ms, ratio {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
