"""Bad input to the command: one message that names the key or file, its exit code, and nothing is begun."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import field, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

from hard_use import counted
from hard_use.config_cases import (
    FILES,
    MORE,
    OUT_OF_RANGE,
    TOGETHER,
    in_python,
    in_yaml,
    may_be_null,
)

from wsss_fast import cli
from wsss_fast.cli import COMMANDS, main
from wsss_fast.config import Config, ConfigError
from wsss_fast.config_file import build, flat, key_types
from wsss_fast.prepare import command

KEYS = key_types()
SECTIONS = get_type_hints(Config)
Outcome = Callable[..., str]


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Outcome:
    """``refused(name, *arguments, says=...)``: the message, after a look that it is one, and that nothing was
    begun."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for step in COMMANDS.values():
        stand_in = types.ModuleType(step.module)
        setattr(stand_in, step.function, lambda config: pytest.fail(f"started with {config}"))
        monkeypatch.setitem(sys.modules, f"wsss_fast.{step.module}", stand_in)

    def check(name: str, *arguments: str, says: str, code: int = 2) -> str:
        assert main([name, *arguments]) == code, arguments
        said = capsys.readouterr()
        check_message(said.err, name, says)
        assert said.out == ""
        assert list(folder.iterdir()) == [], arguments
        counted.tried("the command")
        return said.err

    return check


def check_message(text: str, name: str, says: str) -> None:
    """One message of a line, maybe with a hint in a second one, that says what was expected and what came."""
    lines = text.splitlines()
    assert 1 <= len(lines) <= 2, text
    assert lines[0].startswith(f"wsss-fast {name}: error: "), text
    assert len(lines[0]) < 3000, text
    assert "Traceback" not in text
    assert all(c.isprintable() for line in lines for c in line), text
    assert says in lines[0], (says, text)
    assert "expected" in lines[0], text


@pytest.fixture
def one_section(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``one_section(name)``: parse with the options of that section alone, which takes a tenth of the time.

    The parser is made as ever, of a config that has nothing else; all after it is unchanged.
    """

    def choose(section: str) -> None:
        hint = SECTIONS[section]
        default = field(default_factory=hint) if is_dataclass(hint) else getattr(Config(), section)
        part = make_dataclass("Part", [(section, hint, default)])
        with monkeypatch.context() as patch:
            patch.setattr(cli, "Config", part)
            parser = whole("run")
        defaults = dict(flat(parser.get_defaults().as_dict()))

        def again(_: str) -> Any:
            parser.set_defaults(defaults)  # which a file changes
            return parser

        monkeypatch.setattr(cli, "_config_parser", again)

    whole = cli._config_parser
    return choose


def test_the_tables_have_every_key() -> None:
    numbers = {
        key for key, hint in KEYS.items() if any(t in str(hint).split(" | ") for t in ("int", "float"))
    }
    numbers |= {key for key, hint in KEYS.items() if hint in (int, float)}
    assert set(OUT_OF_RANGE) == numbers
    assert set(MORE) <= set(KEYS)
    assert {key for _, values in TOGETHER for key in values} <= set(KEYS)
    # Whatever its type, every key has values that it does not take.
    assert all(len(in_yaml(hint)) > 5 for hint in KEYS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_bad_values(
    section: str, refused: Outcome, one_section: Callable[[str], None], tmp_path: Path
) -> None:
    one_section(section)
    path = tmp_path / "bad.yaml"
    commands = [name for name in COMMANDS if name != "demo"]  # its file has all sections
    seen: set[str] = set()
    for number, (key, hint) in enumerate(KEYS.items()):
        if key.partition(".")[0] != section:
            continue
        name = commands[number % len(commands)]
        of_range = [*OUT_OF_RANGE.get(key, []), *MORE.get(key, [])]
        # All for the first key of each type in a section; in turn a part for the others, to save time.
        of_type = in_yaml(hint)[
            0 if str(hint) not in seen else number % 4 :: 1 if str(hint) not in seen else 4
        ]
        seen.add(str(hint))
        for text in [*of_type, *of_range, *([] if may_be_null(hint) else ["null"])]:
            *sections, last = key.split(".")
            lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(sections)]
            path.write_text("\n".join([*lines, f"{'  ' * len(sections)}{last}: {text}"]) + "\n")
            refused(name, "--config", str(path), says="expected YAML" if is_no_yaml(text) else key)
        for text in [*as_options(hint), *of_range]:
            refused(name, f"--{key}={text}", says=key)


def is_no_yaml(text: str) -> bool:
    return any(part in text for part in ("!!bool", "!!int", "!!python", "9" * 5000))


def as_options(hint: Any) -> list[str]:
    """Values of the command line that keys of a type do not take: what is YAML in a file is a text there."""
    if "str" in str(hint) and "list" not in str(hint):
        return ["", " ", "a\0b", "a\nb", "\x1b[31m", "\u2028", "\udcff"]
    return [text for text in in_yaml(hint) if "!!" not in text][::6]


def test_bad_values_from_python() -> None:
    for key, hint in KEYS.items():
        for value in in_python(hint):
            with pytest.raises(ConfigError, match="expected") as caught:
                build(Config, nested(key, value))
            assert str(caught.value).startswith(key), caught.value
            assert len(str(caught.value)) < 1000
            counted.tried("Config")


def test_bad_sections_from_python() -> None:
    for section, hint in SECTIONS.items():
        if not is_dataclass(hint):
            continue
        for value in (None, 3, "x", [], object(), Config()):
            with pytest.raises(ConfigError, match=f"^{section}: expected a section with keys of .*, got "):
                Config(**{section: value})
            counted.tried("Config")
    for values, says in (
        (3, "expected a section"),
        ({"nope": 3}, "nope: expected a key"),
        ({3: 3}, "3: expected a key"),
        ({"crf": []}, "crf: expected a section"),
        ({"crf": {"nope": 3}}, "crf.nope: expected a key"),
        ({"ablate": {"encoders": [{"nope": 3}]}}, r"ablate.encoders\[0\].nope: expected a key"),
    ):
        with pytest.raises(ConfigError, match=says):
            build(Config, values)  # type: ignore[arg-type]
        counted.tried("Config")


@pytest.mark.parametrize("kind", FILES)
def test_bad_files(kind: str, refused: Outcome, tmp_path: Path) -> None:
    content, says = FILES[kind]
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert str(path) in refused("make-cams", "--config", str(path), says=says)


@pytest.mark.parametrize("position", range(len(TOGETHER)))
def test_values_that_do_not_go_together(position: int, refused: Outcome, tmp_path: Path) -> None:
    """By the parser of all keys, so that every command has one."""
    key, values = TOGETHER[position]
    name = [name for name in COMMANDS if name != "demo"][position]
    refused(name, *(f"--{k}={v}" for k, v in values.items()), says=key)


ARGUMENTS: list[tuple[list[str], str]] = [
    (["--nope=1"], "--nope=1: expected a key"),
    (["--crf.nope", "1"], "--crf.nope: expected a key"),
    (["--seed.x=1"], "--seed.x: expected a key"),
    (["stray"], "stray: expected a key"),
    (["--seed"], "--seed: expected one argument"),
    (["--seed=!!bool x"], "'--seed=!!bool x'"),
    (["--config="], "--config: expected"),
    (["--config", "."], ".: expected a config file, got a folder"),
    (["--config", "a\0b"], "a\\x00b: expected a config file"),
    (["--config", "x" * 300], "expected a config file"),
    (["--config", "/dev/zero"], "/dev/zero: expected a config file, got one of more than"),
    (["--config", "nope.yaml"], "nope.yaml: expected a config file, got no such file"),
    (["--strict", "--data.strict=3"], "data.strict: expected true or false"),
]


@pytest.mark.parametrize("position", range(len(ARGUMENTS)))
def test_bad_arguments(position: int, refused: Outcome) -> None:
    arguments, says = ARGUMENTS[position]
    refused("make-cams", *arguments, says=says)


# --- prepare -------------------------------------------------------------------------------------------

TEXTS = ["", " ", "a\0b", "a\nb", "\x1b[31m", "\udcff"]
COMMON: dict[str, list[str]] = {
    "source": [*TEXTS, "nope", "a-file", "x" * 300],
    "destination": [*TEXTS, "a-file"],
    "workers": ["-1", "x", "1.5", "", "null", "1025", "1" + "0" * 30, "9" * 5000, "[1]", "true", ".nan"],
    "check": ["x", "", "null", "1"],
    "unlabelled": ["x", "", "null", "1"],
    "strict": ["x", "2", "null", ""],
}
"""Values that the options of all kinds of `prepare` do not take."""

OWN: dict[str, dict[str, list[str]]] = {
    "lid": {"val-masks": TEXTS, "classes-file": TEXTS},
    "voc": {"train-list": TEXTS, "val-list": TEXTS, "train-masks": TEXTS, "val-masks": TEXTS},
    "coco": {"year": ["x", "2015", "", "[2014]"], "train-masks": ["x", "2", "null"]},
    "folder": {"train-split": TEXTS, "val-split": TEXTS},
}
"""And those of one kind."""


@pytest.mark.parametrize("what", OWN)
def test_bad_options_of_prepare(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, file = tmp_path / "source", tmp_path / "a-file"
    source.mkdir()
    file.write_text("x")
    for option, values in {**COMMON, **OWN[what]}.items():
        for value in values:
            given = {"source": str(source), "destination": str(tmp_path / "out")}
            given[option] = str(file) if value == "a-file" else value
            assert main(["prepare", what, *(f"--{key}={of}" for key, of in given.items())]) == 2
            check_message(capsys.readouterr().err, "prepare", option)
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a-file", "source"]
            counted.tried("the command")


def test_bad_options_of_prepare_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, hint in KEYS.items():
        section, _, _ = key.partition(".")
        if section != "data":
            continue
        for text in [*as_options(hint), *OUT_OF_RANGE.get(key, [])]:
            assert main(["prepare", "check", f"--destination={tmp_path / 'out'}", f"--{key}={text}"]) == 2
            check_message(capsys.readouterr().err, "prepare", key)
            assert list(tmp_path.iterdir()) == []
            counted.tried("the command")


def test_the_tables_have_every_option_of_prepare() -> None:
    for what in command._WHAT:
        options = set(command._types(command._parser(what))) - {"-h", "config", "print_shtab"}
        if what == "check":
            of_data = {key for key in KEYS if key.startswith("data.")}
            assert options - {"data", "data.shapes"} == {*COMMON, *of_data} - {"source", "unlabelled"}
        else:
            assert options == {*COMMON, *OWN[what]}, what
