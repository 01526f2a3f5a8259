"""Tiny runs and data sets in which every command has something to do, and a folder for each state of them.

::

    <work>/run            where commands run: always here, since outputs name their folder
    <work>/before/<key>   what a command finds
    <work>/after/<key>    what it leaves, undisturbed
    <work>/data/<name>    the data sets that prepare reads
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _forked import start

from wsss_fast.cli import COMMANDS

sys.path.append(str(Path(__file__).resolve().parents[1] / "python_tests" / "prepare"))
import trees

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

ALONE = ("prepare lid", "prepare voc", "prepare coco", "prepare folder")
"""Commands that start from nothing but a data set."""

COMMAND_NAMES = (*STEPS, "evaluate", "report", "run", "ablate", *ALONE)

_TIMEOUT = 600.0

_BACKBONE = {"name": "test_resnet", "output_stride": 16}


@dataclass(frozen=True)
class Learning:
    """How the trainings of a tiny run go."""

    batch_size: int
    rate: float
    """The learning rate; that of IRNet's boundaries is ten times, of its displacements a hundred times it."""


QUICK = Learning(batch_size=4, rate=0.01)
GENTLE = Learning(batch_size=16, rate=0.001)


def _config(
    output: Path, images: dict[str, int], epochs: int, workers: int, learning: Learning = QUICK
) -> dict[str, Any]:
    """timm's smallest network on images that it learns nothing from."""
    training = {"backbone": _BACKBONE, "batch_size": learning.batch_size, "image_size": 64, "epochs": epochs}
    rates = {"lr_backbone": learning.rate, "lr_head": learning.rate}
    irnet = {"lr_boundary": 10 * learning.rate, "lr_displacement": 100 * learning.rate}
    return {
        "output": str(output),
        "device": "cpu",
        "threads": 1,
        "checkpoints": {"every": 2, "keep": 2},
        "logs": {"every": 1},
        "data": {"reader": "shapes", "workers": workers, "shapes": images},
        "classifier": {**training, **rates},
        "cams": {"scales": [1.0, 0.5]},
        "irnet": {**training, **irnet, "radius": 4},
        "segmenter": {**training, **rates},
        "report": {"images": 2},
    }


def whole_config(output: Path, workers: int, images: int, learning: Learning) -> dict[str, Any]:
    """With a person's classifier, instances and a second round."""
    config = _config(
        output, {"train": images, "val": 8, "size": 112}, epochs=3, workers=workers, learning=learning
    )
    config["classifier"]["exclude"] = ["star"]
    config["person"] = {
        "merge": "before",
        "name": "star",
        "classifier": {key: value for key, value in config["classifier"].items() if key != "exclude"},
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


def make_data_set(name: str, root: Path, images: int) -> list[str]:
    """A tree for `wsss-fast prepare NAME`, a fifth of it for validation; returns the arguments that it needs
    beside its folder. A few files are damaged, so that the report has something to tell."""
    shutil.rmtree(root, ignore_errors=True)
    train, val = ([f"{split}_{i:05}" for i in range(n)] for split, n in (("t", images), ("v", images // 5)))
    options: list[str] = []
    if name == "voc":
        trees.voc(root, train, val)
        damaged = root / "JPEGImages" / f"{train[7]}.jpg"
        options = ["--train-masks", str(root / "SegmentationClass")]
    elif name == "lid":
        objects = ((trees.LION,), (trees.PERSON, trees.ZEBRA), None)
        placed = {f"ILSVRC2013_train_extra0/{image}": objects[i % 3] for i, image in enumerate(train)}
        trees.lid(root, placed, val)
        damaged = root / "Data" / "DET" / "train" / f"ILSVRC2013_train_extra0/{train[7]}.JPEG"
    elif name == "coco":
        train_files, val_files = ([f"{image}.jpg" for image in names] for names in (train, val))
        entries = [trees.annotated(100 + i, (1, 13, 90)[i % 3], trees.box(2, 2, 9, 8)) for i in range(images)]
        trees.coco(root, train_files, entries, val_files, entries[: len(val)])
        damaged = root / "train2017" / train_files[7]
        options = ["--train-masks"]
    elif name == "folder":
        rows = {f"{image}.jpg": f"train,{i % 2},1" for i, image in enumerate(train)}
        trees.folder(root, rows | {f"{image}.jpg": "val,1,0" for image in val})
        damaged = root / "images" / f"{train[7]}.jpg"
    else:
        raise ValueError(f"name: expected voc, lid, coco or folder, got {name!r}")
    os.truncate(damaged, 100)
    return options


class TinyRuns:
    """The cases of some commands, made by running what they need once.

    ``images``: of training of a run; ``files``: of a data set that prepare reads.
    """

    def __init__(
        self,
        work: Path,
        ranks: int = 1,
        workers: int = 2,
        images: int = 40,
        files: int = 2000,
        learning: Learning = QUICK,
    ) -> None:
        self.work = work
        self.ranks = ranks
        self.workers = workers
        self.files = files
        self.run = work / "run"
        self.log = work / "commands.log"
        work.mkdir(parents=True, exist_ok=True)
        self._configs = {"whole": work / "whole.yaml", "short": work / "short.yaml"}
        self._configs["whole"].write_text(yaml.safe_dump(whole_config(self.run, workers, images, learning)))
        self._configs["short"].write_text(yaml.safe_dump(short_config(self.run, workers)))

    def cases(self, commands: list[str], tell: Callable[[str], None]) -> list[Case]:
        """In the order in which commands follow each other; ``tell`` gets a line a command."""
        chain = [name for name in COMMAND_NAMES if name not in ("run", "ablate", *ALONE)]
        last = max((chain.index(name) for name in commands if name in chain), default=-1)
        found: list[Case] = []

        def add(command: str, arguments: list[str]) -> None:
            found.append(self._undisturbed(command, arguments))
            tell(f"{command}: {found[-1].seconds:.1f} s undisturbed")

        self._empty()
        for name in chain[: last + 1]:
            add(name, [name, "--config", str(self._configs["whole"])])
        for name in ("run", "ablate"):
            if name in commands:
                self._empty()
                add(name, [name, "--config", str(self._configs["short"])])
        for name in ALONE:
            if name in commands:
                self._empty()
                add(name, self._prepare(name.split()[1]))
        return [case for case in found if case.command in commands]

    def _empty(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()

    def _prepare(self, name: str) -> list[str]:
        root = self.work / "data" / name
        options = make_data_set(name, root, self.files)
        folders = ["--source", str(root), "--destination", str(self.run)]
        return ["prepare", name, *folders, *options, "--workers", str(self.workers)]

    def _undisturbed(self, command: str, arguments: list[str]) -> Case:
        before, after = self.work / "before" / command, self.work / "after" / command
        copy(self.run, before)
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


assert {name.split()[0] for name in COMMAND_NAMES} <= {*COMMANDS, "prepare"}
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # processes share the cores
