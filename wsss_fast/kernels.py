"""The pairwise terms of a dense CRF: what :func:`wsss_fast.crf` takes as its kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wsss_fast import _checks

#: A weight (Potts model), a cost for each class ``[C]``, or a matrix of costs ``[C,C]``.
Compat: TypeAlias = "float | Sequence[float] | Sequence[Sequence[float]] | np.ndarray | Tensor"


def _deviations(name: str, value: Any, count: int) -> tuple[float, ...]:
    """``value`` as ``count`` positive standard deviations; one number stands for all of them."""
    expected = f"{name}: expected a number > 0 or {count} of them"
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    for v in values:
        if isinstance(v, bool) or not isinstance(v, (int, float)):
            raise TypeError(f"{expected}, got {_shown(value)}")
        if not 0 < _checks.as_float(v) < math.inf:
            raise ValueError(f"{expected}, got {_shown(value)}")
    if len(values) != count:
        raise ValueError(f"{expected}, got {_shown(value)}")
    return tuple(float(v) for v in values)


def _shown(value: Any) -> str:
    if not isinstance(value, (tuple, list)):
        return _checks.describe(value)
    return (
        f"({', '.join(_checks.describe(item) for item in value)})"
        if len(value) <= 5
        else f"{len(value)} of them"
    )


def _compat(name: str, value: Any) -> float | Tensor:
    """``value`` as a float or as a tensor of rank 1 or 2."""
    expected = f"{name}: expected a finite number, a vector [C] or a matrix [C,C]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(_checks.as_float(value)):
            raise ValueError(f"{expected}, got {_checks.describe(value)}")
        return float(value)
    if not isinstance(value, Tensor):
        value = _array_of_numbers(expected, value)
    if not _checks.is_dense(value) or value.is_complex() or value.is_quantized or value.dtype == torch.bool:
        raise TypeError(f"{expected}, got {_checks.describe(value)}")
    if value.dim() > 2 or (value.dim() == 2 and value.shape[0] != value.shape[1]):
        raise ValueError(f"{expected}, got shape [{','.join(str(n) for n in value.shape)}]")
    return value


def _array_of_numbers(expected: str, value: Any) -> Tensor:
    """A copy of an array, a list or the like in float64."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors on a GPU or with a gradient
        raise TypeError(f"{expected}, got a {type(value).__name__}") from None
    if array.dtype.kind not in "iuf":
        got = f"an array of {array.dtype}" if isinstance(value, np.ndarray) else _checks.describe(value)
        raise TypeError(f"{expected}, got {got}")
    return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Smoothness: pixels that are near each other agree.

    Args:
        sxy: standard deviation in pixels, or ``(sx, sy)``.
        compat: how strongly, in units of energy. A number w is the Potts model: agreeing neighbours lower
            the energy by up to w. A vector ``[C]`` or a matrix ``[C,C]`` holds costs instead: they multiply
            the message and are added to the energy, so that w equals the matrix -w I. A tensor may require
            a gradient.

    >>> import wsss_fast
    >>> wsss_fast.Gaussian(sxy=3, compat=3).scales
    (3.0, 3.0)
    >>> unlike = [[0.0, 2.0], [2.0, 0.0]]  # a matrix of costs: neighbours of different labels cost 2
    >>> wsss_fast.Gaussian(sxy=(3, 1.5), compat=unlike).compat.shape
    torch.Size([2, 2])
    """

    sxy: float | tuple[float, float] = 3.0
    compat: Compat = 3.0

    def __post_init__(self) -> None:
        _deviations("Gaussian.sxy", self.sxy, 2)
        object.__setattr__(self, "compat", _compat("Gaussian.compat", self.compat))

    @property
    def scales(self) -> tuple[float, ...]:
        """``(sx, sy)``"""
        return _deviations("Gaussian.sxy", self.sxy, 2)


@dataclass(frozen=True, eq=False)
class Bilateral:
    """Appearance: pixels that are near each other and of similar colour agree.

    Args:
        sxy: standard deviation in pixels, or ``(sx, sy)``.
        srgb: standard deviation in image values (0 to 255), or ``(sr, sg, sb)``.
        compat: as in :class:`Gaussian`.

    >>> import wsss_fast
    >>> wsss_fast.Bilateral(sxy=80, srgb=13, compat=10).scales
    (80.0, 80.0, 13.0, 13.0, 13.0)
    """

    sxy: float | tuple[float, float] = 50.0
    srgb: float | tuple[float, float, float] = 5.0
    compat: Compat = 10.0

    def __post_init__(self) -> None:
        _deviations("Bilateral.sxy", self.sxy, 2)
        _deviations("Bilateral.srgb", self.srgb, 3)
        object.__setattr__(self, "compat", _compat("Bilateral.compat", self.compat))

    @property
    def scales(self) -> tuple[float, ...]:
        """``(sx, sy, sr, sg, sb)``"""
        return _deviations("Bilateral.sxy", self.sxy, 2) + _deviations("Bilateral.srgb", self.srgb, 3)


@dataclass(frozen=True, eq=False)
class Features:
    """Pixels whose features are near each other agree; for guides that are not RGB.

    Args:
        features: ``[N,d,H,W]`` (``[d,H,W]`` for a single image), d = 1..16, float32 or float64, in units of
            the kernel's standard deviation. Positions are not added: put them in. In a call on a list of
            images, a list with an entry for each.
        compat: as in :class:`Gaussian`.

    >>> import torch, wsss_fast
    >>> y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    >>> depth = torch.rand(24, 32)  # in metres
    >>> guide = wsss_fast.Features(torch.stack([x / 20, y / 20, depth / 0.1]), compat=5)
    >>> unary = wsss_fast.unary_from_probs(torch.rand(4, 24, 32).softmax(0))
    >>> image = torch.zeros(3, 24, 32, dtype=torch.uint8)  # looked at by no kernel
    >>> wsss_fast.crf(image, unary, kernels=[guide]).shape
    torch.Size([4, 24, 32])
    """

    features: Tensor | Sequence[Tensor]
    compat: Compat = 1.0

    def __post_init__(self) -> None:
        given = self.features
        entries = given if isinstance(given, (list, tuple)) else [given]
        for entry in entries:
            if not isinstance(entry, Tensor):
                raise TypeError(
                    "Features.features: expected a tensor [N,d,H,W] or a list of tensors, "
                    f"got a {type(entry).__name__}"
                )
        object.__setattr__(self, "compat", _compat("Features.compat", self.compat))


Kernel: TypeAlias = Gaussian | Bilateral | Features
