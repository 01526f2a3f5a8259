"""What README, CONTRIBUTING and the pages of the documentation show works as it stands."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import ROOT

from wsss_fast.cli import COMMANDS, main, parse_config
from wsss_fast.config_file import key_types, read_values
from wsss_fast.prepare import command as prepare_command

sys.path.insert(0, str(ROOT / "docs" / "tools"))
from config_page import MARK, keys
from public_api import public_objects

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]

# A run as short as can be, in place of the one that a page is about.
_TINY = ["--device", "cpu", "--data.workers", "0", "--cams.scales", "[1]", "--irnet.radius", "4"]
for _training in ("classifier", "irnet", "segmenter"):
    _TINY += [f"--{_training}.backbone.name", "test_resnet", f"--{_training}.backbone.weights", "none"]
    _TINY += [f"--{_training}.epochs", "1", f"--{_training}.batch_size", "4"]
    _TINY += [f"--{_training}.image_size", "64"]
_RUN_FOR_REAL = {
    "wsss-fast prepare folder --source my_images --destination prepared": [],
    "wsss-fast run --config mine.yaml": _TINY,
}


class Block(NamedTuple):
    """A block of code, by its language and the title of the file that it stands for."""

    language: str
    title: str
    text: str


def blocks(path: Path) -> list[Block]:
    fenced = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in fenced.findall(path.read_text(encoding="utf-8"))]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
@pytest.mark.usefixtures("no_pydensecrf")
def test_blocks_work(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom: Python runs, files are written, commands are run or at least parsed."""
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "benchmarks", "scripts", "python_tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(path):
        if block.language == "python":
            exec(compile(block.text, path.name, "exec"), scope)
        elif block.language == "yaml":
            _use_yaml(block)
        else:
            assert not block.language, f"a block of {block.language!r}, which no test knows"
            for line in _commands(block.text):
                _use_command(line)


def _use_yaml(block: Block) -> None:
    path = Path(block.title or "unnamed.yaml")
    path.write_text(block.text)
    read_values(path)
    assert parse_config("run", ["--config", str(path)]) is not None


_FIRST_WORDS = ("wsss-fast", "torchrun", "make", "pip", "pre-commit", "RANK")


def _commands(text: str) -> Iterator[str]:
    """The commands of a block; other text (a table, a tree of files, a message) has none."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if line.partition(" ")[0].startswith(_FIRST_WORDS) else []
        if words and not words[0].endswith(":") and words[1:2] != ["COMMAND"] and words[1][-1] != ":":
            yield shlex.join(words)


def _use_command(line: str) -> None:
    words = shlex.split(line)
    if words[0] in ("torchrun", "make", "pip", "pre-commit") or "=" in words[0]:
        if words[0] == "make":
            assert set(words[1:2]) <= _targets(), line
        if words[0] == "pip" and "[" in line:
            _check_extras(line)
        words = words[words.index("wsss-fast") :] if "wsss-fast" in words else []
    if not words:
        return
    more = _RUN_FOR_REAL.get(line)
    if more is not None:
        assert main([*words[1:], *more]) == 0
    elif words[1] == "prepare":
        if words[2] != "--help":
            assert prepare_command._parse(words[2], words[3:]) is not None
    else:
        assert words[1] in COMMANDS, line
        for argument in words[2:]:
            if argument.startswith("configs/"):
                assert Path(argument).is_file(), line
        arguments = [word for word in words[2:] if word != "..."]
        assert "--help" in arguments or parse_config(words[1], arguments) is not None


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _check_extras(line: str) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    for name in re.findall(r"\[([\w,]+)\]", line):
        assert set(name.split(",")) <= known, line


# What scripts/gpu_check.sh writes on a machine with a GPU.
_OF_A_GPU = ("benchmarks/results/cuda_*.md", "cuda-ops_*.md")


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_what_is_named_exists(path: Path) -> None:
    """Targets of make, commands, and files of the repository that stand in backticks."""
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", path.read_text(encoding="utf-8")):
        if re.match(r"make [a-z]", span):
            assert span.split()[1] in _targets(), span
        elif re.match(r"wsss-fast [a-z]", span):
            assert span.split()[1] in (*COMMANDS, "prepare"), span
        elif span in _OF_A_GPU:
            continue
        elif re.match(r"(configs|benchmarks|scripts|python_tests|csrc|docs|wsss_fast)/[^<{ ]*$", span):
            pattern = span.rstrip("/")
            assert list(ROOT.glob(pattern)), f"{span}: expected a file of the repository, got none"


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert "://" not in target, "the pages load and lead to nothing outside"
        assert (path.parent / target).exists(), target


# --- the site --------------------------------------------------------------------------------------------


def test_the_navigation_is_whole() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = sorted(_leaves(site["nav"]))
    assert named == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)
    assert site["theme"]["font"] is False


def _leaves(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, list):
        for item in entry:
            yield from _leaves(item)
    elif isinstance(entry, dict):
        for item in entry.values():
            yield from _leaves(item)


def test_api_pages_show_every_public_name() -> None:
    shown: set[str] = set()
    for path in (DOCS / "api").glob("*.md"):
        for name, options in re.findall(r"^::: (\S+)\n((?: .*\n)*)", path.read_text() + "\n", re.MULTILINE):
            members = re.findall(r"- (\w+)", options)
            assert not {f"{name}.{m}" for m in members} & shown, f"{name} is there twice"
            shown |= {f"{name}.{member}" for member in members} or {name}
    assert shown == set(public_objects())


def test_the_page_of_commands_names_all() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name in (*COMMANDS, *(f"prepare {what}" for what in prepare_command._WHAT)):
        assert re.search(rf"`{name}`|wsss-fast {name} ", text), name


def test_the_page_of_the_config_has_every_key() -> None:
    assert MARK in (DOCS / "configuration.md").read_text(encoding="utf-8")
    page = keys()
    sections = dict(re.findall(r"\| `([\w.]+)` \| a section \| \| the keys of \[([\w.]+)\]", page))
    assert sections
    for key in key_types():
        prefix = key.rpartition(".")[0]
        shown = key if prefix not in sections else f"{sections[prefix]}.{key.rpartition('.')[2]}"
        row = re.search(rf"^\| `{re.escape(shown)}` \| ([^|]+)\| `[^`]+` \| (.*) \|$", page, re.MULTILINE)
        assert row, f"{key} is not on the page"
        assert row[2].strip(), f"{key} has no text below it"
