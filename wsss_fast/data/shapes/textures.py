"""Textures of the object classes.

A texture is a function of (u, v), coordinates on the object in units of the texture's period, with values
around [-1, 1].
"""

from __future__ import annotations

from math import tau

import numpy as np


def dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v)
    across = (u + 0.5 * (row % 2)) % 1 - 0.5
    return np.tanh(6 * (0.33 - np.hypot(across, v - row - 0.5)) / 0.33)


def stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.tanh(2.5 * np.sin(tau * u))


def checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.tanh(4 * np.sin(np.pi * u) * np.sin(np.pi * v))


def waves(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.tanh(2.5 * np.sin(tau * np.hypot(u, v)))


def zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.tanh(2.5 * np.sin(tau * (v + 0.8 * np.abs(0.55 * u % 1 - 0.5) * 2)))


def scales(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rows of scales like roof tiles: each is light in the middle and dark along its round lower edge."""
    best = np.full_like(u, -1.0)
    done = np.zeros(u.shape, bool)
    row = np.floor(1.6 * v)
    for back in (1, 0):  # the row above lies on top
        centre_row = row - back
        across = (u + 0.5 * (centre_row % 2)) % 1 - 0.5
        distance = np.hypot(across * 2, 1.6 * v - centre_row) / 1.25
        inside = (distance < 1) & ~done
        best[inside] = (1.2 - 2.2 * distance**3)[inside]
        done |= inside
    return best
