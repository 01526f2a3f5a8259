"""The pictures of the CRF benchmarks: photographs of a folder, or made-up scenes, at any size.

What a CRF costs is decided by the size of its bilateral lattice, and that by the grain of the picture. At
500 x 375 with sxy 50 and srgb 5 a photograph at native resolution has about 190,000 vertices, a smooth one
half of that or less; `choose` therefore takes only pictures within ``VERTICES``.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

import wsss_fast

HEIGHT, WIDTH = 375, 500
VERTICES = range(180_000, 210_001)
GRAIN = 4.0  # standard deviation of the noise, in image values

_SCENES_TRIED = 200


class PhotosError(Exception):
    """The pictures asked for cannot be had; the message names the option and says what to do."""


class Picture(Protocol):
    @property
    def name(self) -> str: ...

    def at(self, height: int, width: int) -> Tensor:
        """uint8 [3,H,W], RGB: the same bytes at every call."""
        ...


def _to_bytes(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8)))


@dataclass(frozen=True)
class Photograph:
    """A photograph scaled up by cubic interpolation, with the grain that scaling smoothed away put back."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def seed(self) -> int:
        """Of the name alone, so that a photograph looks the same whatever else lies in its folder."""
        return zlib.crc32(self.name.encode())

    def read(self) -> np.ndarray:
        content = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if content is None:
            raise PhotosError(f"--photos: expected an image, got {self.path}, which cannot be read")
        return cv2.cvtColor(content, cv2.COLOR_BGR2RGB)

    def at(self, height: int, width: int) -> Tensor:
        smooth = cv2.resize(self.read(), (width, height), interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng([self.seed, height, width]).normal(scale=GRAIN, size=smooth.shape)
        return _to_bytes((smooth + grain).transpose(2, 0, 1))


@dataclass(frozen=True)
class Scene:
    """Made up, with what decides the size of a photograph's lattice: a 1/f spectrum, and grain."""

    seed: int

    @property
    def name(self) -> str:
        return f"scene {self.seed}"

    def at(self, height: int, width: int) -> Tensor:
        rng = np.random.default_rng(self.seed)
        fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
        falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / width) ** 1.6
        shared = rng.normal(size=(height, width))
        channels = []
        for _ in range(3):
            noise = 0.85 * shared + 0.4 * rng.normal(size=(height, width))
            smooth = np.fft.irfft2(np.fft.rfft2(noise) * falloff, s=(height, width))
            grain = rng.normal(scale=GRAIN, size=(height, width))
            channels.append(125 + 55 * smooth / smooth.std() + grain)
        return _to_bytes(np.stack(channels))


def photographs(folder: Path) -> Iterator[Photograph]:
    """Those wider than high. Ordered by a hash of the name, since neighbours in the alphabet are alike."""
    if not folder.is_dir():
        raise PhotosError(
            f"--photos: no folder {folder}; give a folder of JPEG photographs with --photos DIR, "
            "or --photos synthetic for made-up scenes"
        )
    found = [Photograph(path) for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg")]
    for photograph in sorted(found, key=lambda p: (p.seed, p.name)):
        height, width, _ = photograph.read().shape
        if width > height:
            yield photograph


def scenes() -> Iterator[Scene]:
    return (Scene(seed) for seed in itertools.count())


def vertices(image: Tensor) -> int:
    """How many the bilateral lattice of an image [3,H,W] has with sxy 50 and srgb 5."""
    _, height, width = image.shape
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    features = torch.cat([torch.stack([x, y]) / 50, image.float() / 5])
    return wsss_fast.PermutohedralLattice(features).vertices[0]


def choose(pictures: Iterable[Picture], count: int) -> dict[Picture, int]:
    """The first ``count`` pictures whose lattice at 500 x 375 is in the range ``VERTICES``, and its size."""
    chosen: dict[Picture, int] = {}
    for tried, picture in enumerate(pictures):
        size = vertices(picture.at(HEIGHT, WIDTH))
        if size in VERTICES:
            chosen[picture] = size
        if len(chosen) == count:
            return chosen
        if isinstance(picture, Scene) and tried >= _SCENES_TRIED:
            break
    raise PhotosError(
        f"--photos: expected {count} landscape pictures (--repeats and one to warm up) whose lattice has "
        f"{VERTICES.start:,} to {VERTICES.stop - 1:,} vertices, got {len(chosen)}; give more photographs or "
        "a smaller --repeats"
    )
