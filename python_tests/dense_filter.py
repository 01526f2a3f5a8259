"""The Gaussian filter as a matrix, for tests of what stands on it."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_filter(features: Tensor) -> Tensor:
    """The filter of a few points [d,P] as a matrix [P,P], from the textbook definition, in float64.

    Points are embedded with the explicit basis; the simplex is found by sorting; vertices are tuples in a
    dictionary; each blur is a matrix.
    """
    with torch.device("cpu"):
        return _dense_filter(features.double().cpu()).to(features.device)


def _dense_filter(features: Tensor) -> Tensor:
    d, count = features.shape
    basis = torch.zeros(d + 1, d, dtype=torch.float64)
    for i in range(d):
        basis[: i + 1, i] = 1
        basis[i + 1, i] = -(i + 1)
        basis[:, i] *= (d + 1) * (2 / 3) ** 0.5 / ((i + 1) * (i + 2)) ** 0.5
    numbers: dict[tuple[int, ...], int] = {}
    splat = []  # (vertex, point, weight)
    for p in range(count):
        position = (basis @ features[:, p]).tolist()
        base = [round(x / (d + 1)) * (d + 1) for x in position]  # Python rounds half to even
        order = sorted(range(d + 1), key=lambda i: base[i] - position[i])
        excess = sum(base) // (d + 1)
        for i in order[len(order) - excess :] if excess > 0 else []:
            base[i] -= d + 1
        for i in order[:-excess] if excess < 0 else []:
            base[i] += d + 1
        order = sorted(range(d + 1), key=lambda i: base[i] - position[i])
        rest = [(position[i] - base[i]) / (d + 1) for i in order]
        for r in range(d + 1):
            vertex = [base[i] + r for i in range(d + 1)]
            for i in order[d + 1 - r :]:
                vertex[i] -= d + 1
            weight = rest[d - r] - rest[d - r + 1] if r else 1 + rest[d] - rest[0]
            splat.append((numbers.setdefault(tuple(vertex), len(numbers)), p, weight))
    s = torch.zeros(len(numbers), count, dtype=torch.float64)
    for vertex, p, weight in splat:
        s[vertex, p] += weight
    chain = s
    for axis in range(d + 1):
        blur = torch.eye(len(numbers), dtype=torch.float64)
        for key, vertex in numbers.items():
            for sign in (-1, 1):
                other = tuple(x + sign * (d if i == axis else -1) for i, x in enumerate(key))
                if other in numbers:
                    blur[vertex, numbers[other]] += 0.5
        chain = blur @ chain
    return s.T @ chain / (1 + 2.0**-d)
