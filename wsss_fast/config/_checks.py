"""What the checks of the config have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ConfigError(ValueError):
    """A config value that cannot be right; the message names the key, what was expected and what came.

    >>> from wsss_fast.config import CamsConfig, ConfigError
    >>> try:
    ...     CamsConfig(scales=[])
    ... except ConfigError as error:
    ...     print(error)
    cams.scales: expected positive numbers, got []
    """


def check(good: bool, key: str, expected: str, got: object) -> None:
    if not good:
        raise ConfigError(f"{key}: expected {expected}, got {got!r}")


def check_at_least(prefix: str, config: object, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        check(value >= low, f"{prefix}.{key}".removeprefix("."), f"a number >= {low:g}", value)


def check_above(prefix: str, config: object, low: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        check(low < value < float("inf"), f"{prefix}.{key}", f"a finite number > {low:g}", value)


def check_fraction(prefix: str, config: object, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        check(0 <= value <= 1, f"{prefix}.{key}", "a number in [0, 1]", value)


def check_thresholds(key: str, thresholds: Sequence[float]) -> None:
    good = bool(thresholds) and all(0 <= t <= 1 for t in thresholds)
    check(good and len(set(thresholds)) == len(thresholds), key, "distinct numbers in [0, 1]", thresholds)


class _Scaled(Protocol):
    min_scale: float
    max_scale: float


def check_scales(prefix: str, config: _Scaled) -> None:
    check_above(prefix, config, 0, "min_scale")
    high = config.max_scale
    check(high >= config.min_scale, f"{prefix}.max_scale", "at least min_scale", high)
