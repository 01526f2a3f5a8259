"""The grid of an ablation: its cells, each a run of its own, and the rows of the table, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from wsss_fast.config import BackboneConfig, Config, ConfigError


@dataclass(frozen=True)
class Cell:
    """A run of the method; with and without test-time augmentation are two readings of one."""

    name: str
    """Fit for a folder: ``resnet50-0.3``, ``resnet50-0.3-person``."""
    encoder: str
    threshold: float
    person: bool
    config: Config
    """The config of this run, in a folder of its own."""


@dataclass(frozen=True)
class Setting:
    """A row of the table."""

    cell: Cell
    tta: bool


def grid(config: Config) -> list[Setting]:
    """Every combination that ``config.ablate`` names: encoders, thresholds, augmentation and person CAM, the
    last one running fastest.

    Raises `ConfigError` if the config does not say what a part of the grid needs.
    """
    _check(config)
    ablate = config.ablate
    encoders = ablate.encoders or [config.segmenter.backbone]
    labels = dict(zip(_labels(encoders), encoders, strict=True))
    cells = {
        (label, threshold, person): _cell(config, label, encoder, threshold, person)
        for (label, encoder), threshold, person in product(labels.items(), ablate.thresholds, ablate.person)
    }
    return [
        Setting(cells[label, threshold, person], tta)
        for label, threshold, tta, person in product(labels, ablate.thresholds, ablate.tta, ablate.person)
    ]


def cells_of(settings: Sequence[Setting]) -> list[Cell]:
    """The cells in the order in which the table comes to them."""
    return list({setting.cell.name: setting.cell for setting in settings}.values())


def _check(config: Config) -> None:
    if True in config.ablate.person and not config.person.has_classifier:
        raise ConfigError(
            f"ablate.person: expected [false], since person.merge is {config.person.merge} and so does not "
            f"say how the person's maps are merged, got {config.ablate.person!r}"
        )
    if "val" not in config.predict.splits:
        raise ConfigError(
            "predict.splits: expected 'val' among them, which the table of the ablation is about, "
            f"got {config.predict.splits!r}"
        )


def _labels(encoders: Sequence[BackboneConfig]) -> list[str]:
    """The encoders by name; those of one name by their output stride too, or else by a number."""
    names = [encoder.name for encoder in encoders]
    strides = [f"{encoder.name}-os{encoder.output_stride}" for encoder in encoders]
    numbers = [f"{name}#{1 + names[:place].count(name)}" for place, name in enumerate(names)]
    return [
        name if names.count(name) == 1 else stride if _tells_apart(names, strides, name) else number
        for name, stride, number in zip(names, strides, numbers, strict=True)
    ]


def _tells_apart(names: Sequence[str], strides: Sequence[str], name: str) -> bool:
    of_name = [stride for other, stride in zip(names, strides, strict=True) if other == name]
    return len(set(of_name)) == len(of_name)


def _cell(config: Config, label: str, encoder: BackboneConfig, threshold: float, person: bool) -> Cell:
    name = f"{label.replace('/', '_')}-{threshold:g}{'-person' if person else ''}"
    return Cell(
        name=name,
        encoder=label,
        threshold=threshold,
        person=person,
        config=replace(
            config,
            output=str(Path(config.output) / "cells" / name),
            person=config.person if person else replace(config.person, merge="none"),
            # One walk makes the masks of all thresholds, so it is the same stage in all cells.
            pseudo_masks=replace(config.pseudo_masks, thresholds=list(config.ablate.thresholds)),
            instances=replace(config.instances, splits=[]),  # no figure of the table comes from them
            segmenter=replace(config.segmenter, backbone=encoder, mask_threshold=threshold),
            predict=replace(config.predict, tta=True in config.ablate.tta),
        ),
    )
