"""The table of an ablation as one HTML page, in the style of the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from wsss_fast.ablation.sharing import Stage
from wsss_fast.ablation.table import CAPTION, COLUMNS, NUMBERS, Row
from wsss_fast.config import Config
from wsss_fast.config_file import to_yaml


def page(config: Config, rows: Sequence[Row], stages: Sequence[Stage]) -> str:
    """The page: one file without scripts, light or dark as the reader prefers."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    assets = files("wsss_fast") / "report_assets"
    report = (assets / "page.html.j2").read_text(encoding="utf-8")
    source = (assets / "ablation.html.j2").read_text(encoding="utf-8")
    cells = len({cell.name for stage in stages for cell in stage.cells})
    return environment.from_string(source).render(
        title=Path(config.output).name,
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        config=config,
        style=report.partition("<style>")[2].partition("</style>")[0],
        columns=COLUMNS,
        numbers=NUMBERS,
        caption=CAPTION,
        rows=[{"texts": row.texts(), "mean_iou": row.mean_iou} for row in rows],
        best=max((row.mean_iou for row in rows if row.mean_iou is not None), default=None),
        cells=cells,
        stages=[
            {
                "step": stage.step,
                "folder": f"stages/{stage.folder.name}",
                "seconds": stage.seconds,
                "done": stage.done,
                "cells": [cell.name for cell in stage.cells],
            }
            for stage in stages
        ],
        once=sum(stage.seconds for stage in stages),
        separately=sum(stage.seconds * len(stage.cells) for stage in stages),
        config_text=to_yaml(config),
    )
