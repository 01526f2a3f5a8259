"""The steps of a run: what each reads of the config, and which ones it builds on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

from wsss_fast.config import Config


@dataclass(frozen=True)
class Node:
    """A step of a run."""

    reads: tuple[str, ...]
    """The parts of the config that its outputs depend on: sections, or keys of one (``person.merge``)."""
    needs: tuple[str, ...] = ()
    """The steps whose outputs it reads."""
    collective: bool = False
    """Whether several processes do it together, as one (a training), rather than each its share."""


# Settings that change how a result is reached, not what it is.
_IRRELEVANT = ("workers", "strict", "images_root")


def graph(config: Config) -> dict[str, Node]:
    """The steps that this config has, in their order: each comes after those that it needs."""
    person = config.person
    before = ("make-person-cams",) if person.merge == "before" else ()
    merged = ("make-person-cams",) if person.has_classifier else ()
    own = ("person.merge", "person.name", "person.threshold") if person.merge != "none" else ()
    nodes = {
        "train-classifier": Node(("seed", "data", "classifier"), collective=True),
        "make-cams": Node(("cams",), ("train-classifier",)),
    }
    if merged:
        reads = ("seed", "data", "person.name", "person.classifier")
        nodes["train-person-classifier"] = Node(reads, collective=True)
        nodes["make-person-cams"] = Node(("cams",), ("train-person-classifier",))
    nodes["make-ir-labels"] = Node(("crf", "ir_labels"), ("make-cams", *before))
    nodes["train-irnet"] = Node(("irnet",), ("make-ir-labels",), collective=True)
    nodes["make-pseudo-masks"] = Node(("pseudo_masks", *own), ("make-cams", "train-irnet", *merged))
    if config.instances.splits:
        nodes["make-instance-masks"] = Node(("instances",), ("make-pseudo-masks",))
    nodes["train-segmenter"] = Node(("segmenter",), ("make-pseudo-masks",), collective=True)
    if config.segmenter.rounds == 2:
        nodes["refine-pseudo-masks"] = Node(("predict.scales", "predict.hflip"), ("train-segmenter",))
        nodes["retrain-segmenter"] = Node((), ("refine-pseudo-masks",), collective=True)
    nodes["predict"] = Node(("predict",), (last_segmenter(config),))
    return nodes


def last_segmenter(config: Config) -> str:
    """The step whose network predicts."""
    return "train-segmenter" if config.segmenter.rounds == 1 else "retrain-segmenter"


def upstream(config: Config, name: str) -> list[str]:
    """The step and all that it builds on, in their order."""
    nodes = graph(config)
    wanted = {name}
    for step in reversed(nodes):
        if step in wanted:
            wanted.update(nodes[step].needs)
    return [step for step in nodes if step in wanted]


def relevant_config(config: Config, name: str) -> dict[str, Any]:
    """The part of the config that the outputs of a step depend on, as plain nested dicts."""
    values = asdict(config)
    for key in _IRRELEVANT:
        values["data"].pop(key)
    nodes = graph(config)
    relevant: dict[str, Any] = {}
    for step in upstream(config, name):
        for part in nodes[step].reads:
            *sections, key = part.split(".")
            source = reduce(lambda found, section: found[section], sections, values)
            target = reduce(lambda found, section: found.setdefault(section, {}), sections, relevant)
            target[key] = source[key]
    return relevant
