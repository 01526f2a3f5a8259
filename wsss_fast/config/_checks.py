"""What the checks of the config have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsss_fast.config._errors import ConfigError
from wsss_fast.config._types import check_type, check_types, shown

__all__ = [
    "DEVIATIONS",
    "MAX_COMPAT",
    "MAX_SCALE",
    "MIN_SCALE",
    "ConfigError",
    "check",
    "check_at_least",
    "check_distinct",
    "check_fraction",
    "check_scales",
    "check_thresholds",
    "check_tta_scales",
    "check_type",
    "check_types",
    "check_within",
]

MIN_SCALE, MAX_SCALE = 0.01, 100.0
"""The least and the most that an image is magnified by: what is beyond is a slip."""

DEVIATIONS = 0.1, 1e6
"""The least and the greatest standard deviation of a kernel, in pixels or grey values: with less, photographs
of usual sizes are beyond the lattice."""

MAX_COMPAT = 1e6
"""The greatest weight of a kernel: energies stay finite."""


def check(good: bool, key: str, expected: str, got: object) -> None:
    if not good:
        raise ConfigError(f"{key}: expected {expected}, got {shown(got)}")


def check_at_least(prefix: str, config: object, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        check(value >= low, f"{prefix}.{key}".removeprefix("."), f"a number >= {low:g}", value)


def check_within(prefix: str, config: object, low: float, high: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        expected = f"a number >= {low:g} and <= {high:g}"
        check(low <= value <= high, f"{prefix}.{key}".removeprefix("."), expected, value)


def check_distinct(key: str, values: Sequence[object], expected: str = "distinct names") -> None:
    check(len(set(values)) == len(values), key, expected, values)


def check_fraction(prefix: str, config: object, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        check(0 <= value <= 1, f"{prefix}.{key}", "a number in [0, 1]", value)


def check_thresholds(key: str, thresholds: Sequence[float]) -> None:
    good = bool(thresholds) and all(0 <= t <= 1 for t in thresholds)
    check(good and len(set(thresholds)) == len(thresholds), key, "distinct numbers in [0, 1]", thresholds)


def check_tta_scales(key: str, scales: Sequence[float]) -> None:
    good = bool(scales) and min(scales) >= MIN_SCALE and max(scales) <= MAX_SCALE
    check(good, key, f"positive numbers, from {MIN_SCALE:g} to {MAX_SCALE:g}", scales)


class _Scaled(Protocol):
    min_scale: float
    max_scale: float


def check_scales(prefix: str, config: _Scaled) -> None:
    check_within(prefix, config, MIN_SCALE, MAX_SCALE, "min_scale", "max_scale")
    high = config.max_scale
    check(high >= config.min_scale, f"{prefix}.max_scale", "at least min_scale", high)
