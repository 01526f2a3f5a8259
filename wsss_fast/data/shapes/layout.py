"""Where the objects of an image are: how many, of what class, how they lie and what they hide; the mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import tau

import cv2
import numpy as np
from numpy.random import Generator

from wsss_fast.data.shapes.kinds import KINDS, Kind


@dataclass
class Object:
    """An object in its place in the image."""

    label: int
    box: tuple[slice, slice]
    """Rows and columns of the image that the object touches."""
    alpha: np.ndarray
    """float32 [h,w] in [0,1]: how much of each pixel of the box the object covers."""
    centre: np.ndarray
    """(x, y) in pixels."""
    radius: float
    """Pixels a unit of the outline."""
    to_unit: np.ndarray
    """[3,3]: from (x, y, 1) in pixels to the outline's plane."""


def lay_out(random: Generator, size: int, classes: int) -> list[Object]:
    """One to three objects, from the farthest to the nearest, none of them mostly hidden."""
    number = int(random.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    low, high = {1: (0.09, 0.35), 2: (0.07, 0.22), 3: (0.06, 0.15)}[number]
    objects: list[Object] = []
    for _ in range(number):
        label = 1 + int(random.integers(classes))
        area = np.exp(random.uniform(np.log(low), np.log(high))) * size**2
        for _ in range(8):
            new = _place(random, KINDS[label - 1], label, area, size)
            if new is not None and _all_show([*objects, new], size):
                objects.append(new)
                break
    return objects


def visible_mask(objects: list[Object], size: int) -> np.ndarray:
    """uint8 [size,size]: the label of the nearest object, 0 where there is none."""
    mask = np.zeros((size, size), np.uint8)
    for item in objects:
        mask[item.box][item.alpha > 0.5] = item.label
    return mask


def _all_show(objects: list[Object], size: int) -> bool:
    """Whether of every object at least 60 % of its pixels can be seen."""
    top = np.full((size, size), -1, np.int16)
    for rank, item in enumerate(objects):
        top[item.box][item.alpha > 0.5] = rank
    return all(
        np.count_nonzero(top[item.box] == rank) >= 0.6 * np.count_nonzero(item.alpha > 0.5)
        for rank, item in enumerate(objects)
    )


def _place(random: Generator, kind: Kind, label: int, area: float, size: int) -> Object | None:
    """An object of about ``area`` pixels; None if too much of it would lie outside the image."""
    contours = kind.outline(random)

    # Bend the outline, then turn, stretch and tilt its plane.
    wave = random.uniform(1.5, 3.0, 2)
    phase = random.uniform(0, tau, 2)
    bend = random.uniform(0, 0.07)
    contours = [c + bend * np.sin(wave * c[:, ::-1] + phase) for c in contours]
    angle = random.uniform(0, tau)
    aspect = np.exp(random.uniform(-0.22, 0.22))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_image = np.eye(3)
    to_image[:2, :2] = turn @ np.diag([aspect, 1 / aspect])
    to_image[2, :2] = random.uniform(-0.13, 0.13, 2)
    mapped = [_map(to_image, c) for c in contours]

    covered = _area(mapped[0]) - sum(_area(c) for c in mapped[1:])
    radius = float(np.sqrt(area / covered))
    margin = min(0.8 * radius, 0.5 * size)
    centre = random.uniform(margin, size - margin, 2)
    to_image = np.array([[radius, 0, centre[0]], [0, radius, centre[1]], [0, 0, 1]]) @ to_image
    mapped = [radius * c + centre for c in mapped]

    low = np.floor(mapped[0].min(axis=0)).astype(int) - 1
    high = np.ceil(mapped[0].max(axis=0)).astype(int) + 2
    x0, y0 = np.clip(low, 0, size)
    x1, y1 = np.clip(high, 0, size)
    if min(x1 - x0, y1 - y0) < 2:
        return None
    alpha = _fill(mapped, int(x0), int(y0), int(x1 - x0), int(y1 - y0))
    if alpha.sum() < 0.85 * area:
        return None
    box = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
    return Object(label, box, alpha, centre, radius, np.linalg.inv(to_image))


def _map(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def _area(contour: np.ndarray) -> float:
    return float(cv2.contourArea(contour.astype(np.float32)))


def _fill(contours: list[np.ndarray], x0: int, y0: int, width: int, height: int) -> np.ndarray:
    """How much of each pixel the contours cover (odd-even rule): float32 [height,width], corners rounded."""
    fine = 4
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    # A pixel's centre has integer coordinates, on the fine grid too.
    points = [np.round(16 * (fine * (c - [x0, y0]) + (fine - 1) / 2)).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, points, 255, shift=4)
    alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(alpha, (3, 3), 0.6).astype(np.float32) / 255
