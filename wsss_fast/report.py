"""One HTML page about a run: what came out, how it looks, how long it took."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from wsss_fast._report_charts import threshold_chart, training_charts
from wsss_fast._report_pictures import COLUMNS, IGNORED_COLOUR, Row, colour_of, data_uri, picture_row
from wsss_fast._report_tables import class_tables, metric_tables, stage_rows
from wsss_fast._versions import versions
from wsss_fast.config import Config, check_config
from wsss_fast.config_file import to_yaml
from wsss_fast.data import ImageSet, open_images
from wsss_fast.files import DataError, write_image, write_json, write_text
from wsss_fast.steps._metrics_file import read_metrics
from wsss_fast.steps._progress import progress_over
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._states import StepError, read_state
from wsss_fast.steps.run import steps_of

STEP = "report"

_COLUMN_STEPS = {
    "cam": "make-cams",
    "regions": "make-ir-labels",
    "boundary": "make-pseudo-masks",
    "walk": "make-pseudo-masks",
    "pseudo-mask": "make-pseudo-masks",
    "prediction": "predict",
    "prediction-crf": "predict",
}
"""Which step a column of pictures waits for."""


@dataclass(frozen=True)
class Timing:
    """A step that was run."""

    step: str
    seconds: float
    items: int
    done: bool
    share: float
    """Of the longest step's time, in [0, 1]."""


def report(config: Config) -> Path:
    """Write ``report/index.html`` and the pictures and charts as PNGs beside it; returns the page's path.

    The page is one file: pictures and charts are inside it, and it needs no script. What a step that was not
    run would have given is left out with a note. Validation images that cannot be read are left out and
    listed.

    Of several processes the first writes it. Raises `StepError` if no step has been run at all.

    >>> from wsss_fast.report import report
    >>> report(config).name
    'index.html'
    """
    check_config(config)
    start = time.perf_counter()
    root = Path(config.output)
    folder = root / STEP
    if not ranks().first:
        print(f"{ranks().prefix}{STEP} is left to rank 0")
        return folder / "index.html"
    found = {step: read_state(root / step) for step in steps_of(config)}
    states = {step: state for step, state in found.items() if state is not None}
    if not states:
        raise StepError(
            f"{STEP}: expected the outputs of a run under {root}, got none; run `wsss-fast run` first"
        )
    _remove_old_pictures(folder)
    images = open_images(config.data, "val")
    rows, unreadable = _rows(config, images)
    for row in rows:
        for column, picture in row.pictures.items():
            write_image(folder / f"{row.name}.{column}.png", picture)
    measured = root / "evaluate" / "metrics.json"
    metrics = read_metrics(measured) if measured.exists() else None
    columns = {key: title for key, title in COLUMNS.items() if any(key in row.pictures for row in rows)}
    skipped = [{**entry, "step": step} for step, state in states.items() for entry in state["skipped"]]
    page = _render(
        title=root.name,
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        config=config,
        images=images,
        metrics=metrics,
        stages=stage_rows(metrics) if metrics else [],
        metric_tables=metric_tables(metrics) if metrics else [],
        class_tables=class_tables(metrics) if metrics else [],
        columns=columns,
        column_notes=_column_notes(config, columns) if rows else [],
        rows=[_for_page(row, columns) for row in rows],
        legend=_legend(images, rows),
        training=_training(config, folder),
        threshold_chart=threshold_chart(metrics, folder / "chart-thresholds.png") if metrics else None,
        timings=_timings(states),
        skipped=skipped + [{**entry, "step": STEP} for entry in unreadable],
        config_text=to_yaml(config),
        versions=list(versions().items()),
    )
    path = folder / "index.html"
    write_text(path, page)
    write_json(
        folder / "step.json",
        {
            "step": STEP,
            "config": {"report": asdict(config.report)},
            "done": True,
            "seconds": time.perf_counter() - start,
            "items": len(rows),
            "skipped": unreadable,
        },
    )
    return path


def _render(**values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, duration=_duration)
    source = (files("wsss_fast") / "report_assets" / "page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def spread(n: int, count: int) -> list[int]:
    """``count`` indices spread evenly over range(n), the same ones every time.

    >>> from wsss_fast.report import spread
    >>> spread(10, 4), spread(2, 12)
    ([0, 3, 6, 9], [0, 1])
    """
    if count >= n:
        return list(range(n))
    return [int(i) for i in np.linspace(0, n - 1, count).round()]


def _rows(config: Config, images: ImageSet) -> tuple[list[Row], list[dict[str, str]]]:
    rows: list[Row] = []
    unreadable: list[dict[str, str]] = []
    chosen = spread(len(images), config.report.images)
    for index in progress_over(chosen, STEP):
        try:
            rows.append(picture_row(config, images, index))
        except DataError as error:
            if config.data.strict:
                raise
            entry = {"name": images.name(index), "file": error.file, "reason": error.reason}
            unreadable.append(entry)
    return rows, unreadable


def _remove_old_pictures(folder: Path) -> None:
    """An earlier report may have shown other images."""
    for column in COLUMNS:
        for path in folder.glob(f"*.{column}.png"):
            path.unlink()
    for path in folder.glob("chart-*.png"):
        path.unlink()


def _for_page(row: Row, columns: dict[str, str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "classes": row.classes,
        "heat": row.heat if len(row.classes) > 1 else None,
        "cells": [
            {
                "title": title,
                "uri": data_uri(row.pictures[key]) if key in row.pictures else None,
                "alt": row.descriptions.get(key, ""),
                "size": row.pictures[key].shape[1::-1] if key in row.pictures else None,
            }
            for key, title in columns.items()
        ],
    }


def _column_notes(config: Config, columns: dict[str, str]) -> list[str]:
    notes = []
    wanted = [key for key in _COLUMN_STEPS if config.predict.crf or key != "prediction-crf"]
    for step in dict.fromkeys(_COLUMN_STEPS.values()):
        lacking = [COLUMNS[key] for key in wanted if _COLUMN_STEPS[key] == step and key not in columns]
        if lacking:
            notes.append(
                f"Left out: {', '.join(lacking)}; wsss-fast {step} has made nothing for these images."
            )
    if "truth" not in columns:
        notes.append("Left out: truth; these images have no true masks.")
    return notes


def _legend(images: ImageSet, rows: list[Row]) -> list[dict[str, str]]:
    """Colours of the classes that the rows show, or of all if they are few."""
    few = 12
    shown = {k for row in rows for k in row.classes}
    labels = [k for k in range(1, 1 + len(images.classes)) if len(images.classes) <= few or k in shown]
    entries = [{"name": images.classes[k - 1], "colour": colour_of(k)} for k in labels]
    return [*entries, {"name": "unconfident or ignored", "colour": IGNORED_COLOUR}]


def _training(config: Config, folder: Path) -> list[dict[str, Any]]:
    return [
        {"step": step, "charts": training_charts(step, history, folder)}
        for step in steps_of(config)
        if (history := _read_history(Path(config.output) / step / "history.csv"))
    ]


def _read_history(path: Path) -> dict[str, list[float]] | None:
    """The numeric columns of a history.csv; None if there is none yet."""
    if not path.exists():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        columns = {key: [float(line[key]) for line in lines] for key in (lines[0] if lines else {})}
    except (ValueError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(path, f"expected columns of numbers, got: {error}") from error
    if columns and "epoch" not in columns:
        raise DataError(path, f"expected a column 'epoch', got {sorted(columns)}")
    return columns or None


def _timings(states: dict[str, Any]) -> list[Timing]:
    longest = max(state["seconds"] for state in states.values()) or 1.0
    return [
        Timing(step, state["seconds"], state["items"], state["done"], state["seconds"] / longest)
        for step, state in states.items()
    ]


def _percent(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{100 * value:.2f}"


def _duration(seconds: float) -> str:
    """
    >>> from wsss_fast.report import _duration
    >>> _duration(4.25), _duration(125), _duration(7384)
    ('4.2 s', '2 min 05 s', '2 h 03 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
