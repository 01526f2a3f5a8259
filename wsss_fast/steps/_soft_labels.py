"""Soft labels of a run: the maps after the random walk, with the thresholds of the pseudo-masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_fast.config import Config, Split
from wsss_fast.data.soft_labels import SoftMaps
from wsss_fast.steps._layout import mask_threshold, walk_maps
from wsss_fast.steps._map_files import read_maps
from wsss_fast.steps._maps import person_id


@dataclass(frozen=True)
class SoftLabelFolder:
    """Reads the maps of a name from a folder of a run; passes to worker processes as it is."""

    folder: Path
    threshold: float
    own: Mapping[int, float]
    """Thresholds of classes, by id, that have one of their own."""
    apart: bool
    """Whether their maps have a maximum of their own, since they did not walk with the others."""

    classes: int
    """How many the data set has."""

    def __call__(self, name: str) -> SoftMaps:
        arrays = read_maps(self.folder / f"{name}.npz", "walk", classes=self.classes)
        return SoftMaps(arrays["classes"], arrays["walk"], self.threshold, self.own, self.apart)


def soft_label_folder(config: Config, split: Split, classes: Sequence[str]) -> SoftLabelFolder:
    """``classes``: the names of the classes with the ids 1, 2, ..."""
    person = person_id(config, classes)
    own = {} if person is None else {person: config.person.threshold}
    apart = config.person.merge == "after"
    return SoftLabelFolder(walk_maps(config, split), mask_threshold(config), own, apart, len(classes))
