"""Random colours, the same for things of every class."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator


def random_colour(random: Generator, vivid: float = 1.0) -> np.ndarray:
    """A colour as things in photographs have them, often of earth, leaves or sky: RGB of 0 to 255.

    ``vivid`` scales the saturation.
    """
    if random.random() < 0.6:
        hue = random.normal(*((32, 12), (95, 22), (215, 15))[random.integers(3)]) % 360
    else:
        hue = random.uniform(0, 360)
    saturation = min(1.0, vivid * random.beta(1.8, 3.2))
    hsv = np.array([[[hue, saturation, random.uniform(0.25, 0.9)]]], np.float32)
    return 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def random_tint(random: Generator, spread: float = 0.25) -> np.ndarray:
    """A direction in which colours vary: mostly brightness."""
    return (1 + spread * random.standard_normal(3)).astype(np.float32)
