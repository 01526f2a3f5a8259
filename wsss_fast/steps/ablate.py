"""The ablation: every cell of a grid, with the stages that cells have in common made once."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from pathlib import Path

from wsss_fast._folder_lock import hold
from wsss_fast.ablation.grid import Cell, Setting, cells_of, grid
from wsss_fast.ablation.page import page
from wsss_fast.ablation.sharing import Stage, link, stages_of
from wsss_fast.ablation.table import Row, as_csv, as_markdown, as_text, rows_of
from wsss_fast.config import Config, ConfigError, check_config
from wsss_fast.data import open_images
from wsss_fast.files import DataError, NoMasksError, write_text
from wsss_fast.models.segmenter import segmenter
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._states import StepError

STEP = "ablate"


def ablate(config: Config) -> list[Row]:
    """Run the grid of ``config.ablate`` and write its table: ``<output>/ablation.{md,csv,html}``.

    Each cell of the grid (an encoder, a threshold, with or without the person's maps) is a run of the method
    in ``<output>/cells/<cell>``. A stage whose part of the config is the same in several cells is made once,
    in ``<output>/stages``, and the cells link to it; all thresholds come from one walk. With and without
    test-time augmentation are two readings of one cell. A cell's results are those, bit for bit, of ``run``
    with its ``config.yaml`` elsewhere.

    One line a stage is printed, with its time and the cells that share it. What an earlier call has finished
    is not done again, and the table is written anew after every cell, so that it shows what there is so far.
    Another encoder in the grid costs only its own stages; another threshold is another walk, and so new
    segmentation networks.

    It is one process, and raises `ConfigError` as one of several. Before anything is trained it raises
    `ConfigError` for a grid that the config does not allow and for an encoder that is not there, and
    `NoMasksError` for a data set without true masks of validation images.
    Where a stage stops, its cells are named: in a `StepError`, or for errors of other kinds in a line of
    their own.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.ablate import ablate
    >>> rows = ablate(grid_config)  # a line a stage, then the table
    train-classifier ...
    >>> (Path(grid_config.output) / "ablation.md").exists()
    True
    """
    check_config(config)
    if ranks().world > 1:
        raise ConfigError(f"WORLD_SIZE: expected 1 for `{STEP}`, which is one process, got {ranks().world}")
    settings = grid(config)
    cells = cells_of(settings)
    stages = stages_of(cells, Path(config.output))
    _check_masks(config)
    _check_encoders(stages)
    link(stages)
    start = time.perf_counter()
    with ExitStack() as until_done:
        for cell in cells:  # each is a run, which other commands may be given
            until_done.enter_context(hold(cell.config.output, "output"))
        for stage in stages:
            _make(stage, cells)
            if stage.step == "evaluate":
                _write(config, settings, stages)
    rows = _write(config, settings, stages)
    print(f"{'all':<24} {time.perf_counter() - start:8.1f} s")
    print(as_text(rows))
    print(f"table: {Path(config.output) / 'ablation.html'}, .md and .csv")
    return rows


def _make(stage: Stage, cells: Sequence[Cell]) -> None:
    whose = _whose(stage, cells)
    if stage.done:
        print(f"{stage.step:<24}     done    {whose}", flush=True)
        return
    start = time.perf_counter()
    try:
        module = importlib.import_module(f"wsss_fast.steps.{stage.step.replace('-', '_')}")
        # A table of all cells is printed at the end; what the evaluation says of each is in its metrics.json.
        with redirect_stdout(io.StringIO()) if stage.step == "evaluate" else nullcontext():
            getattr(module, stage.step.replace("-", "_"))(stage.cells[0].config)
    except (DataError, StepError) as error:
        raise StepError(
            f"stopped at {whose}: {error}\nThe same command goes on from there, with what is finished kept."
        ) from error
    except BaseException:
        print(f"{stage.step:<24}  stopped    {whose}", flush=True)
        raise
    print(f"{stage.step:<24} {time.perf_counter() - start:8.1f} s  {whose}", flush=True)


def _whose(stage: Stage, cells: Sequence[Cell]) -> str:
    names = ", ".join(cell.name for cell in stage.cells)
    if len(stage.cells) == 1:
        return names
    count = len(stage.cells)
    return f"all {count} cells" if count == len(cells) else f"{count} of {len(cells)} cells: {names}"


def _write(config: Config, settings: Sequence[Setting], stages: Sequence[Stage]) -> list[Row]:
    rows = rows_of(settings, stages)
    texts = {"md": as_markdown(rows), "csv": as_csv(rows), "html": page(config, rows, stages)}
    for suffix, text in texts.items():
        write_text(Path(config.output) / f"ablation.{suffix}", text)
    return rows


def _check_masks(config: Config) -> None:
    """Raise unless a validation image has a true mask: found out before hours of training, not after."""
    images = open_images(config.data, "val")
    for index in range(len(images)):
        try:
            if images.mask(index) is not None:
                return
        except DataError:
            if config.data.strict:
                raise
    raise NoMasksError(
        config.data.root or config.data.reader,
        f"expected true masks of the validation images to fill the table of `{STEP}` with, got none",
    )


def _check_encoders(stages: Sequence[Stage]) -> None:
    """Raise for an encoder or weights that are not there, by making the networks still to be trained."""
    waiting = [stage for stage in stages if stage.step == "train-segmenter" and not stage.done]
    encoders = [stage.cells[0].config.segmenter.backbone for stage in waiting]
    for encoder in {repr(encoder): encoder for encoder in encoders}.values():
        segmenter(encoder, classes=2)
