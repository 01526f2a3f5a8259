"""What lies behind the objects."""

from __future__ import annotations

from math import tau

import cv2
import numpy as np
from numpy.random import Generator

from wsss_fast.data.shapes.colours import random_colour, random_tint
from wsss_fast.data.shapes.fields import noise, square


def background(random: Generator, size: int) -> np.ndarray:
    """Two or three surfaces that meet along a horizon or around patches, with a little clutter."""
    image = _surface(random, size, random_colour(random, 0.8))
    x, y = square(size)
    for _ in range(int(random.integers(1, 3))):
        where = noise(random, size, random.uniform(1.4, 2.2))
        if random.random() < 0.5:  # a horizon or a wall: mostly straight
            angle = random.normal(np.pi / 2, 0.25) if random.random() < 0.7 else random.uniform(0, tau)
            where = 0.12 * where + 2 * (x * np.cos(angle) + y * np.sin(angle))
        where = where + random.uniform(-0.7, 0.7)
        edge = size / 128 * np.exp(random.uniform(np.log(1.5), np.log(12)))
        part = np.clip(where * edge + 0.5, 0, 1)[..., None]
        image += part * (_surface(random, size, random_colour(random, 0.8)) - image)
    for _ in range(int(random.integers(0, 4))):  # stones, twigs, leaves: no texture, no class
        centre = random.uniform(0, size, 2)
        axes = size * np.exp(random.uniform(np.log(0.015), np.log(0.09), 2))
        blob = np.zeros((size, size), np.uint8)
        cv2.ellipse(
            blob, (tuple(centre), tuple(2 * axes), random.uniform(0, 180)), 255, -1, lineType=cv2.LINE_AA
        )
        part = cv2.GaussianBlur(blob, (0, 0), random.uniform(0.5, 1.5))[..., None] * np.float32(0.9 / 255)
        image += part * (random_colour(random) - image)
    return image


def _surface(random: Generator, size: int, colour: np.ndarray) -> np.ndarray:
    """A rough surface: float32 [size,size,3]."""
    stretch = float(np.exp(random.normal(0, 0.45)))
    light = noise(random, size, random.uniform(0.9, 1.4), stretch)
    light *= random.uniform(8, 24)
    return colour + light[..., None] * random_tint(random)
