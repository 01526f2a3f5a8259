"""Commands that are killed and started again: a few kills of `make kill-test`, and what it compares by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.files import write_json, write_npz

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
COMMANDS = ("train-classifier", "make-cams", "run", "prepare coco")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def differences(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], list[str]]:
    monkeypatch.syspath_prepend(SCRIPTS)
    import _same

    return _same.differences


@pytest.mark.slow
def test_killed_commands_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "kill_test.py"), "--times=2", f"--commands={','.join(COMMANDS)}"]
    # In a process of its own: it forks, and this one has threads.
    done = subprocess.run(
        [*command, "--seed=5", f"--output={tmp_path / 'kills.json'}", f"--work={tmp_path / 'work'}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "kills.json").read_text())["commands"]
    assert [result["command"] for result in results] == list(COMMANDS)
    assert all(result["equal"] == result["runs"] == 2 for result in results)
    assert any(kill["when"] == "within" for result in results for kill in result["kills"])


def _a_run(root: Path, seconds: float = 1.0) -> Path:
    write_json(root / "step/step.json", {"done": True, "seconds": seconds, "skipped": []})
    write_npz(root / "step/a.npz", maps=np.arange(6.0))
    (root / "t.csv").write_text(f"step,seconds,loss\n1,{seconds},0.5\n")
    (root / "p.html").write_text(
        f"written 2024-01-0{int(seconds)} 10:00 <table><tr><th>step</th><th>time</th></tr>"
        f"<tr><td>x</td><td>{seconds} s</td></tr></table>"
    )
    return root


def test_times_are_no_difference(tmp_path: Path, differences: Callable[[Path, Path], list[str]]) -> None:
    assert differences(_a_run(tmp_path / "a", 1.0), _a_run(tmp_path / "b", 2.0)) == []


def test_checks_are_compared_by_their_outcomes(
    tmp_path: Path, differences: Callable[[Path, Path], list[str]]
) -> None:
    expected, got = tmp_path / "a" / "checks.jsonl", tmp_path / "b" / "checks.jsonl"
    for path in (expected, got):
        path.parent.mkdir()
    expected.write_text('01 [[1], "f0", []]\n02 [[2], "f1", []]\n')
    got.write_text('01 [[1], "f0", []]\n02 [[2], "\n03 [[2], "f1", []]\n03 [[2], "f1", []]\n')
    assert differences(expected.parent, got.parent) == []
    got.write_text('01 [[1], "f0", []]\n03 [[3], "f1", []]\n')
    assert len(differences(expected.parent, got.parent)) == 1
    got.write_text('01 [[1], "f0", []]\n')
    assert len(differences(expected.parent, got.parent)) == 1


def test_everything_else_is(tmp_path: Path, differences: Callable[[Path, Path], list[str]]) -> None:
    expected, got = _a_run(tmp_path / "a"), _a_run(tmp_path / "b")
    write_json(got / "step/step.json", {"done": False, "seconds": 1.0, "skipped": []})
    (got / "step/a.npz").write_bytes((got / "step/a.npz").read_bytes()[:-1])
    (got / "t.csv").write_text("step,seconds,loss\n1,1.0,0.25\n")
    (got / "p.html").write_text((got / "p.html").read_text().replace("<td>x", "<td>y"))
    (got / "step/.tmp-left.npz").touch()
    names = [line.split(" (")[0] for line in differences(expected, got)]
    changed = ["p.html", "step/a.npz", "step/step.json", "t.csv"]
    assert names == [*(f"differs: {name}" for name in changed), "not expected: step/.tmp-left.npz"]
