"""What the config raises."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config value that cannot be right; the message names the key, what was expected and what came.

    >>> from wsss_fast.config import CamsConfig, ConfigError
    >>> try:
    ...     CamsConfig(scales=[])
    ... except ConfigError as error:
    ...     print(error)
    cams.scales: expected positive numbers, from 0.01 to 100, got []
    """
