"""A table of measurements against their bars: judged, printed row by row, and written to files."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from wsss_fast import files

Form = Literal["times", "percent", "share", "small", "count", "MB", "ms"]

_HEADER = ("case", "threads", "compared with", "ours", "figure", "least to most", "bar", "aim", "result")
_WIDTHS = (48, 7, 33, 11, 12, 24, 11, 7, 12)
# How a figure is printed, how its bound is, and the unit of both.
_FORMS: dict[Form, tuple[str, str, str]] = {
    "times": (".2f", "g", " x"),
    "percent": (".4f", "g", " %"),
    "share": (".2f", "g", " %"),
    "small": (".1e", "g", ""),
    "count": (".0f", ".0f", ""),
    "MB": (".2f", "g", " MB"),
    "ms": (".3f", "g", " ms"),
}


class Judged(Protocol):
    """A row of any table."""

    @property
    def bar(self) -> Bound | None: ...

    @property
    def met(self) -> bool: ...

    def cells(self) -> tuple[str, ...]: ...

    def record(self) -> dict[str, Any]: ...


class LeftOut(Exception):
    """Raised by a case, or by the rest of it, that lacks something here; says what, and where to get it."""


@dataclass(frozen=True)
class Bound:
    sign: Literal[">=", "<=", "<"]
    value: float

    def holds(self, figure: float) -> bool:
        """False for NaN too."""
        if self.sign == ">=":
            return figure >= self.value
        return figure < self.value if self.sign == "<" else figure <= self.value


def at_least(value: float) -> Bound:
    return Bound(">=", value)


def at_most(value: float) -> Bound:
    return Bound("<=", value)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


@dataclass(frozen=True)
class Row:
    """One case. ``figures`` has one entry a repetition (a picture), as have ``theirs`` and ``ours``.

    The figure that is judged is the median of the entries, or the worst of them where ``worst`` is set. A
    row without a bar is there to compare with.
    """

    case: str
    figures: Sequence[float]
    bar: Bound | None
    form: Form = "times"
    aim: Bound | None = None
    worst: bool = False
    threads: int | None = None
    against: str = ""
    theirs: Sequence[float] = field(default_factory=list)
    ours: Sequence[float] = field(default_factory=list)
    unit: str = "ms"  # of theirs and ours; "" for small numbers without one

    @property
    def figure(self) -> float:
        if not self.worst:
            return statistics.median(self.figures)
        lowest_is_worst = self.bar is not None and self.bar.sign == ">="
        return min(self.figures) if lowest_is_worst else max(self.figures)

    @property
    def met(self) -> bool:
        return self.bar is not None and self.bar.holds(self.figure)

    @property
    def result(self) -> str:
        if self.bar is None:
            return ""
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
            "" if self.bar is None else f"{self.bar.sign} {self._text(self.bar.value, bound=True)}",
            "" if self.aim is None else self._text(self.aim.value, bound=True),
            self.result,
        )

    def _median(self, values: Sequence[float]) -> str:
        median = statistics.median(values)
        if not self.unit:
            return f"{median:.1e}"
        return f"{median:.{1 if median >= 10 else 2}f} {self.unit}"

    def _text(self, value: float, *, bound: bool = False) -> str:
        figure_format, bound_format, unit = _FORMS[self.form]
        return f"{value:{bound_format if bound else figure_format}}{unit}"

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
            "bar": None if self.bar is None else f"{self.bar.sign} {self.bar.value:g}",
            "aim": None if self.aim is None else f"{self.aim.sign} {self.aim.value:g}",
            "result": self.result,
        }


def beside(
    case: str,
    bars: Mapping[str, float],
    rivals: Sequence[Sequence[float]],
    ours: Sequence[float],
    threads: int,
) -> Iterator[Row]:
    """A row for each rival: how many times as long it takes, held to its bar."""
    for (name, bar), theirs in zip(bars.items(), rivals, strict=True):
        yield Row(
            case,
            ratios(theirs, ours),
            at_least(bar),
            threads=threads,
            against=name,
            theirs=theirs,
            ours=ours,
        )


def line(cells: Sequence[str], widths: Sequence[int] = _WIDTHS) -> str:
    """Markdown that lines up on a terminal too."""
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def header(titles: Sequence[str] = _HEADER, widths: Sequence[int] = _WIDTHS) -> str:
    return "\n".join([line(titles, widths), line(["-" * width for width in widths], widths)])


def summary(rows: Sequence[Judged]) -> str:
    with_bar = [row for row in rows if row.bar is not None]
    return f"{sum(row.met for row in with_bar)} of {len(with_bar)} bars met"


def write(folder: Path, name: str, record: dict[str, Any], text: Sequence[str]) -> None:
    """``folder/name.json`` with every measurement and ``folder/name.md`` with the table."""
    files.write_json(folder / f"{name}.json", record)
    with files.atomic_path(folder / f"{name}.md") as path:
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
