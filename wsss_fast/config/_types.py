"""The types of the config's keys: whether a value is of one, and how an error writes both."""

from __future__ import annotations

import functools
import math
import reprlib
import types
import typing
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any, Literal
from unicodedata import category

from wsss_fast.config._errors import ConfigError

MAX_INTEGER = 2**31 - 1
"""The largest integer that a key takes, and its negative the smallest: what libraries count with."""


def check_types(prefix: str, section: Any) -> None:
    """Raise `ConfigError` for the first value of a section (a dataclass) that is not of its key's type."""
    for key, hint in hints_of(typing.cast(Hashable, type(section))).items():
        check_type(f"{prefix}.{key}".removeprefix("."), hint, getattr(section, key))


def check_type(key: str, hint: Any, value: object) -> None:
    """Raise `ConfigError` for a value that is not of the type of a key.

    Types are taken strictly, as the files of a run give them back: a list is no tuple, true is no integer.
    Numbers are finite; texts are not blank, UTF-8, and without control characters.
    """
    if not _fits(hint, value):
        raise ConfigError(f"{key}: expected {_expected(hint, value)}, got {shown(value)}")


def describe_type(hint: Any) -> str:
    """A type of the config in words.

    >>> from wsss_fast.config._types import describe_type
    >>> describe_type(list[float]), describe_type(str | None)
    ("a list of numbers such as '[1, 0.5]'", 'a text or null')
    """
    simple = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    if hint in simple:
        return simple[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(str(a) for a in arguments)}"
    if origin is list:
        return {
            float: "a list of numbers such as '[1, 0.5]'",
            str: "a list of texts such as '[cat, dog]'",
        }.get(arguments[0], f"a list, each {describe_type(arguments[0])}")
    if is_dataclass(hint):
        return f"a section with keys of {', '.join(field.name for field in fields(hint))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else describe_type(a) for a in arguments)
    return str(hint)


def shown(value: object) -> str:
    """A value as an error writes it: as Python does, and cut where that is long.

    >>> from wsss_fast.config._types import shown
    >>> shown([0.5, "x"]), shown(10**3000)
    ("[0.5, 'x']", 'an integer of 9966 bits')
    """
    text = _SHORT.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def printable(text: str) -> str:
    r"""Text with escapes in place of what a terminal would obey or could not show; line ends stay.

    >>> from wsss_fast.config._types import printable
    >>> printable("a\x1b[31m\0")
    'a\\x1b[31m\\x00'
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text
    )


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 20
        self.maxlevel = 3
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write integers of thousands of digits.
        return repr(x) if x.bit_length() <= 256 else f"an integer of {x.bit_length()} bits"


_SHORT = _Short()
_LONGEST = 500


@functools.cache
def hints_of(kind: Hashable) -> dict[str, Any]:
    """The fields of a dataclass with their types, which it takes long to look up."""
    return typing.get_type_hints(kind)


def _fits(hint: Any, value: Any) -> bool:
    if hint is bool or hint is type(None):
        return type(value) is hint
    if hint is int:
        return type(value) is int and abs(value) <= MAX_INTEGER
    if hint is float:
        return _is_number(value) and abs(value) < math.inf and (type(value) is not int or _fits(int, value))
    if hint is str:
        return isinstance(value, str) and _is_plain(value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:  # of the same type: 1 is true and 8.0 to ==
        return any(type(value) is type(a) and value == a for a in arguments)
    if origin is list:
        return type(value) is list and all(_fits(arguments[0], item) for item in value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(a, value) for a in arguments)
    return isinstance(value, hint)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain(text: str) -> bool:
    # Cs: surrogates, which stand for bytes of a command line that are no UTF-8. Zl and Zp end lines as Cc do.
    return (
        not text.isspace() and text != "" and not any(category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
    )


def _expected(hint: Any, value: object) -> str:
    """The type in words; where the value is of the kind but refused nevertheless, with the reason."""
    words = describe_type(hint)
    items: list[object] = value if isinstance(value, list) else [value]
    if any(isinstance(item, str) and not _is_plain(item) for item in items) and "text" in words:
        return f"{words}, UTF-8, not blank, without control characters"
    if any(_is_number(item) for item in items) and ("number" in words or "integer" in words):
        return f"{words}, finite" if "number" in words else f"{words} of at most {MAX_INTEGER}"
    return words
