"""Time and memory of the metrics over a stream of masks: 10,000 images of 375 x 500 with 201 classes.

    PYTHONPATH=. .venv/bin/python benchmarks/metrics_streaming.py [IMAGES]

The images are made up: three objects each on background, contours left open as in PASCAL VOC, predictions
displaced by a few pixels, smooth maps of the three classes. Printed are medians of the CPU time of a call and
the resident memory of the process on its way.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from wsss_fast.metrics import BoundaryIou, ConfusionMatrix, ThresholdSweep

CLASSES = 201
SIZE = (375, 500)
THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 15)]


def resident() -> float:
    """Resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def example(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Prediction, truth, maps and their classes."""
    classes = 1 + generator.choice(CLASSES - 1, 3, replace=False)
    truth = np.zeros(SIZE, np.uint8)
    for k in classes:
        top, left = generator.integers(0, 250), generator.integers(0, 350)
        height, width = generator.integers(60, 200), generator.integers(60, 250)
        truth[top : top + height, left : left + width] = k
    prediction = np.roll(truth, (4, -6), (0, 1))
    truth[cv2.morphologyEx(truth, cv2.MORPH_GRADIENT, np.ones((5, 5))) > 0] = 255
    maps = [cv2.resize(generator.random((24, 32), np.float32), SIZE[::-1]) for _ in classes]
    return prediction, truth, np.stack(maps), classes


def main(images: int) -> None:
    generator = np.random.default_rng(0)
    pool = [example(generator) for _ in range(40)]
    confusion, boundary = ConfusionMatrix(CLASSES), BoundaryIou(CLASSES, 0.02)
    sweep = ThresholdSweep(CLASSES, THRESHOLDS)
    seconds: dict[str, list[float]] = {"confusion": [], "boundary IoU": [], "sweep": []}
    print(f"{'images':>8} {'resident':>12}")
    for done in range(1, images + 1):
        prediction, truth, maps, classes = pool[done % len(pool)]
        calls = {
            "confusion": lambda p=prediction, t=truth: confusion.update(p, t),
            "boundary IoU": lambda p=prediction, t=truth: boundary.update(p, t),
            "sweep": lambda m=maps, c=classes, t=truth: sweep.update(m, c, t),
        }
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
        if done in (images // 100, images // 10, images // 2, images):
            print(f"{done:8d} {resident():9.1f} MB")
    for name, values in seconds.items():
        print(f"{name:<14} {1e3 * float(np.median(values)):6.2f} ms an image")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
