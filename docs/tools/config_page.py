"""Fills the configuration page with all keys, read from the dataclasses in wsss_fast/config (mkdocs hook)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import griffe

MARK = "<!-- every key -->"
_ROOT = Path(__file__).resolve().parents[2]


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """What MkDocs calls for each page."""
    return markdown.replace(MARK, keys()) if MARK in markdown else markdown


def keys() -> str:
    """Markdown: a table of keys for each section of the config."""
    config = griffe.load("wsss_fast.config", search_paths=[str(_ROOT)], resolve_aliases=True)["Config"]
    parts: list[str] = []
    seen: dict[str, str] = {}
    _section("", config, parts, seen)
    return "\n\n".join(parts)


def _section(prefix: str, kind: griffe.Object | griffe.Alias, parts: list[str], seen: dict[str, str]) -> None:
    seen[kind.canonical_path] = prefix
    parts.append(f"## {prefix or 'The run itself'}" + (f" {{ #{prefix} }}" if prefix else ""))
    if prefix and kind.docstring:
        parts.append(kind.docstring.value)
    rows, later = [], []
    for name, field in _fields(kind).items():
        key = f"{prefix}.{name}".lstrip(".")
        below = _class_of(field)
        if below is None:
            rows.append(_row(key, field))
        elif below.canonical_path in seen:
            there = seen[below.canonical_path]
            rows.append(f"| `{key}` | section | | the keys of [`{there}`](#{there}) |")
        else:
            later.append((key, below))
    if rows:
        head = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
        parts.append('<div class="keys" markdown>\n\n' + "\n".join([head, *rows]) + "\n\n</div>")
    for key, below in later:
        _section(key, below, parts, seen)


def _fields(kind: griffe.Object | griffe.Alias) -> dict[str, Any]:
    """The fields of a dataclass, those of its bases first."""
    found: dict[str, Any] = {}
    for one in (*reversed(kind.mro()), kind):
        for name, member in one.members.items():
            if member.is_attribute and member.annotation is not None and not name.startswith("_"):
                found[name] = member
    return found


def _class_of(field: Any) -> griffe.Object | griffe.Alias | None:
    """The dataclass of a field that is a section."""
    name = str(field.annotation)
    if not name.endswith("Config"):
        return None
    return field.parent.module[name]


def _row(key: str, field: Any) -> str:
    meaning = " ".join(field.docstring.value.split()) if field.docstring else ""
    cells = [f"`{key}`", _type(str(field.annotation)), f"`{_default(str(field.value))}`", meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(annotation: str) -> str:
    words = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    optional = annotation.endswith(" | None")
    name = annotation.removesuffix(" | None")
    if name.startswith("Literal["):
        values = name.removeprefix("Literal[").removesuffix("]").replace("'", "").replace('"', "").split(", ")
        text = ", ".join(f"`{value}`" for value in values)
    elif name.startswith("list["):
        inside = name.removeprefix("list[").removesuffix("]")
        text = f"list of {words.get(inside, inside)}"
    else:
        text = words.get(name, name)
    return f"{text} or null" if optional else text


def _default(value: str) -> str:
    """As YAML has it."""
    if value.startswith("field(default_factory="):
        made = value.removeprefix("field(default_factory=").removesuffix(")")
        return "[]" if made == "list" else _default(made.partition(":")[2].strip())
    plain = {"None": "null", "True": "true", "False": "false"}.get(value, value)
    return plain.replace("'", "").replace('"', "") or '""'
