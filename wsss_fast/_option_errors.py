"""What jsonargparse says of a command line, in the words of our own checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wsss_fast.config._types import describe_type, shown
from wsss_fast.config_file import did_you_mean


def explain(
    error: Exception,
    types: Mapping[str, Any],
    others: Sequence[str] = (),
    arguments: Sequence[str] = (),
    option: str = "a key of the config",
) -> str:
    """The message of an error of parsing.

    ``types``: the keys with their types; ``others``: options beside them; ``arguments``: what was parsed;
    ``option``: what the options are.
    """
    message = str(error)
    about_value = re.match(r'Parser key "([^"]+)":', message)
    if about_value and about_value[1] in types:
        got = re.search(r"Got value: (.*)", message)
        inside = re.match(r"NestedArg\(key='([^']*)'", got[1]) if got else None
        if inside:  # an option of a key that has no keys
            return f"--{about_value[1]}.{inside[1]}: expected {option}, got an unknown one"
        came = f", got {shown(got[1])}" if got else ""
        return f"{about_value[1]}: expected {describe_type(types[about_value[1]])}{came}"
    unknown = re.match(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if unknown:
        word = (unknown[1].split() or [""])[0]
        options = [f"--{key}" for key in (*others, *types)]
        hint = did_you_mean(word.partition("=")[0], options)
        return f"{word}: expected {option}, got an unknown one{hint}"
    flag = re.match(r"argument (--[\w-]+).*: ignored explicit argument (.*)", message, re.DOTALL)
    if flag:
        return f"{flag[1]}: expected no value, got {flag[2]}"
    message = " ".join(message.split())
    if "expected" not in message and not any(key in message for key in (*types, *others)):
        # A YAML tag in a value can bring that about.
        return f"expected options and their values, got {shown(list(arguments))} ({message})"
    return message
