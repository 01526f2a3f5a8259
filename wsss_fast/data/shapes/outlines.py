"""Outlines of the object classes: each call draws another member of the family.

An outline is a list of closed contours, float64 [n,2] in (x, y), of about unit radius, y down; a second
contour is a hole.
"""

from __future__ import annotations

from math import tau

import numpy as np
from numpy.random import Generator


def pebble(random: Generator) -> list[np.ndarray]:
    angle = _turn()
    radius = np.ones_like(angle)
    for waves in (2, 3):
        radius += random.uniform(0, 0.09) * np.cos(waves * angle + random.uniform(0, tau))
    return [_polar(radius, angle)]


def star(random: Generator) -> list[np.ndarray]:
    points = int(random.integers(5, 7))
    inner = random.uniform(0.45, 0.55)
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.25, 1.25 * inner)
    return [_polygon(_polar(radius, np.arange(2 * points) * np.pi / points - np.pi / 2))]


def ring(random: Generator) -> list[np.ndarray]:
    angle = _turn()
    inner = random.uniform(0.42, 0.52)
    shift = random.uniform(-0.08, 0.08, 2)
    return [_polar(np.ones_like(angle), angle), _polar(np.full_like(angle, inner), angle) + shift]


def moon(random: Generator) -> list[np.ndarray]:
    # The outer arc of a unit circle, and back along the arc of a second circle moved to the right.
    move = random.uniform(0.42, 0.62)
    bite = random.uniform(0.8, 0.9)
    x = (1 + move**2 - bite**2) / (2 * move)  # where the circles meet
    outer_end = np.arccos(x)
    inner_end = np.arctan2(np.sin(outer_end), x - move)
    outer = np.linspace(outer_end, tau - outer_end, 64)
    inner = np.linspace(tau - inner_end, inner_end, 48)[1:-1]
    bitten = _polar(np.full_like(inner, bite), inner) + np.array([move, 0])
    return [np.concatenate([_polar(np.ones_like(outer), outer), bitten])]


def cross(random: Generator) -> list[np.ndarray]:
    a = random.uniform(0.3, 0.4)
    quarter = np.array([[a, -1.1], [a, -a], [1.1, -a]])
    corners = []
    for _ in range(4):
        corners.append(quarter)
        quarter = np.stack([-quarter[:, 1], quarter[:, 0]], axis=1)
    return [_polygon(np.concatenate(corners))]


def triangle(random: Generator) -> list[np.ndarray]:
    angle = np.array([-90.0, 30.0, 150.0]) + random.uniform(-10, 10, 3)
    return [_polygon(_polar(np.full(3, 1.25), np.deg2rad(angle)), each=24)]


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _turn(points: int = 96) -> np.ndarray:
    return np.linspace(0, tau, points, endpoint=False)


def _polygon(corners: np.ndarray, each: int = 12) -> np.ndarray:
    """A polygon with ``each`` points a side, so that it can be bent."""
    steps = np.arange(each)[:, None] / each
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return np.concatenate([start + steps * (end - start) for start, end in sides])
