"""``shapes``: photograph-like images with textured objects, made on the fly.

Six classes, each a family of outlines with a texture of its own: dotted pebbles, striped stars, checked
rings, moons with concentric waves, zigzag crosses, scaly triangles. An object's colours are drawn from one
distribution whatever its class, so colour tells nothing about the class, and mostly differ from what lies
around it, so that colour tells where the object ends. The texture is strong in one part of the object, its
head, and faint elsewhere, so that a classifier can be right without having looked at the whole object.

An image is a function of (seed, split, index) and the configured size and number of classes. On another
processor or with other versions of NumPy and OpenCV, single pixels may differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np

from wsss_fast.config import ShapesConfig, Split
from wsss_fast.data.image_set import ImageSet
from wsss_fast.files import IGNORE, DataError

Array: TypeAlias = np.ndarray
Random: TypeAlias = np.random.Generator

VISIBLE = 0.01
"""A class is in the labels if its pixels are at least this fraction of the image; if it shows in fewer, these
pixels are 255 in the mask, so that labels and mask always name the same classes."""

_SPLITS = {"train": 0, "val": 1}
_TAU = 2 * np.pi


class _Memory:
    """What was generated, kept for the next epoch and the next step of the same process.

    When the budget is spent nothing more is kept; a training goes round all images, so making room for the
    newest would only throw out what is needed next.
    """

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.kept: dict[tuple[object, ...], Array] = {}

    def get(self, key: tuple[object, ...], make: Callable[[], Array]) -> Array:
        value = self.kept.get(key)
        if value is None:
            value = make()
            if value.nbytes <= self.left:
                self.left -= value.nbytes
                self.kept[key] = value
        return value.copy()  # the caller may write to it


_memory = _Memory(256 * 2**20)


class Shapes(ImageSet):
    """The generated data set; see the module for what is in it. About 10 ms an image of 128 pixels."""

    def __init__(self, config: ShapesConfig, split: Split, *, classes: Sequence[str] = ()) -> None:
        self.config = config
        self.split = split
        self.classes = tuple(kind.name for kind in KINDS[: config.classes])
        if classes and tuple(classes) != self.classes:
            raise DataError(
                "data.classes", f"expected {list(self.classes)} or nothing (shapes), got {list(classes)}"
            )

    def __len__(self) -> int:
        return self.config.train if self.split == "train" else self.config.val

    def name(self, index: int) -> str:
        return f"{self.split}_{self._checked(index):05d}"

    def source(self, index: int) -> str:
        return f"shapes/{self.name(index)}"

    def image(self, index: int) -> Array:
        return self._remembered("image", index, self._make_image)

    def labels(self, index: int) -> Array:
        mask = self.mask(index)
        return np.bincount(mask.ravel(), minlength=256)[1 : len(self.classes) + 1] > 0

    def mask(self, index: int) -> Array:
        return self._remembered("mask", index, self._make_mask)

    def _remembered(self, kind: str, index: int, make: Callable[[int], Array]) -> Array:
        config = self.config
        key = (kind, config.seed, config.size, config.classes, self.split, self._checked(index))
        return _memory.get(key, lambda: make(index))

    def _make_image(self, index: int) -> Array:
        layout, look = self._random(index)
        return _paint(_lay_out(layout, self.config.size, self.config.classes), self.config.size, look)

    def _make_mask(self, index: int) -> Array:
        layout, _ = self._random(index)
        mask = _visible(_lay_out(layout, self.config.size, self.config.classes), self.config.size)
        pixels = np.bincount(mask.ravel(), minlength=256)
        for label in np.flatnonzero(pixels[1:] < VISIBLE * mask.size) + 1:
            mask[mask == label] = IGNORE
        return mask

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected an integer in [0, {len(self) - 1}], got {index}")
        return index

    def _random(self, index: int) -> tuple[Random, Random]:
        """One generator for where things are (the mask) and one for what they look like."""
        seed = np.random.SeedSequence([self.config.seed, _SPLITS[self.split], self._checked(index)])
        layout, look = seed.spawn(2)
        return np.random.default_rng(layout), np.random.default_rng(look)


# ---------------------------------------------------------------------------------------------- the classes
#
# Outlines are closed contours, float64 [n,2] in (x, y), of about unit radius, y down; a second contour is a
# hole. Textures are functions of (u, v), coordinates on the object in units of the texture's period, with
# values around [-1, 1].


def _polar(radius: Array, angle: Array) -> Array:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _turn(points: int = 96) -> Array:
    return np.linspace(0, _TAU, points, endpoint=False)


def _polygon(corners: Array, each: int = 12) -> Array:
    """A polygon with ``each`` points a side, so that it can be bent."""
    steps = np.arange(each)[:, None] / each
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return np.concatenate([start + steps * (end - start) for start, end in sides])


def _pebble(random: Random) -> list[Array]:
    angle = _turn()
    radius = np.ones_like(angle)
    for waves in (2, 3):
        radius += random.uniform(0, 0.09) * np.cos(waves * angle + random.uniform(0, _TAU))
    return [_polar(radius, angle)]


def _star(random: Random) -> list[Array]:
    points = int(random.integers(5, 7))
    inner = random.uniform(0.45, 0.55)
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.25, 1.25 * inner)
    return [_polygon(_polar(radius, np.arange(2 * points) * np.pi / points - np.pi / 2))]


def _ring(random: Random) -> list[Array]:
    angle = _turn()
    inner = random.uniform(0.42, 0.52)
    shift = random.uniform(-0.08, 0.08, 2)
    return [_polar(np.ones_like(angle), angle), _polar(np.full_like(angle, inner), angle) + shift]


def _moon(random: Random) -> list[Array]:
    # The outer arc of a unit circle, and back along the arc of a second circle moved to the right.
    move = random.uniform(0.42, 0.62)
    bite = random.uniform(0.8, 0.9)
    x = (1 + move**2 - bite**2) / (2 * move)  # where the circles meet
    outer_end = np.arccos(x)
    inner_end = np.arctan2(np.sin(outer_end), x - move)
    outer = np.linspace(outer_end, _TAU - outer_end, 64)
    inner = np.linspace(_TAU - inner_end, inner_end, 48)[1:-1]
    bitten = _polar(np.full_like(inner, bite), inner) + np.array([move, 0])
    return [np.concatenate([_polar(np.ones_like(outer), outer), bitten])]


def _cross(random: Random) -> list[Array]:
    a = random.uniform(0.3, 0.4)
    quarter = np.array([[a, -1.1], [a, -a], [1.1, -a]])
    corners = []
    for _ in range(4):
        corners.append(quarter)
        quarter = np.stack([-quarter[:, 1], quarter[:, 0]], axis=1)
    return [_polygon(np.concatenate(corners))]


def _triangle(random: Random) -> list[Array]:
    angle = np.array([-90.0, 30.0, 150.0]) + random.uniform(-10, 10, 3)
    return [_polygon(_polar(np.full(3, 1.25), np.deg2rad(angle)), each=24)]


def _dots(u: Array, v: Array) -> Array:
    row = np.floor(v)
    across = (u + 0.5 * (row % 2)) % 1 - 0.5
    return np.tanh(6 * (0.33 - np.hypot(across, v - row - 0.5)) / 0.33)


def _stripes(u: Array, v: Array) -> Array:
    return np.tanh(2.5 * np.sin(_TAU * u))


def _checks(u: Array, v: Array) -> Array:
    return np.tanh(4 * np.sin(np.pi * u) * np.sin(np.pi * v))


def _waves(u: Array, v: Array) -> Array:
    return np.tanh(2.5 * np.sin(_TAU * np.hypot(u, v)))


def _zigzag(u: Array, v: Array) -> Array:
    return np.tanh(2.5 * np.sin(_TAU * (v + 0.8 * np.abs(0.55 * u % 1 - 0.5) * 2)))


def _scales(u: Array, v: Array) -> Array:
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


@dataclass(frozen=True)
class Kind:
    """An object class."""

    name: str
    outline: Callable[[Random], list[Array]]
    texture: Callable[[Array, Array], Array]
    period: float
    """Length of the texture's pattern, in the units of the outline."""
    head: tuple[float, float]
    """Where on the outline's plane the texture is strongest."""


KINDS = (
    Kind("pebble", _pebble, _dots, 0.42, (0.45, 0.0)),
    Kind("star", _star, _stripes, 0.36, (0.0, -0.35)),
    Kind("ring", _ring, _checks, 0.30, (0.75, 0.0)),
    Kind("moon", _moon, _waves, 0.30, (-0.72, -0.3)),
    Kind("cross", _cross, _zigzag, 0.36, (0.0, -0.6)),
    Kind("triangle", _triangle, _scales, 0.40, (0.0, -0.35)),
)


# ------------------------------------------------------------------------------------------------ the layout


@dataclass
class _Object:
    label: int
    box: tuple[slice, slice]
    """Rows and columns of the image that the object touches."""
    alpha: Array
    """float32 [h,w] in [0,1]: how much of each pixel of the box the object covers."""
    centre: Array
    """(x, y) in pixels."""
    radius: float
    """Pixels a unit of the outline."""
    to_unit: Array
    """[3,3]: from (x, y, 1) in pixels to the outline's plane."""


def _lay_out(random: Random, size: int, classes: int) -> list[_Object]:
    """One to three objects, from the farthest to the nearest, none of them mostly hidden."""
    number = int(random.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    low, high = {1: (0.09, 0.35), 2: (0.07, 0.22), 3: (0.06, 0.15)}[number]
    objects: list[_Object] = []
    for _ in range(number):
        label = 1 + int(random.integers(classes))
        area = np.exp(random.uniform(np.log(low), np.log(high))) * size**2
        for _ in range(8):
            new = _place(random, KINDS[label - 1], label, area, size)
            if new is not None and _all_show([*objects, new], size):
                objects.append(new)
                break
    return objects


def _all_show(objects: list[_Object], size: int) -> bool:
    """Whether of every object at least 60 % of its pixels can be seen."""
    top = np.full((size, size), -1, np.int16)
    for rank, item in enumerate(objects):
        top[item.box][item.alpha > 0.5] = rank
    return all(
        np.count_nonzero(top[item.box] == rank) >= 0.6 * np.count_nonzero(item.alpha > 0.5)
        for rank, item in enumerate(objects)
    )


def _place(random: Random, kind: Kind, label: int, area: float, size: int) -> _Object | None:
    """An object of about ``area`` pixels; None if too much of it would lie outside the image."""
    contours = kind.outline(random)

    # Bend the outline, then turn, stretch and tilt its plane.
    wave = random.uniform(1.5, 3.0, 2)
    phase = random.uniform(0, _TAU, 2)
    bend = random.uniform(0, 0.07)
    contours = [c + bend * np.sin(wave * c[:, ::-1] + phase) for c in contours]
    angle = random.uniform(0, _TAU)
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
    return _Object(label, box, alpha, centre, radius, np.linalg.inv(to_image))


def _map(matrix: Array, points: Array) -> Array:
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def _area(contour: Array) -> float:
    return float(cv2.contourArea(contour.astype(np.float32)))


def _fill(contours: list[Array], x0: int, y0: int, width: int, height: int) -> Array:
    """How much of each pixel the contours cover (odd-even rule): float32 [height,width], corners rounded."""
    fine = 4
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    # A pixel's centre has integer coordinates, on the fine grid too.
    points = [np.round(16 * (fine * (c - [x0, y0]) + (fine - 1) / 2)).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, points, 255, shift=4)
    alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(alpha, (3, 3), 0.6).astype(np.float32) / 255


def _visible(objects: list[_Object], size: int) -> Array:
    mask = np.zeros((size, size), np.uint8)
    for item in objects:
        mask[item.box][item.alpha > 0.5] = item.label
    return mask


# -------------------------------------------------------------------------------------------------- the look


@lru_cache(maxsize=8)
def _square(size: int) -> tuple[Array, Array]:
    """Coordinates (x, y) of the pixels from -1 to 1."""
    along = np.linspace(-1, 1, size, dtype=np.float32)
    return along[None, :], along[:, None]


@lru_cache(maxsize=8)
def _frequencies(size: int) -> tuple[Array, Array]:
    fy = np.fft.fftfreq(size)[:, None].astype(np.float32)
    fx = np.fft.rfftfreq(size)[None, :].astype(np.float32)
    return fx, fy


def _field(random: Random, size: int, slope: float, stretch: float = 1.0) -> Array:
    """Noise with an amplitude spectrum 1/f**slope, mean 0 and deviation 1: float32 [size,size].

    ``stretch`` above 1 draws it out sideways, below 1 upwards.
    """
    fx, fy = _frequencies(size)
    squared = (fx * stretch) ** 2 + (fy / stretch) ** 2
    squared[0, 0] = 1
    spectrum = random.standard_normal((2, *squared.shape), dtype=np.float32)
    spectrum *= squared ** (-slope / 2)
    spectrum[:, 0, 0] = 0
    field = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(size, size)).astype(np.float32)
    return field / (field.std() + 1e-12)


def _colour(random: Random, vivid: float = 1.0) -> Array:
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


def _tint(random: Random, spread: float = 0.25) -> Array:
    """A direction in which colours vary: mostly brightness."""
    return (1 + spread * random.standard_normal(3)).astype(np.float32)


def _surface(random: Random, size: int, colour: Array) -> Array:
    """A rough surface: float32 [size,size,3]."""
    stretch = float(np.exp(random.normal(0, 0.45)))
    light = _field(random, size, random.uniform(0.9, 1.4), stretch)
    light *= random.uniform(8, 24)
    return colour + light[..., None] * _tint(random)


def _background(random: Random, size: int) -> Array:
    """Two or three surfaces that meet along a horizon or around patches, with a little clutter."""
    image = _surface(random, size, _colour(random, 0.8))
    x, y = _square(size)
    for _ in range(int(random.integers(1, 3))):
        where = _field(random, size, random.uniform(1.4, 2.2))
        if random.random() < 0.5:  # a horizon or a wall: mostly straight
            angle = random.normal(np.pi / 2, 0.25) if random.random() < 0.7 else random.uniform(0, _TAU)
            where = 0.12 * where + 2 * (x * np.cos(angle) + y * np.sin(angle))
        where = where + random.uniform(-0.7, 0.7)
        edge = size / 128 * np.exp(random.uniform(np.log(1.5), np.log(12)))
        part = np.clip(where * edge + 0.5, 0, 1)[..., None]
        image += part * (_surface(random, size, _colour(random, 0.8)) - image)
    for _ in range(int(random.integers(0, 4))):  # stones, twigs, leaves: no texture, no class
        centre = random.uniform(0, size, 2)
        axes = size * np.exp(random.uniform(np.log(0.015), np.log(0.09), 2))
        blob = np.zeros((size, size), np.uint8)
        cv2.ellipse(
            blob, (tuple(centre), tuple(2 * axes), random.uniform(0, 180)), 255, -1, lineType=cv2.LINE_AA
        )
        part = cv2.GaussianBlur(blob, (0, 0), random.uniform(0.5, 1.5))[..., None] * np.float32(0.9 / 255)
        image += part * (_colour(random) - image)
    return image


def _paint(objects: list[_Object], size: int, random: Random) -> Array:
    image = _background(random, size)
    bearing = random.uniform(0, _TAU)
    sun = np.array([np.cos(bearing), np.sin(bearing)])
    shadow = random.uniform(0.15, 0.5)
    for item in objects:
        _cast_shadow(image, item, -sun, shadow)
        _draw(image, item, sun, random)
    return _develop(image, size, sun, random)


def _cast_shadow(image: Array, item: _Object, away: Array, darkness: float) -> None:
    """Darken, softly, what lies behind an object."""
    size = image.shape[0]
    cover: Array = np.zeros((size, size), np.float32)
    cover[item.box] = item.alpha
    shift = np.array([[1, 0, 0.16 * item.radius * away[0]], [0, 1, 0.16 * item.radius * away[1]]])
    cover = cv2.warpAffine(cover, shift, (size, size))
    cover = cv2.GaussianBlur(cover, (0, 0), max(0.5, 0.1 * item.radius))
    image *= 1 - darkness * cover[..., None]


def _draw(image: Array, item: _Object, sun: Array, random: Random) -> None:
    kind = KINDS[item.label - 1]
    rows, columns = item.box
    under = image[item.box]
    y, x = np.mgrid[rows, columns].astype(np.float32)
    plane = np.tensordot(item.to_unit.astype(np.float32), np.stack([x, y, np.ones_like(x)]), 1)

    # The texture: strong at the head, faint elsewhere; without a mean, so that it does not tint the object.
    bend = random.uniform(0, 0.06)
    phase = random.uniform(0, _TAU, 2)
    period = kind.period * random.uniform(0.85, 1.15)
    u = plane[0] / plane[2] - kind.head[0]
    v = plane[1] / plane[2] - kind.head[1]
    texture: Array = kind.texture(
        (u + bend * np.sin(3 * v + phase[0])) / period, (v + bend * np.sin(3 * u + phase[1])) / period
    )
    texture *= random.uniform(7, 12) + random.uniform(24, 36) * np.exp(-(u**2 + v**2) / 0.3)
    total = item.alpha.sum()
    texture -= (texture * item.alpha).sum() / total

    # A base colour that mostly differs from what is around.
    around = under.reshape(-1, 3).mean(axis=0)
    candidates = [_colour(random, 1.2) for _ in range(6)]
    distances = [float(np.abs(colour - around).mean()) for colour in candidates]
    enough = random.uniform(20, 55)
    colour = next(
        (c for c, d in zip(candidates, distances, strict=True) if d > enough),
        candidates[int(np.argmax(distances))],
    )

    mottle = cv2.resize(random.standard_normal((7, 7)).astype(np.float32), x.shape[::-1])
    shade = ((x - item.centre[0]) * sun[0] + (y - item.centre[1]) * sun[1]) / item.radius
    paint = colour + texture[..., None] * _tint(random) + (5 * mottle)[..., None] * _tint(random, 0.5)
    paint *= (1 + random.uniform(0.03, 0.14) * shade)[..., None]
    under += item.alpha[..., None] * (paint - under)


def _develop(image: Array, size: int, sun: Array, random: Random) -> Array:
    """Light and camera: a gradient, a vignette, a colour cast, contrast, blur, noise. uint8 RGB."""
    x, y = _square(size)
    light = 1 + random.uniform(0, 0.22) * (x * sun[0] + y * sun[1]).astype(np.float32)
    light *= 1 - random.uniform(0, 0.22) * (x**2 + y**2)
    image = image * light[..., None] * random.normal(1, 0.05, 3).astype(np.float32)
    image = 128 + (image - 128) * np.float32(random.uniform(0.85, 1.15)) + np.float32(random.normal(0, 8))
    image = cv2.GaussianBlur(image, (0, 0), size / 128 * random.uniform(0.3, 0.75))
    noise: Array = random.standard_normal((size, size, 4), dtype=np.float32)
    image = image + random.uniform(1, 5) * (0.7 * noise[..., :3] + 0.7 * noise[..., 3:])
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
