"""What the config raises."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config value that cannot be right; the message names the key, what was expected and what came."""
