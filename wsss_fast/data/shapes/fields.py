"""Functions over the square of an image: coordinates, noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator


@lru_cache(maxsize=8)
def square(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (x, y) of the pixels from -1 to 1."""
    along = np.linspace(-1, 1, size, dtype=np.float32)
    return along[None, :], along[:, None]


def noise(random: Generator, size: int, slope: float, stretch: float = 1.0) -> np.ndarray:
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


@lru_cache(maxsize=8)
def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    fy = np.fft.fftfreq(size)[:, None].astype(np.float32)
    fx = np.fft.rfftfreq(size)[None, :].astype(np.float32)
    return fx, fy
