"""A table of measurements against their bars: judged, printed row by row, and written to files."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsss_fast import files

Form = Literal["times", "percent", "small", "count"]

_HEADER = ("case", "threads", "compared with", "ours", "figure", "least to most", "bar", "aim", "result")
_WIDTHS = (44, 7, 25, 11, 12, 24, 11, 7, 12)


@dataclass(frozen=True)
class Bound:
    sign: Literal[">=", "<=", "<"]
    value: float

    def holds(self, figure: float) -> bool:
        """False for NaN too."""
        if self.sign == ">=":
            return figure >= self.value
        return figure < self.value if self.sign == "<" else figure <= self.value


@dataclass(frozen=True)
class Row:
    """One case. ``figures`` has one entry a picture, as have ``theirs`` and ``ours``.

    The figure that is judged is the median of the entries, or the worst of them where ``worst`` is set.
    """

    case: str
    figures: Sequence[float]
    bar: Bound
    form: Form = "times"
    aim: Bound | None = None
    worst: bool = False
    threads: int | None = None
    against: str = ""
    theirs: Sequence[float] = field(default_factory=list)
    ours: Sequence[float] = field(default_factory=list)
    unit: str = "ms"  # of theirs and ours

    @property
    def figure(self) -> float:
        if not self.worst:
            return statistics.median(self.figures)
        return min(self.figures) if self.bar.sign == ">=" else max(self.figures)

    @property
    def met(self) -> bool:
        return self.bar.holds(self.figure)

    @property
    def result(self) -> str:
        if not self.met:
            return "missed"
        return "met, aim met" if self.aim is not None and self.aim.holds(self.figure) else "met"

    def cells(self) -> tuple[str, ...]:
        spread = f"{self._text(min(self.figures))} to {self._text(max(self.figures))}"
        return (
            self.case,
            "" if self.threads is None else str(self.threads),
            f"{self.against} {self._median(self.theirs)}" if self.theirs else self.against,
            self._median(self.ours) if self.ours else "",
            self._text(self.figure),
            spread if len(self.figures) > 1 else "",
            f"{self.bar.sign} {self._text(self.bar.value, bound=True)}",
            "" if self.aim is None else self._text(self.aim.value, bound=True),
            self.result,
        )

    def _median(self, values: Sequence[float]) -> str:
        return f"{statistics.median(values):.1f} {self.unit}"

    def _text(self, value: float, *, bound: bool = False) -> str:
        if self.form == "count":
            return f"{value:.0f}"
        if self.form == "small":
            return f"{value:g}" if bound else f"{value:.1e}"
        unit = "x" if self.form == "times" else "%"
        places = 2 if self.form == "times" else 4
        return f"{value:g} {unit}" if bound else f"{value:.{places}f} {unit}"

    def record(self) -> dict[str, Any]:
        """For JSON: every measurement, not only what the table shows."""
        return {
            "case": self.case,
            "threads": self.threads,
            "compared_with": self.against,
            "theirs": list(self.theirs),
            "ours": list(self.ours),
            "unit": self.unit,
            "figures": list(self.figures),
            "figure": self.figure,
            "figure_is": "the worst" if self.worst else "the median",
            "bar": f"{self.bar.sign} {self.bar.value:g}",
            "aim": None if self.aim is None else f"{self.aim.sign} {self.aim.value:g}",
            "result": self.result,
        }


def line(cells: Sequence[str]) -> str:
    """Markdown that lines up on a terminal too."""
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)) + " |"


def header() -> str:
    return "\n".join([line(_HEADER), line(["-" * width for width in _WIDTHS])])


def summary(rows: Sequence[Row]) -> str:
    return f"{sum(row.met for row in rows)} of {len(rows)} bars met"


def write(folder: Path, name: str, rows: Sequence[Row], about: dict[str, Any], notes: Sequence[str]) -> None:
    """``folder/name.json`` with every measurement and ``folder/name.md`` with the table."""
    files.write_json(folder / f"{name}.json", {**about, "rows": [row.record() for row in rows]})
    lines = [*notes, "", header(), *(line(row.cells()) for row in rows), "", summary(rows)]
    with files.atomic_path(folder / f"{name}.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
