"""What an image looks like: the background, the objects with their shadows, light and camera."""

from __future__ import annotations

from math import tau

import cv2
import numpy as np
from numpy.random import Generator

from wsss_fast.data.shapes.background import background
from wsss_fast.data.shapes.colours import random_colour, random_tint
from wsss_fast.data.shapes.fields import square
from wsss_fast.data.shapes.kinds import KINDS
from wsss_fast.data.shapes.layout import Object


def paint(objects: list[Object], size: int, random: Generator) -> np.ndarray:
    """The image, uint8 RGB, of objects given from the farthest to the nearest."""
    image = background(random, size)
    bearing = random.uniform(0, tau)
    sun = np.array([np.cos(bearing), np.sin(bearing)])
    shadow = random.uniform(0.15, 0.5)
    for item in objects:
        _cast_shadow(image, item, -sun, shadow)
        _draw(image, item, sun, random)
    return _develop(image, size, sun, random)


def _cast_shadow(image: np.ndarray, item: Object, away: np.ndarray, darkness: float) -> None:
    """Darken, softly, what lies behind an object."""
    size = image.shape[0]
    cover: np.ndarray = np.zeros((size, size), np.float32)
    cover[item.box] = item.alpha
    shift = np.array([[1, 0, 0.16 * item.radius * away[0]], [0, 1, 0.16 * item.radius * away[1]]])
    cover = cv2.warpAffine(cover, shift, (size, size))
    cover = cv2.GaussianBlur(cover, (0, 0), max(0.5, 0.1 * item.radius))
    image *= 1 - darkness * cover[..., None]


def _draw(image: np.ndarray, item: Object, sun: np.ndarray, random: Generator) -> None:
    """Paint an object over what is there: its colour, its texture, lighter towards the sun."""
    kind = KINDS[item.label - 1]
    rows, columns = item.box
    under = image[item.box]
    y, x = np.mgrid[rows, columns].astype(np.float32)
    plane = np.tensordot(item.to_unit.astype(np.float32), np.stack([x, y, np.ones_like(x)]), 1)

    # The texture: strong at the head, faint elsewhere; without a mean, so that it does not tint the object.
    bend = random.uniform(0, 0.06)
    phase = random.uniform(0, tau, 2)
    period = kind.period * random.uniform(0.85, 1.15)
    u = plane[0] / plane[2] - kind.head[0]
    v = plane[1] / plane[2] - kind.head[1]
    texture: np.ndarray = kind.texture(
        (u + bend * np.sin(3 * v + phase[0])) / period, (v + bend * np.sin(3 * u + phase[1])) / period
    )
    texture *= random.uniform(7, 12) + random.uniform(24, 36) * np.exp(-(u**2 + v**2) / 0.3)
    total = item.alpha.sum()
    texture -= (texture * item.alpha).sum() / total

    # A base colour that mostly differs from what is around.
    around = under.reshape(-1, 3).mean(axis=0)
    candidates = [random_colour(random, 1.2) for _ in range(6)]
    distances = [float(np.abs(colour - around).mean()) for colour in candidates]
    enough = random.uniform(20, 55)
    colour = next(
        (c for c, d in zip(candidates, distances, strict=True) if d > enough),
        candidates[int(np.argmax(distances))],
    )

    mottle = cv2.resize(random.standard_normal((7, 7)).astype(np.float32), x.shape[::-1])
    shade = ((x - item.centre[0]) * sun[0] + (y - item.centre[1]) * sun[1]) / item.radius
    painted = (
        colour + texture[..., None] * random_tint(random) + (5 * mottle)[..., None] * random_tint(random, 0.5)
    )
    painted *= (1 + random.uniform(0.03, 0.14) * shade)[..., None]
    under += item.alpha[..., None] * (painted - under)


def _develop(image: np.ndarray, size: int, sun: np.ndarray, random: Generator) -> np.ndarray:
    """Light and camera: a gradient, a vignette, a colour cast, contrast, blur, noise. uint8 RGB."""
    x, y = square(size)
    light = 1 + random.uniform(0, 0.22) * (x * sun[0] + y * sun[1]).astype(np.float32)
    light *= 1 - random.uniform(0, 0.22) * (x**2 + y**2)
    image = image * light[..., None] * random.normal(1, 0.05, 3).astype(np.float32)
    image = 128 + (image - 128) * np.float32(random.uniform(0.85, 1.15)) + np.float32(random.normal(0, 8))
    image = cv2.GaussianBlur(image, (0, 0), size / 128 * random.uniform(0.3, 0.75))
    noise: np.ndarray = random.standard_normal((size, size, 4), dtype=np.float32)
    image = image + random.uniform(1, 5) * (0.7 * noise[..., :3] + 0.7 * noise[..., 3:])
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
