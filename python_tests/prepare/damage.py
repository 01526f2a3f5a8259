"""The command `wsss-fast prepare` in a test, and what its report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss_fast.cli import main
from wsss_fast.files import read_json


def prepare(*arguments: object, code: int = 0) -> None:
    """The command, in this process."""
    assert main(["prepare", *map(str, arguments), "--workers", "0"]) == code


def report(destination: Path, split: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(destination / "report.json")["splits"][split]
    return content


def findings(destination: Path, split: str) -> dict[str, list[str]]:
    """The names of each kind of finding."""
    found: dict[str, list[dict[str, Any]]] = report(destination, split)["findings"]
    return {kind: [entry["name"] for entry in entries] for kind, entries in found.items()}
