"""The report on a data set: what it has, and what is wrong with it.

``report.json``: ``data_set``, ``source``, ``classes``; for each of ``splits`` the counts ``listed`` (images
of the list), ``written`` (in the index), ``with_mask``, ``labels`` (images of each class) and ``findings``,
by kind a list of ``name``, ``file`` and ``reason``. Kinds: ``missing image``, ``corrupt image``, ``missing
annotation``, ``corrupt annotation`` (such images are left out), ``unknown class`` (the object is ignored),
``missing mask``, ``corrupt mask`` (the image stays, without a mask), ``unlabelled`` (no class is in it),
``duplicate`` (the same bytes as another image; both stay). ``report.md``: the same to read, long lists cut.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from wsss_fast.files import write_json, write_text
from wsss_fast.prepare._examine import DUPLICATE, UNLABELLED, USELESS, Examined

_SHOWN = 20


class Finding(NamedTuple):
    name: str
    file: str
    reason: str


@dataclass
class SplitReport:
    """One split."""

    classes: tuple[str, ...]
    listed: int = 0
    written: int = 0
    with_mask: int = 0
    labels: list[int] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)

    def find(self, kind: str, name: str, file: str, reason: str) -> None:
        self.findings.setdefault(kind, []).append(Finding(name, file, reason))

    def count(self, labels: tuple[int, ...], *, with_mask: bool) -> None:
        """An image that can be used."""
        self.labels = self.labels or [0] * len(self.classes)
        self.written += 1
        self.with_mask += with_mask
        for k in labels:
            self.labels[k] += 1


@dataclass
class Report:
    """All splits of a data set."""

    data_set: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, SplitReport] = field(default_factory=dict)
    _first: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The image that had a digest first, and its file."""

    def split(self, name: str) -> SplitReport:
        return self.splits.setdefault(name, SplitReport(self.classes))

    def take(self, split: str, name: str, file: str, seen: Examined) -> None:
        """Note what was seen of an image of the list."""
        into = self.split(split)
        into.listed += 1
        for problem in seen.problems:
            into.find(problem.kind, name, problem.file, problem.reason)
        if not seen.labels and not seen.has(*USELESS):
            into.find(UNLABELLED, name, file, "expected at least one class, got none")
        if seen.digest:
            first, its_file = self._first.setdefault(seen.digest, (f"{split}/{name}", file))
            if its_file != file:
                into.find(DUPLICATE, name, file, f"expected other bytes than those of {first}, got the same")

    @property
    def findings(self) -> int:
        return sum(len(found) for split in self.splits.values() for found in split.findings.values())

    def write(self, destination: Path) -> None:
        write_json(
            destination / "report.json",
            {
                "data_set": self.data_set,
                "source": self.source,
                "classes": self.classes,
                "splits": {name: self._plain(split) for name, split in self.splits.items()},
            },
        )
        write_text(destination / "report.md", self.to_markdown())

    def _plain(self, split: SplitReport) -> dict[str, object]:
        values = asdict(split)
        del values["classes"]
        values["labels"] = dict(zip(self.classes, split.labels or [0] * len(self.classes), strict=True))
        values["findings"] = {
            kind: [finding._asdict() for finding in found] for kind, found in split.findings.items()
        }
        return values

    def to_markdown(self) -> str:
        kinds = sorted({kind for split in self.splits.values() for kind in split.findings})
        lines = [f"# {self.data_set}: {self.source}", ""]
        lines += _row("", *self.splits) + _row(*["---"] * (1 + len(self.splits)))
        for what in ("listed", "written", "with_mask"):
            lines += _row(what.replace("_", " "), *(getattr(split, what) for split in self.splits.values()))
        for kind in kinds:
            lines += _row(kind, *(len(split.findings.get(kind, ())) for split in self.splits.values()))
        for name, split in self.splits.items():
            for kind, found in split.findings.items():
                lines += ["", f"## {name}: {kind} ({len(found)})", ""]
                lines += [f"- `{finding.file}`: {finding.reason}" for finding in found[:_SHOWN]]
                if len(found) > _SHOWN:
                    lines.append(f"- and {len(found) - _SHOWN} more, all in report.json")
        lines += ["", "## Images of each class", ""]
        lines += _row("class", *self.splits) + _row(*["---"] * (1 + len(self.splits)))
        for k, class_name in enumerate(self.classes):
            lines += _row(
                class_name, *(split.labels[k] if split.labels else 0 for split in self.splits.values())
            )
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """A line a split."""
        lines = []
        for name, split in self.splits.items():
            found = ", ".join(f"{len(items)} {kind}" for kind, items in sorted(split.findings.items()))
            lines.append(
                f"{name}: {split.listed} images, {split.written} usable, {split.with_mask} with a mask; "
                f"{found or 'nothing wrong'}"
            )
        return "\n".join(lines)


def _row(*cells: object) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |"]
