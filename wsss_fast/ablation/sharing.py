"""Which stages the cells of an ablation have in common, and where they lie.

::

    <output>/stages/<step>-<hash>/         the outputs of a step, once for all cells that have it in common
    <output>/cells/<cell>/<step>           a link to one of them, so that a cell looks like any run
    <output>/cells/<cell>/config.yaml      its config: `wsss-fast report --config ...` writes its page

The hash is that of the part of the config that the outputs depend on, so a stage of another config lies
elsewhere, and whatever lies in a stage's folder belongs to it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wsss_fast.ablation.grid import Cell
from wsss_fast.config import Config
from wsss_fast.config_file import save
from wsss_fast.files import temporary_beside
from wsss_fast.steps._graph import relevant_config
from wsss_fast.steps._states import StepError, read_state
from wsss_fast.steps.run import steps_of


@dataclass
class Stage:
    """The outputs of a step that some cells have in common."""

    step: str
    folder: Path
    cells: list[Cell] = field(default_factory=list)

    @property
    def done(self) -> bool:
        state = self._state()
        return state is not None and bool(state["done"])

    @property
    def seconds(self) -> float:
        """How long it has taken so far, in all calls."""
        state = self._state()
        return 0.0 if state is None else float(state["seconds"])

    def _state(self) -> dict[str, Any] | None:
        return read_state(self.folder)


def stages_of(cells: Sequence[Cell], root: Path) -> list[Stage]:
    """The stages of all cells, in an order in which they can be made.

    Those that several cells have in common come first, step by step; then the others, cell by cell, so that
    one row of the table after the other is complete. (What a common stage builds on is common too.)
    """
    stages: dict[Path, Stage] = {}
    for cell in cells:
        for step in steps_of(cell.config):
            folder = root / "stages" / f"{step}-{_fingerprint(cell.config, step)}"
            stages.setdefault(folder, Stage(step, folder)).cells.append(cell)
    order = max((steps_of(cell.config) for cell in cells), key=len)  # with the steps of the person's own
    places = {cell.name: place for place, cell in enumerate(cells)}
    common = sorted((s for s in stages.values() if len(s.cells) > 1), key=lambda s: order.index(s.step))
    alone = sorted((s for s in stages.values() if len(s.cells) == 1), key=lambda s: places[s.cells[0].name])
    return [*common, *alone]


def link(stages: Sequence[Stage]) -> None:
    """Make the cells' folders: their configs, and a link a step to its stage. What is right already stays."""
    for stage in stages:
        stage.folder.mkdir(parents=True, exist_ok=True)
        for cell in stage.cells:
            _link(Path(cell.config.output) / stage.step, stage.folder)
    for cell in {cell.name: cell for stage in stages for cell in stage.cells}.values():
        save(cell.config, Path(cell.config.output) / "config.yaml")


def _fingerprint(config: Config, step: str) -> str:
    """Of all that the outputs of the step depend on."""
    if step == "evaluate":  # which looks at what all of the others have made
        relevant = {
            **relevant_config(config, "predict"),
            "person": asdict(config.person),
            "crf": asdict(config.crf),
            "evaluate": asdict(config.evaluate),
        }
    else:
        relevant = relevant_config(config, step)
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:8]


def _link(path: Path, target: Path) -> None:
    relative = os.path.relpath(target, path.parent)
    if path.is_symlink():
        if os.readlink(path) == relative:
            return
    elif path.exists():
        raise StepError(
            f"ablate: expected {path} to be a link to a stage or not to be there, got something else; "
            "choose another output"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    os.symlink(relative, temporary)
    os.replace(temporary, path)
