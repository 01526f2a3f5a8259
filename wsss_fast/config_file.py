"""A `Config` as YAML, and the recipes that come with the package."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from wsss_fast.config import Config, ConfigError
from wsss_fast.files import PathLike, atomic_path

T = TypeVar("T")


def read_values(path: PathLike) -> dict[str, Any]:
    """The values of a config file: nested dicts whose keys all are keys of `Config`.

    Of the values only null is looked at here; the types are for whoever parses the command line.

    Raises `ConfigError` for a file that is missing or no YAML, for an unknown key and for a section that is
    not one; the message names the file and the key.

    >>> from wsss_fast.config_file import read_values, recipe
    >>> read_values(recipe("demo"))["data"]["reader"]
    'shapes'
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a config file, got no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: expected a config file, got a folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a config file, got: {error}") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML, got: {' '.join(str(error).split())}") from error
    if values is None:  # an empty file leaves everything at its default
        return {}
    try:
        _check_keys(Config, values, "")
        check_null(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return typing.cast("dict[str, Any]", values)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts under their dotted keys.

    >>> from wsss_fast.config_file import flat
    >>> list(flat({"seed": 1, "data": {"shapes": {"size": 64}}}))
    [('seed', 1), ('data.shapes.size', 64)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from nested dicts; what is not there keeps its default. Raises `ConfigError` as it does.

    >>> from wsss_fast.config import CamsConfig
    >>> from wsss_fast.config_file import build
    >>> build(CamsConfig, {"scales": [1.0]}).scales
    [1.0]
    """
    hints = typing.get_type_hints(kind)
    return kind(**{key: _built(hints[key], value) for key, value in values.items()})


def _built(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return build(typing.cast(type, hint), value)
    item = _section_of_list(hint)
    return value if item is None else [build(item, entry) for entry in value]


def _section_of_list(hint: Any) -> type | None:
    """The dataclass that a list is of; None for any other type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list and is_dataclass(arguments[0]):
        return typing.cast(type, arguments[0])
    return None


def save(config: Config, path: PathLike) -> None:
    """Write the whole config as YAML, defaults included.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from wsss_fast.config import Config
    >>> from wsss_fast.config_file import build, read_values, save
    >>> path = Path(tempfile.mkdtemp()) / "config.yaml"
    >>> save(Config(seed=3), path)
    >>> build(Config, read_values(path)) == Config(seed=3)
    True
    """
    with atomic_path(path) as temporary:
        temporary.write_text(to_yaml(config), encoding="utf-8")


def to_yaml(config: Config) -> str:
    """The whole config as YAML, in the order of the dataclasses.

    >>> from wsss_fast.config import Config
    >>> from wsss_fast.config_file import to_yaml
    >>> to_yaml(Config(seed=3)).splitlines()[:2]
    ['output: runs/default', 'seed: 3']
    """
    import yaml

    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, width=100)


def key_types(kind: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the config with its type, sections left out."""
    found: dict[str, Any] = {}
    for key, hint in typing.get_type_hints(kind).items():
        if is_dataclass(hint):
            found.update(key_types(typing.cast(type, hint), f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = hint
    return found


def check_null(values: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a key that is null and may not be; jsonargparse lets it pass."""
    known = key_types()
    for key, value in flat(values):
        if value is None and type(None) not in typing.get_args(known[key]):
            raise ConfigError(f"{key}: expected {describe_type(known[key])}, got null")


def describe_type(hint: Any) -> str:
    """A type of the config in words.

    >>> from wsss_fast.config_file import describe_type
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


def recipe(name: str) -> Path:
    """The file of a recipe that comes with the package, such as ``"demo"``.

    In an installed package the recipes lie inside it, in a checkout in ``configs/`` beside it.

    >>> from wsss_fast.config_file import recipe
    >>> recipe("demo").name
    'demo.yaml'
    """
    package = Path(__file__).parent
    folders = (package / "configs", package.parent / "configs")
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise FileNotFoundError(f"{name}.yaml: expected it in {folders[0]} or {folders[1]}")


def did_you_mean(word: str, known: list[str]) -> str:
    """``"; did you mean ...?"`` or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_keys(kind: type, values: object, prefix: str) -> None:
    if not isinstance(values, Mapping):
        where = f"{prefix.removesuffix('.')}: " if prefix else ""
        raise ConfigError(f"{where}expected a section of keys and values, got {values!r}")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; it may be one of {', '.join(known)}"
            raise ConfigError(f"{prefix}{key}: expected a key of the config, got an unknown one{hint}")
        if is_dataclass(hints[key]):
            _check_keys(typing.cast(type, hints[key]), value, f"{prefix}{key}.")
        item = _section_of_list(hints[key])
        if item is not None:
            if not isinstance(value, list):
                raise ConfigError(f"{prefix}{key}: expected {describe_type(hints[key])}, got {value!r}")
            for position, entry in enumerate(value):
                _check_keys(item, entry, f"{prefix}{key}[{position}].")
