"""The table of object classes: what outline and what texture each has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from wsss_fast.data.shapes import outlines, textures


@dataclass(frozen=True)
class Kind:
    """An object class."""

    name: str
    outline: Callable[[Generator], list[np.ndarray]]
    texture: Callable[[np.ndarray, np.ndarray], np.ndarray]
    period: float
    """Length of the texture's pattern, in the units of the outline."""
    head: tuple[float, float]
    """Where on the outline's plane the texture is strongest."""


KINDS = (
    Kind("pebble", outlines.pebble, textures.dots, 0.42, (0.45, 0.0)),
    Kind("star", outlines.star, textures.stripes, 0.36, (0.0, -0.35)),
    Kind("ring", outlines.ring, textures.checks, 0.30, (0.75, 0.0)),
    Kind("moon", outlines.moon, textures.waves, 0.30, (-0.72, -0.3)),
    Kind("cross", outlines.cross, textures.zigzag, 0.36, (0.0, -0.6)),
    Kind("triangle", outlines.triangle, textures.scales, 0.40, (0.0, -0.35)),
)
