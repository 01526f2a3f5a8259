"""Which classes the classifiers of step 1 learn."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from wsss_fast.config import Config, ConfigError


def learnt_classes(config: Config, classes: Sequence[str]) -> list[int]:
    """The columns of the image labels that train-classifier learns: all but those of classifier.exclude.

    ``classes``: the names of the data set's classes; ids are columns + 1. Raises `ConfigError` for names that
    are not among them, and when none is left.
    """
    excluded = {_column("classifier.exclude", name, classes) for name in config.classifier.exclude}
    columns = [k for k in range(len(classes)) if k not in excluded]
    if not columns:
        raise ConfigError(
            f"classifier.exclude: expected at least one of the {len(classes)} classes to be left, "
            f"got {config.classifier.exclude}"
        )
    return columns


def person_class(config: Config, classes: Sequence[str]) -> int:
    """The column of the image labels that train-person-classifier learns: that of person.name."""
    return _column("person.name", config.person.name, classes)


def _column(key: str, name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{key}: expected names among {', '.join(classes)}, got {name!r}{hint}")
    return list(classes).index(name)
