"""The charts of the report: line charts as SVG that follow the reader's light or dark preference."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

INK = "#010203"
"""Stands in the drawing for the colour of text and axes, which the style sheet inside the SVG then sets."""

# Colours of the lines, on light and on dark ground.
_LINES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
_LIGHT = ("#1f5fa6", "#c2512f", "#2f7d4f", "#7b53a6", "#9a7400", "#2a7f8e")
_DARK = ("#7db3ee", "#f0977a", "#7fcf9d", "#bf9fe6", "#dcb94e", "#74c7d6")


@dataclass(frozen=True)
class Chart:
    """A chart ready for the page."""

    title: str
    uri: str
    description: str
    """The alternative text."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn."""

    colour: int
    """Which of the colours."""
    dashes: str = "-"
    """As matplotlib names line styles."""


Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def line_chart(
    title: str,
    x_label: str,
    series: Series,
    png: Path | None = None,
    marks: Mapping[str, float] | None = None,
    whole_numbers: bool = False,
    looks: Mapping[str, Look] | None = None,
    y_label: str = "",
) -> Chart:
    """Draw named lines ``(x, y)``; ``marks`` puts a dot on a line at an x of its own.

    ``png`` is where a picture of it is written as well, on white. Lines without a look of their own get the
    colours in turn.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: dict[Any, Any] = {  # the stubs of matplotlib list every key
        "svg.fonttype": "none",
        "svg.hashsalt": title,  # the same data give the same bytes
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.2, 2.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for place, (name, (x, y)) in enumerate(series.items()):
            look = (looks or {}).get(name, Look(place))
            colour = _LINES[look.colour % len(_LINES)]
            alone = "o" if len(x) == 1 else None  # a line needs two points to be seen
            axes.plot(x, y, color=colour, label=name, linewidth=1.7, marker=alone, linestyle=look.dashes)
            if marks and name in marks:
                axes.plot(marks[name], y[list(x).index(marks[name])], "o", color=colour, markersize=6)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        if whole_numbers:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8, handlelength=2.2 if looks else 1.4)
        drawing = io.StringIO()
        figure.savefig(
            drawing,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
        if png is not None:
            _write_png(figure, png)
    svg = _themed(drawing.getvalue())
    uri = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return Chart(title, uri, f"{title}: {_described(series, x_label, marks or {})}")


def training_charts(step: str, columns: Mapping[str, Sequence[float]], folder: Path) -> list[Chart]:
    """Charts of a history: the loss and its parts together, what is measured on validation images together.

    A learning rate has a chart of its own.
    """
    epochs = columns["epoch"]
    groups: dict[str, list[str]] = {}
    for name, values in columns.items():
        if name == "epoch" or not any(math.isfinite(v) for v in values):
            continue
        measure = name.startswith("val_") and "loss" not in name
        group = name if name.startswith("lr") else "validation" if measure else "loss"
        groups.setdefault(group, []).append(name)
    charts = []
    for group, names in groups.items():
        what = names[0] if len(names) == 1 else group
        charts.append(
            line_chart(
                f"{step}: {what.replace('_', ' ')}",
                "epoch",
                {name.replace("_", " "): (epochs, columns[name]) for name in names},
                folder / f"chart-{step}-{_file_name(group)}.png",
                whole_numbers=True,
            )
        )
    return charts


def threshold_chart(metrics: Mapping[str, Any], png: Path) -> Chart | None:
    """Mean IoU over the background threshold by ``metrics.json``, a line each for maps before and after the
    walk and for each split; None if there are no maps."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    marks: dict[str, float] = {}
    looks: dict[str, Look] = {}
    colours = {"cam": 0, "random_walk": 1}
    for split, dashes in (("train", "--"), ("val", "-")):
        for key, sweep in metrics["splits"].get(split, {"sweeps": {}})["sweeps"].items():
            name = f"{sweep['title']}, {split}"
            percent = [float("nan") if v is None else 100 * v for v in sweep["mean_iou"]]
            series[name] = (sweep["values"], percent)
            marks[name] = sweep["best"]
            looks[name] = Look(colours[key], dashes)
    if not series:
        return None
    title = "mean IoU (%)"
    return line_chart(title, "background threshold", series, png, marks, looks=looks, y_label=title)


def _themed(svg: str) -> str:
    """The drawing with its colours from a style sheet, and without the prologue that a page does not need."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    light = "".join(f"--line{i}:{c};" for i, c in enumerate(_LIGHT))
    dark = "".join(f"--line{i}:{c};" for i, c in enumerate(_DARK))
    sheet = (
        f"<style>svg{{color:#3a3f47;{light}}}"
        f"@media(prefers-color-scheme:dark){{svg{{color:#b9c0ca;{dark}}}}}"
        "text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif!important}</style>"
    )
    end = svg.index(">") + 1
    svg = svg[:end] + sheet + svg[end:]
    for index, colour in enumerate(_LINES):
        svg = svg.replace(colour, f"var(--line{index})")
    return svg.replace(INK, "currentColor")


def _write_png(figure: object, path: Path) -> None:
    """The same drawing on white, in the light colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    from wsss_fast.files import atomic_path

    assert isinstance(figure, Figure)
    real = dict(zip(_LINES, _LIGHT, strict=True))
    for line in figure.axes[0].get_lines():
        line.set_color(real.get(to_hex(str(line.get_color())), str(line.get_color())))
    legend = figure.axes[0].get_legend()
    if legend is not None:
        for line in legend.get_lines():
            line.set_color(real.get(to_hex(str(line.get_color())), str(line.get_color())))
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white", metadata={"Software": None})


def _described(series: Series, x_label: str, marks: Mapping[str, float]) -> str:
    parts = []
    for name, (x, y) in series.items():
        part = f"{name} from {y[0]:.3g} at {x_label} {x[0]:g} to {y[-1]:.3g} at {x[-1]:g}"
        if name in marks:
            part += f", best {y[list(x).index(marks[name])]:.3g} at {marks[name]:g}"
        parts.append(part)
    return "; ".join(parts)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)
