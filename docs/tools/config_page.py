"""Fills the configuration page with all keys, from the dataclasses of the config (a hook of MkDocs)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import typing
from typing import Any

from wsss_fast.config import Config
from wsss_fast.config_file import describe_type

MARK = "<!-- every key -->"


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """What MkDocs calls for each page."""
    return markdown.replace(MARK, keys()) if MARK in markdown else markdown


def keys() -> str:
    """Markdown: for each section of the config a table of its keys."""
    parts: list[str] = []
    _section("", Config(), parts, {})
    return "\n\n".join(parts)


def _section(prefix: str, section: Any, parts: list[str], seen: dict[type, str]) -> None:
    seen[type(section)] = prefix
    if prefix:
        parts += [
            f"## {prefix} {{ #{prefix} }}",
            inspect.cleandoc(type(section).__doc__ or "").partition("\n\n>>>")[0],
        ]
    else:
        parts.append("## The run itself")
    hints = typing.get_type_hints(type(section))
    meanings = _meanings(type(section))
    rows: list[str] = []
    later: list[tuple[str, Any]] = []
    for field in dataclasses.fields(section):
        key = f"{prefix}.{field.name}".lstrip(".")
        value = getattr(section, field.name)
        if not dataclasses.is_dataclass(value):
            rows.append(_row(key, hints[field.name], value, meanings[field.name]))
        elif type(value) in seen:
            there = seen[type(value)]
            rows.append(f"| `{key}` | a section | | the keys of [{there}](#{there}) |")
        else:
            later.append((key, value))
    if rows:
        head = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
        parts.append('<div class="keys" markdown>\n\n' + "\n".join([head, *rows]) + "\n\n</div>")
    for key, value in later:
        _section(key, value, parts, seen)


def _row(key: str, hint: Any, default: Any, meaning: str) -> str:
    kind = describe_type(hint).partition(" such as")[0]
    cells = [f"`{key}`", kind, f"`{_as_yaml(default)}`", meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _meanings(kind: type) -> dict[str, str]:
    """The text below each field, of a dataclass and its bases."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        body = typing.cast(ast.ClassDef, tree).body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                name = typing.cast(ast.Name, field.target).id
                found[name] = " ".join(str(typing.cast(ast.Constant, text.value).value).split())
    return found
