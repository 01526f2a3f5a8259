"""Without the extra `pipeline`, or with one of its packages missing: what works, and what says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT

from wsss_fast._extras import PIPELINE

# One process in which nothing of the extra has been imported: packages are hidden from it by turns.
SCRIPT = """
import contextlib, importlib, io, json, sys

hidden = set(sys.argv[1:])

class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

# What torch has loaded of them itself stays, unless it is of the extra: then it is looked for anew.
import torch
for name in list(sys.modules):
    if name.partition(".")[0] in hidden:
        del sys.modules[name]
sys.meta_path.insert(0, Hider())

import wsss_fast, wsss_fast.compat, wsss_fast.nn
from wsss_fast import cli
from wsss_fast.compat.pydensecrf import densecrf
from wsss_fast.config import Config
wsss_fast.compat.install()

def said(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(arguments)
    return [code, out.getvalue(), err.getvalue()]

def imported(module):
    try:
        importlib.import_module(module)
    except ImportError as error:
        return [type(error).__mro__[1].__name__, str(error), error.name]
    return ["", "", ""]

layer = wsss_fast.nn.DenseCRF(2)
image = torch.zeros(1, 3, 4, 5)
found = {
    "ops": wsss_fast.crf(image, torch.zeros(1, 2, 4, 5)).shape == layer(image, torch.zeros(1, 2, 4, 5)).shape,
    "help": said(["--help"]), "version": said(["--version"]), "without": {},
}
commands = [*cli.COMMANDS, "prepare"]
steps = [f"wsss_fast.{c.module}" for c in cli.COMMANDS.values() if c.module.startswith("steps.")]
everything = set(hidden)
for package in [*sorted(everything), "all of them"]:
    hidden.clear()
    hidden.update(everything if package == "all of them" else {package})
    found["without"][package] = {
        "commands": {c: said([c, "--output", "/nowhere/at/all"]) for c in commands},
        "imports": {m: imported(m) for m in [*steps, "wsss_fast.models.classifier"]},
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    # A package that is not installed at all is as good as hidden, but then nothing else can be missing alone.
    for module in PIPELINE:
        pytest.importorskip(module, reason="needs the pipeline extra")
    result = subprocess.run([sys.executable, "-c", SCRIPT, *PIPELINE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_ops_layers_and_the_stand_in_work_without_the_extra(found: dict[str, Any]) -> None:
    assert found["ops"] is True


def test_help_and_version_work_without_the_extra(found: dict[str, Any]) -> None:
    code, out, err = found["help"]
    assert (code, err) == (0, "")
    assert "make-cams" in out
    assert found["version"][0] == 0


@pytest.mark.parametrize("module", PIPELINE)
def test_every_command_and_step_names_the_extra_if_one_package_is_missing(
    found: dict[str, Any], module: str
) -> None:
    without = found["without"][module]
    expected = f"needs {PIPELINE[module]}, which is not installed: pip install 'wsss_fast[pipeline]'"
    assert len(without["commands"]) == 18
    for command, said in without["commands"].items():
        assert said == [1, "", f"wsss-fast {command}: error: this command {expected}\n"], command
    assert len(without["imports"]) >= 15
    for name, (kind, message, missing) in without["imports"].items():
        part = "wsss_fast.models" if name.startswith("wsss_fast.models") else "wsss_fast.steps"
        assert (kind, message, missing) == ("ModuleNotFoundError", f"{part} {expected}", module), name


def test_without_the_whole_extra_all_packages_are_named_at_once(found: dict[str, Any]) -> None:
    code, out, err = found["without"]["all of them"]["commands"]["make-cams"]
    assert (code, out) == (1, "")
    names = ", ".join(PIPELINE.values())
    hint = "pip install 'wsss_fast[pipeline]'"
    assert err == f"wsss-fast make-cams: error: this command needs {names}, which are not installed: {hint}\n"


def test_the_packages_are_those_of_the_extra() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^pipeline = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    declared = re.findall(r'^  "([\w-]+)', block[1], re.MULTILINE)
    assert sorted(name.lower() for name in PIPELINE.values()) == sorted(declared)
