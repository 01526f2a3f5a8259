"""A `Config` as YAML, and the recipes that come with the package."""

from __future__ import annotations

import difflib
import json
import os
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from wsss_fast.config import BackboneConfig, Config, ConfigError, check_config
from wsss_fast.config._types import check_type, describe_type, hints_of, shown
from wsss_fast.files import PathLike, write_text

T = TypeVar("T")


def read_values(path: PathLike) -> dict[str, Any]:
    """The values of a config file: nested dicts whose keys all are keys of `Config`.

    Of the values it is only looked at whether they are null, a list or neither; the types are for whoever
    parses the command line.

    Raises `ConfigError` for a file that is missing or no YAML, for an unknown key, one that is given twice
    and a section that is not one; the message names the file and the key.

    >>> from wsss_fast.config_file import read_values, recipe
    >>> read_values(recipe("demo"))["data"]["reader"]
    'shapes'
    """
    values: Any = _parsed(path, _text(path))
    if values is None:  # an empty file leaves everything at its default
        return {}
    try:
        _check_keys(Config, values, "")
        check_null(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return typing.cast("dict[str, Any]", values)


_MAX_BYTES = 1 << 20
"""No config is longer; a device or a data file given by mistake may be."""


def _text(path: PathLike) -> str:
    kind = "a config file"
    if not isinstance(path, (str, os.PathLike)):  # integers are files that are open
        raise TypeError(f"path: expected the path of {kind}, got {shown(path)}")
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path}: expected {kind}, got one of more than {_MAX_BYTES} bytes")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        if not os.fspath(path):
            raise ConfigError(f"--config: expected the path of {kind}, got ''") from None
        raise ConfigError(f"{path}: expected {kind}, got no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: expected {kind}, got a folder") from None
    except OSError as error:
        raise ConfigError(f"{path}: expected {kind}, got: {error.strerror or error}") from error
    except ConfigError:
        raise
    except ValueError as error:  # no UTF-8, or a path with a NUL
        raise ConfigError(f"{path}: expected {kind}, got: {error}") from error


def _parsed(path: PathLike, text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML that holds no key twice: the library would take the last."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} for the second time", problem_mark=key.start_mark
                    )
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
            return node

    try:
        loader = Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    # Beside its own errors the library lets through what its conversions raise (KeyError for `!!bool x`).
    except Exception as error:
        got = " ".join(str(error).split()) if isinstance(error, yaml.YAMLError) else repr(error)
        raise ConfigError(f"{path}: expected YAML, got: {got}") from error


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


def build(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A dataclass of the config from nested dicts; what is not there keeps its default.

    Raises `ConfigError` as it does, and for unknown keys; ``prefix`` (``"data."``) is what they are named by.

    >>> from wsss_fast.config import CamsConfig
    >>> from wsss_fast.config_file import build
    >>> build(CamsConfig, {"scales": [1.0]}).scales
    [1.0]
    """
    _check_keys(kind, values, prefix)
    return _built(kind, values, prefix)


def _built(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    arguments: dict[str, Any] = {}
    hints = hints_of(typing.cast(Hashable, kind))
    for key, value in values.items():
        hint, item = hints[key], _section_of_list(hints[key])
        if is_dataclass(hint):
            arguments[key] = _built(typing.cast(type, hint), value, f"{prefix}{key}.")
        elif item is not None and isinstance(value, list):
            arguments[key] = [_built(item, entry, f"{prefix}{key}[{i}].") for i, entry in enumerate(value)]
        else:
            check_type(f"{prefix}{key}", hint, value)  # a section need not know where it is
            arguments[key] = value
    try:
        return kind(**arguments)
    except ConfigError as error:
        if kind is not BackboneConfig:
            raise
        # It is in several places and knows none of them.
        raise ConfigError(f"{prefix}{str(error).removeprefix('backbone.')}") from None


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
    write_text(path, to_yaml(config))


def to_yaml(config: Config) -> str:
    """The whole config as YAML, in the order of the dataclasses.

    >>> from wsss_fast.config import Config
    >>> from wsss_fast.config_file import to_yaml
    >>> to_yaml(Config(seed=3)).splitlines()[:2]
    ['output: runs/default', 'seed: 3']
    """
    import yaml

    check_config(config)
    values = json.loads(json.dumps(asdict(config)))  # a float of NumPy is one to all but YAML
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def key_types(kind: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the config with its type, sections left out."""
    found: dict[str, Any] = {}
    for key, hint in hints_of(typing.cast(Hashable, kind)).items():
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
        if os.path.isfile(folder / f"{name}.yaml"):  # of a name that is too long there is none
            return folder / f"{name}.yaml"
    raise FileNotFoundError(f"{name}.yaml: expected it in {folders[0]} or {folders[1]}")


def did_you_mean(word: str, known: list[str]) -> str:
    """``"; did you mean ...?"`` or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_keys(kind: type, values: object, prefix: str) -> None:
    if not isinstance(values, Mapping):
        where = f"{prefix.removesuffix('.')}: " if prefix else ""
        raise ConfigError(f"{where}expected a section of keys and values, got {shown(values)}")
    hints = hints_of(typing.cast(Hashable, kind))
    known = [field.name for field in fields(typing.cast(Any, kind))]
    for key, value in values.items():
        if key not in known:
            name = str(key) if isinstance(key, str) and key.isprintable() else shown(key)
            hint = did_you_mean(name, known) or f"; it may be one of {', '.join(known)}"
            raise ConfigError(f"{prefix}{name}: expected a key of the config, got an unknown one{hint}")
        if is_dataclass(hints[key]):
            _check_keys(typing.cast(type, hints[key]), value, f"{prefix}{key}.")
            continue
        item = _section_of_list(hints[key])
        wanted = "list" if _is_list(hints[key]) else "single"
        # Looked at here, before anything goes through a value: aliases can make a short file a huge list.
        if isinstance(value, (Mapping, set, tuple)) or isinstance(value, list) != (wanted == "list"):
            if value is None:
                continue  # for `check_null`
            raise ConfigError(f"{prefix}{key}: expected {describe_type(hints[key])}, got {shown(value)}")
        for position, entry in enumerate(value if wanted == "list" else []):
            if item is not None:
                _check_keys(item, entry, f"{prefix}{key}[{position}].")
            elif isinstance(entry, (Mapping, set, list, tuple)):
                raise ConfigError(f"{prefix}{key}: expected {describe_type(hints[key])}, got {shown(value)}")


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is list
