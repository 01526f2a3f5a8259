"""The command wsss-fast: what it runs, what it says when something is wrong, and its exit codes."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

from wsss_fast import __version__
from wsss_fast.cli import COMMANDS, main, parse_config
from wsss_fast.config import Config
from wsss_fast.config_file import describe_type, key_types
from wsss_fast.files import DataError
from wsss_fast.steps import run as run_module

Step = Callable[[Config], object]


@pytest.fixture
def replace_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Step], None]:
    """``replace_step("make-cams", function)``: the module of a step, without loading the real one."""

    def replace(command: str, function: Step) -> None:
        name = f"wsss_fast.{COMMANDS[command].module}"
        stand_in = types.ModuleType(name)
        setattr(stand_in, COMMANDS[command].function, function)
        monkeypatch.setitem(sys.modules, name, stand_in)

    return replace


def shell(*arguments: str, cwd: Path, hide: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; ``hide`` makes a module impossible to import."""
    code = "import sys\n"
    if hide:
        code += f"sys.modules[{hide!r}] = None\n"
    code += "from wsss_fast.cli import main\nsys.exit(main())"
    root = str(Path(importlib.import_module("wsss_fast").__file__ or "").parents[1])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "wsss_fast", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout == f"wsss-fast {__version__}\n"


def test_a_step_gets_its_config(tmp_path: Path, replace_step: Callable[[str, Step], None]) -> None:
    seen: list[Config] = []
    replace_step("make-cams", seen.append)
    assert main(["make-cams", "--output", str(tmp_path), "--cams.scales", "[1, 2]", "--seed=5"]) == 0
    assert (seen[0].output, seen[0].cams.scales, seen[0].seed) == (str(tmp_path), [1.0, 2.0], 5)
    # What was resolved lies in the run folder and can be used again.
    assert parse_config("run", ["--config", str(tmp_path / "config.yaml")]) == seen[0]


def test_every_command_has_its_function() -> None:
    for name, command in COMMANDS.items():
        source = Path(run_module.__file__).parents[1] / f"{command.module.replace('.', '/')}.py"
        assert f"\ndef {command.function}(config: Config)" in source.read_text(), name


def test_run_does_all_steps_in_order_and_the_report_last(
    tmp_path: Path, replace_step: Callable[[str, Step], None], capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []
    steps = [name for name in COMMANDS if name not in ("run", "ablate", "demo")]
    for name in steps:
        replace_step(name, lambda config, name=name: order.append(name))  # type: ignore[misc]
    person = ["--person.merge=after", "--classifier.exclude=[person]"]
    everything = [*person, "--instances.splits=[val]", "--segmenter.rounds=2"]
    assert main(["run", "--output", str(tmp_path), *everything]) == 0
    assert order == steps
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*order, "all", "report:"]
    assert all(re.search(r" \d+\.\d s$", line) for line in lines[:-1])
    assert lines[-1] == f"report: {tmp_path / 'report' / 'index.html'}"


def test_demo_is_run_on_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Config] = []
    monkeypatch.setattr(
        run_module, "run", lambda config: seen.append(config) or "runs/demo/report/index.html"
    )
    assert main(["demo", "--classifier.epochs", "1"]) == 0
    assert seen[0].output == "runs/demo"
    assert seen[0].data.reader == "shapes"
    assert seen[0].classifier.epochs == 1
    assert (tmp_path / "runs" / "demo" / "config.yaml").exists()
    assert "report: runs/demo/report/index.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--crf.iteration", "3"],
            "--crf.iteration: expected a key of the config, got an unknown one; did you",
        ),
        (
            ["--crf.iter", "3"],
            "--crf.iter: expected a key",
        ),  # no abbreviations: they break when keys are added
        (["stray"], "stray: expected a key of the config"),
        (["--crf.iterations", "x"], "crf.iterations: expected an integer, got 'x'"),
        (["--seed", "null"], "seed: expected an integer"),
        (["--crf.iterations"], "--crf.iterations: expected one argument"),
        (["--data.strict", "maybe"], "data.strict: expected true or false, got 'maybe'"),
        (["--data.reader", "voc"], "data.root: expected the folder of the data set (reader 'voc'), got None"),
        (["--data.shapes.size", "3"], "data.shapes.size: expected a number >= 32 and <= 4096, got 3"),
        (["--config", "nope.yaml"], "nope.yaml: expected a config file, got no such file"),
        (["--config"], "--config: expected one argument"),
        (["--output", "/dev/null/x"], "output: expected a folder that can be written"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replace_step: Callable[[str, Step], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    replace_step("make-cams", lambda config: pytest.fail("the step must not start"))
    assert main(["make-cams", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wsss-fast make-cams: error: ")
    assert message in error
    assert "`wsss-fast make-cams --help`" in error


def test_faults_of_the_data_have_no_traceback(
    tmp_path: Path, replace_step: Callable[[str, Step], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config) -> None:
        raise DataError("images/cat.jpg", "expected an image, got rubbish")

    replace_step("make-cams", fail)
    assert main(["make-cams", "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error == "wsss-fast make-cams: error: images/cat.jpg: expected an image, got rubbish\n"


def test_a_step_too_early_has_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("wsss-fast evaluate: error: ")
    assert "make-cams" in error


def test_defects_keep_their_traceback(tmp_path: Path, replace_step: Callable[[str, Step], None]) -> None:
    def fail(config: Config) -> None:
        raise ValueError("a defect")

    replace_step("make-cams", fail)
    with pytest.raises(ValueError, match="a defect"):
        main(["make-cams", "--output", str(tmp_path)])


def test_a_missing_module_of_our_own_keeps_its_traceback(
    tmp_path: Path, replace_step: Callable[[str, Step], None]
) -> None:
    def fail(config: Config) -> None:
        raise ModuleNotFoundError("No module named 'wsss_fast.nope'", name="wsss_fast.nope")

    replace_step("make-cams", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["make-cams", "--output", str(tmp_path)])


def test_interrupt(
    tmp_path: Path, replace_step: Callable[[str, Step], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(config: Config) -> None:
        raise KeyboardInterrupt

    replace_step("make-cams", stop)
    assert main(["make-cams", "--output", str(tmp_path)]) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_help_shows_every_key_and_the_values_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "c.yaml"
    path.write_text("crf: {iterations: 77}")
    assert main(["make-cams", "--config", str(path), "--help"]) == 0
    text = capsys.readouterr().out
    for key in key_types():
        assert f"--{key} " in text or f"--{key}," in text, key
    assert "default: 77" in text
    assert "Image pixels a cell of the maps that the random walk starts from." in text  # a docstring


def test_help_and_version_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wsss-fast {__version__}\n"
    assert main([]) == 2
    assert main(["nonesuch"]) == 2
    assert "invalid choice: 'nonesuch'" in capsys.readouterr().err


def test_types_in_words() -> None:
    assert describe_type(str | None) == "a text or null"
    assert all(
        "<class" not in describe_type(t) and "typing" not in describe_type(t) for t in key_types().values()
    )


def test_without_the_pipeline_extra(tmp_path: Path) -> None:
    result = shell("evaluate", "--output", str(tmp_path), cwd=tmp_path, hide="matplotlib")
    assert result.returncode == 1, result.stderr
    assert result.stderr.endswith(
        "needs matplotlib, which is not installed: pip install 'wsss_fast[pipeline]'\n"
    )
    assert "Traceback" not in result.stderr


def test_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("crf: {iteration: 3}")
    result = shell("run", "--config", "c.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("wsss-fast run: error: c.yaml: crf.iteration: expected a key")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_importing_the_package_and_asking_for_help_need_no_pipeline() -> None:
    code = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"  # torch loads some of them itself
        "import wsss_fast, wsss_fast.cli, wsss_fast._extras\n"
        "wsss_fast.cli.main(['--help'])\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new & set(wsss_fast._extras.PIPELINE)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
