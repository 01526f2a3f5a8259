"""The table of an ablation: its rows, and how they are written as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_fast.ablation.grid import Setting
from wsss_fast.ablation.sharing import Stage
from wsss_fast.steps._metrics_file import mean_ious

# Encoder, IRNet threshold, TTA, person CAM -> mean IoU in percent on the validation images of LID
# (Dobko, Viniavskyi, Dobosevych: NoPeopleAllowed, LID Challenge at CVPR 2020).
PUBLISHED = {
    ("resnet50", 0.3, False, False): 36.65,
    ("resnet50", 0.3, True, False): 39.64,
    ("resnet50", 0.3, True, True): 39.80,
    ("resnet50", 0.5, False, False): 37.11,
    ("resnet50", 0.5, True, False): 39.58,
    ("resnet101", 0.5, False, False): 36.14,
    ("resnet101", 0.5, True, False): 37.15,
}

CAPTION = (
    "Mean IoU in percent of the segmentation network on the validation images; of the pseudo-masks on those "
    "training images that have true masks. Published: NoPeopleAllowed on LID with its 200 classes; it "
    "compares with ours on that data set only. Seconds: all that a row stands on, from the classifier to the "
    "predictions, what rows have in common counted in each."
)

COLUMNS = {
    "encoder": "encoder",
    "threshold": "IRNet threshold",
    "tta": "TTA",
    "person": "person CAM",
    "mean_iou": "mean IoU (val)",
    "published": "published mean IoU",
    "pseudo_masks": "pseudo-masks (train)",
    "seconds": "seconds",
}
"""Headings of the table by the names of the columns of the CSV."""

NUMBERS = ("threshold", "mean_iou", "published", "pseudo_masks", "seconds")
"""The columns that are numbers."""


@dataclass(frozen=True)
class Row:
    """A setting and what came out of it; mean IoU in percent, None where there is none (yet)."""

    encoder: str
    threshold: float
    tta: bool
    person: bool
    mean_iou: float | None
    published: float | None
    pseudo_masks: float | None
    seconds: float | None

    def texts(self) -> dict[str, str]:
        """Its cells as they are shown."""
        return {
            "encoder": self.encoder,
            "threshold": f"{self.threshold:g}",
            "tta": _yes(self.tta),
            "person": _yes(self.person),
            "mean_iou": _number(self.mean_iou, 2),
            "published": _number(self.published, 2),
            "pseudo_masks": _number(self.pseudo_masks, 2),
            "seconds": _number(self.seconds, 0),
        }


def rows_of(settings: Sequence[Setting], stages: Sequence[Stage]) -> list[Row]:
    """The rows of the table in the order of the grid, from the cells' metrics.json."""
    return [_row(setting, stages) for setting in settings]


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal."""
    lines = [dict(COLUMNS), *(row.texts() for row in rows)]
    widths = {key: max(len(line[key]) for line in lines) for key in COLUMNS}
    return "\n".join(
        "  ".join(
            line[key].rjust(widths[key]) if key in NUMBERS else line[key].ljust(widths[key])
            for key in COLUMNS
        ).rstrip()
        for line in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    rule = ["---:" if key in NUMBERS else "---" for key in COLUMNS]
    lines = [list(COLUMNS.values()), rule, *(list(row.texts().values()) for row in rows)]
    escaped = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    table = "\n".join(f"| {line} |" for line in escaped)
    return f"{table}\n\n{CAPTION}\n"


def as_csv(rows: Sequence[Row]) -> str:
    """As shown, under one-word names of the columns; what is not there is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if cell == _NOTHING else cell for key, cell in row.texts().items()})
    return text.getvalue()


def _row(setting: Setting, stages: Sequence[Stage]) -> Row:
    cell, tta = setting.cell, setting.tta
    own = {stage.step: stage for stage in stages if cell in stage.cells}
    means: dict[str, dict[str, float | None]] = {}
    if own["evaluate"].done:
        means = mean_ious(Path(cell.config.output) / "evaluate" / "metrics.json")
    complete = all(stage.done for step, stage in own.items() if step != "evaluate")
    encoder = cell.config.segmenter.backbone.name.partition(".")[0]  # timm names its weights behind a dot
    return Row(
        encoder=cell.encoder,
        threshold=cell.threshold,
        tta=tta,
        person=cell.person,
        mean_iou=_percent(means, "val", "segmenter_tta" if tta else "segmenter"),
        published=PUBLISHED.get((encoder, cell.threshold, tta, cell.person)),
        pseudo_masks=_percent(means, "train", "random_walk"),
        seconds=sum(stage.seconds for step, stage in own.items() if step != "evaluate") if complete else None,
    )


def _percent(means: dict[str, dict[str, float | None]], split: str, stage: str) -> float | None:
    mean = means.get(split, {}).get(stage)
    return None if mean is None else 100 * mean


_NOTHING = "-"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _number(value: float | None, digits: int) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"
