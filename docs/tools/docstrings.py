"""Docstrings as Markdown, for mkdocstrings: roles (``:func:`crf```) as links, examples as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|attr):`(~?)([^`]+)`")
# An example: from its first line to the blank line after its last output.
_EXAMPLE = re.compile(r"^( *)>>> .*?(?=\n\n(?! *>>> )|\Z)", re.MULTILINE | re.DOTALL)
# A text that ends in a double colon, before an indented block: a single one in Markdown.
_BLOCK = re.compile(r"::(?=\n\n {4})")


class AsMarkdown(griffe.Extension):
    """Turns each role into a link, or into code where what it names is on no page; and fences examples."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        self._mend(pkg)

    def _mend(self, value: griffe.Object | griffe.Alias) -> None:
        if value.is_alias:
            return
        if value.docstring is not None:
            text = _ROLE.sub(lambda match: _link(value, match[2]), value.docstring.value)
            text = _EXAMPLE.sub(_fenced, text)
            value.docstring.value = _BLOCK.sub(":", text)
        for member in value.members.values():
            self._mend(member)


def _fenced(match: re.Match[str]) -> str:
    indent = match[1]
    text = match[0].rstrip().replace("<BLANKLINE>", "")
    return f"{indent}```pycon\n{text}\n{indent}```"


def _link(where: griffe.Object | griffe.Alias, name: str) -> str:
    path = name.lstrip(".")
    if not path.startswith("wsss_fast."):
        try:
            path = where.resolve(path)
        except griffe.NameResolutionError:
            try:
                path = f"{where.parent.path}.{path}" if where.parent else path
            except AttributeError:
                return f"`{name}`"
    # An optional link: it stays plain code where no page has the name.
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'
