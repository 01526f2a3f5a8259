"""Tiny runs in which every command has something to do, and a folder for each state of them.

::

    <work>/run            where commands run: always here, since outputs name their folder
    <work>/before/<key>   what a command finds
    <work>/after/<key>    what it leaves, undisturbed
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _forked import start

from wsss_fast.cli import COMMANDS

STEPS = (
    "train-classifier",
    "make-cams",
    "train-person-classifier",
    "make-person-cams",
    "make-ir-labels",
    "train-irnet",
    "make-pseudo-masks",
    "make-instance-masks",
    "train-segmenter",
    "refine-pseudo-masks",
    "retrain-segmenter",
    "predict",
)
"""In this order, each on what the ones before have left."""

COMMAND_NAMES = (*STEPS, "evaluate", "report", "run", "ablate")

_TIMEOUT = 600.0

_BACKBONE = {"name": "test_resnet", "output_stride": 16}
_TRAINING = {"backbone": _BACKBONE, "batch_size": 4, "image_size": 64}


def _config(
    output: Path, images: dict[str, int], epochs: int, workers: int, rate: float = 0.01
) -> dict[str, Any]:
    """timm's smallest network on images that it learns nothing from."""
    rates = {"lr_backbone": rate, "lr_head": rate}
    return {
        "output": str(output),
        "device": "cpu",
        "threads": 1,
        "checkpoints": {"every": 2, "keep": 2},
        "logs": {"every": 1},
        "data": {"reader": "shapes", "workers": workers, "shapes": images},
        "classifier": {**_TRAINING, "epochs": epochs, **rates},
        "cams": {"scales": [1.0, 0.5]},
        "irnet": {**_TRAINING, "epochs": epochs, "radius": 4},
        "segmenter": {**_TRAINING, "epochs": epochs, **rates},
        "report": {"images": 2},
    }


def whole_config(output: Path, workers: int, images: int, rate: float) -> dict[str, Any]:
    """With a person's classifier, instances and a second round."""
    config = _config(output, {"train": images, "val": 8, "size": 112}, epochs=3, workers=workers, rate=rate)
    config["classifier"]["exclude"] = ["star"]
    config["person"] = {
        "merge": "before",
        "name": "star",
        "classifier": {**_TRAINING, "epochs": 3, "lr_backbone": rate, "lr_head": rate},
    }
    config["instances"] = {"splits": ["train", "val"]}
    config["segmenter"]["rounds"] = 2
    config["predict"] = {"crf": True}
    return config


def short_config(output: Path, workers: int) -> dict[str, Any]:
    """For commands that run many steps."""
    config = _config(output, {"train": 8, "val": 4, "size": 64}, epochs=1, workers=workers)
    config["pseudo_masks"] = {"thresholds": [0.25, 0.5]}
    config["ablate"] = {"thresholds": [0.25, 0.5], "tta": [False], "person": [False]}
    return config


@dataclass(frozen=True)
class Case:
    """A command, what it starts from and what it leaves when nothing disturbs it."""

    command: str
    arguments: list[str]
    before: Path
    after: Path
    run: Path
    log: Path
    seconds: float

    def reset(self) -> None:
        """Make the run folder as it was before the command."""
        shutil.rmtree(self.run, ignore_errors=True)
        copy(self.before, self.run)


class TinyRuns:
    """The cases of some commands, made by running what they need once."""

    def __init__(
        self, work: Path, ranks: int = 1, workers: int = 2, images: int = 40, rate: float = 0.01
    ) -> None:
        self.work = work
        self.ranks = ranks
        self.run = work / "run"
        self.log = work / "commands.log"
        work.mkdir(parents=True, exist_ok=True)
        self._configs = {"whole": work / "whole.yaml", "short": work / "short.yaml"}
        self._configs["whole"].write_text(yaml.safe_dump(whole_config(self.run, workers, images, rate)))
        self._configs["short"].write_text(yaml.safe_dump(short_config(self.run, workers)))

    def cases(self, commands: list[str], tell: Callable[[str], None]) -> list[Case]:
        """In the order in which commands follow each other; ``tell`` gets a line a command."""
        chain = [name for name in COMMAND_NAMES if name not in ("run", "ablate")]
        last = max((chain.index(name) for name in commands if name in chain), default=-1)
        found = []
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()
        for name in chain[: last + 1]:
            case = self._undisturbed(name, "whole")
            tell(f"{name}: {case.seconds:.1f} s undisturbed")
            found.append(case)
        for name in ("run", "ablate"):
            if name in commands:
                shutil.rmtree(self.run, ignore_errors=True)
                self.run.mkdir()
                case = self._undisturbed(name, "short")
                tell(f"{name}: {case.seconds:.1f} s undisturbed")
                found.append(case)
        return [case for case in found if case.command in commands]

    def _undisturbed(self, command: str, config: str) -> Case:
        before, after = self.work / "before" / command, self.work / "after" / command
        copy(self.run, before)
        arguments = [command, "--config", str(self._configs[config])]
        ranks = self.ranks if command in STEPS else 1
        seconds = run_to_the_end(arguments, self.log, ranks)
        copy(self.run, after)
        return Case(command, arguments, before, after, self.run, self.log, seconds)


def run_to_the_end(arguments: list[str], log: Path, ranks: int = 1, timeout: float = _TIMEOUT) -> float:
    """The seconds that a command takes. Raises `RuntimeError` if its exit code is not 0."""
    running = start(arguments, log, ranks)
    code = running.wait(timeout)
    if code:
        raise RuntimeError(f"{arguments[0]}: expected exit code 0, got {code}; what it said is in {log}")
    return time.perf_counter() - running.started


def copy(source: Path, target: Path) -> None:
    """A whole folder with its times of change, which some commands look at."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


assert {*COMMAND_NAMES} <= {*COMMANDS}
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # processes share the cores
