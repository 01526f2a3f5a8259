"""Whether two run folders hold the same results, to the bit."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What differs between two runs of the same command on the same data, and is therefore not compared.
NOT_COMPARED = """\
not compared: folders tensorboard/ (time stamps) and logs (*.log, trace.json);
  in JSON files, keys with 'second' or 'profile' in their name, and 'items' (what the last call made),
  'started', 'finished', 'written', 'timings', 'calls';
  in .jsonl files (the checks of prepare), lines that a kill cut off, how often a line comes, and keys (of the
  times of files, those that the command makes too);
  in tables (.csv, .md, .html), columns named time, seconds, seconds an item, items;
  in pages, 'written DATE'."""

_JSON_KEY = re.compile(r"second|profile|^(items|started|finished|written|timings|calls)$")
_COLUMN = re.compile(r"^\s*\**(time|seconds|seconds an item|items)\**\s*$")


def files_of(root: Path) -> dict[str, Path]:
    """The files that are compared, by their path below the root; temporary files are among them."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or path.is_file():
            if "tensorboard/" in name or path.suffix == ".log" or path.name == "trace.json":
                continue
            found[name] = path
    return found


def leftovers(root: Path) -> list[str]:
    """Temporary files."""
    return [name for name in files_of(root) if Path(name).name.startswith(".tmp")]


def differences(expected: Path, got: Path) -> list[str]:
    """One line a file that is missing, too many or different."""
    ours, theirs = files_of(expected), files_of(got)
    lines = [f"missing: {name}" for name in ours if name not in theirs]
    lines += [f"not expected: {name}" for name in theirs if name not in ours]
    for name in ours.keys() & theirs.keys():
        if not _same(ours[name], theirs[name]):
            sizes = f"{ours[name].stat().st_size}, {theirs[name].stat().st_size} bytes"
            lines.append(f"differs: {name} ({sizes}){_where(ours[name], theirs[name])}")
    return sorted(lines)


def _where(first: Path, second: Path) -> str:
    """The first keys in which two JSON files differ."""
    if first.suffix != ".json":
        return ""
    try:
        one, two = (dict(_flat(_json(path.read_text()))) for path in (first, second))
    except ValueError:
        return ""
    keys = [key for key in {**one, **two} if one.get(key) != two.get(key)]
    return "".join(f"; {key}: {one.get(key)!r}, {two.get(key)!r}" for key in keys[:3])


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), value


def _same(first: Path, second: Path) -> bool:
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and first.readlink() == second.readlink()
    one, two = first.read_bytes(), second.read_bytes()
    if one == two:
        return True
    compared = _READERS.get(first.suffix)
    if compared is None:
        return False
    try:
        return bool(compared(one.decode()) == compared(two.decode()))
    except ValueError:  # cut off
        return False


def _json(text: str) -> Any:
    return _without_times(json.loads(text))


def _outcomes(text: str) -> list[str]:
    """What the lines that end as they should say of an image, each once and without its key."""
    whole = (line for line in text.splitlines(keepends=True) if line.endswith("]\n"))
    return list(dict.fromkeys(line.partition(" ")[2] for line in whole))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not _JSON_KEY.search(key)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def _csv(text: str) -> list[list[str]]:
    return _without_columns(list(csv.reader(io.StringIO(text))))


def _markdown(text: str) -> list[list[str]]:
    return _without_columns([line.split("|") for line in text.splitlines()])


def _without_columns(rows: list[list[str]]) -> list[list[str]]:
    head = next((row for row in rows if any(_COLUMN.match(cell) for cell in row)), [])
    dropped = {place for place, cell in enumerate(head) if _COLUMN.match(cell)}
    return [[cell for place, cell in enumerate(row) if place not in dropped] for row in rows]


def _html(text: str) -> str:
    text = re.sub(r"written \d{4}-\d\d-\d\d \d\d:\d\d", "", text)
    return re.sub(r"<table.*?</table>", lambda table: _html_table(table[0]), text, flags=re.DOTALL)


def _html_table(table: str) -> str:
    rows = [
        re.findall(r"<t[hd]\b[^>]*>.*?</t[hd]>", row, flags=re.DOTALL)
        for row in re.findall(r"<tr\b.*?</tr>", table, flags=re.DOTALL)
    ]
    words = [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in rows]
    head = words[0] if words else []
    dropped = {place for place, cell in enumerate(head) if _COLUMN.match(cell)}
    if not dropped:
        return table
    body = rows[:-1] if "<tfoot" in table else rows  # the last row sums them up
    return "\n".join(" ".join(cell for place, cell in enumerate(row) if place not in dropped) for row in body)


_READERS = {".json": _json, ".jsonl": _outcomes, ".csv": _csv, ".md": _markdown, ".html": _html}
