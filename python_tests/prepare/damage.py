"""Tiny data sets for the tests of `wsss-fast prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss_fast.cli import main
from wsss_fast.files import read_json, write_image

SIZE = (12, 16)


def image(path: Path, seed: int) -> Path:
    """A photograph of noise; another seed gives other bytes."""
    draws = np.random.default_rng(seed)
    write_image(path.with_suffix(".jpg"), draws.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return path.with_suffix(".jpg").rename(path)


def annotation(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(f"<object><name>{name}</name></object>" for name in names)
    path.write_text(f"<annotation>{objects}</annotation>")


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


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
