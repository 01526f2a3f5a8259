"""What killed processes leave of their writes, and who removes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsss_fast import files


def _left_by(process: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary file that a process of this number would leave if it were killed now."""
    monkeypatch.setattr(os, "getpid", lambda: process)
    path = files.temporary_beside(folder / "x.png")
    monkeypatch.undo()
    path.write_text("half")
    return path


def _a_finished_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_next_write_removes_what_a_killed_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _left_by(_a_finished_process(), tmp_path, monkeypatch)
    of_a_live_one = _left_by(os.getppid(), tmp_path, monkeypatch)
    no_temporary = tmp_path / ".tmp-notes"
    no_temporary.touch()
    elsewhere = tmp_path / re.sub(r"-[0-9a-f]{8}-", "-00000000-", left.name)  # of another machine
    elsewhere.touch()
    files.write_json(tmp_path / "a.json", {})
    kept = {of_a_live_one, no_temporary, elsewhere, tmp_path / "a.json"}
    assert not left.exists()
    assert {*tmp_path.iterdir()} == kept


def test_what_is_a_day_old_is_of_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _left_by(os.getppid(), tmp_path, monkeypatch)  # a number that is in use again
    os.utime(old, (time.time() - 90_000,) * 2)
    files.write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looked.append(str(folder)) or scandir(folder))
    for name in "abc":
        files.write_json(tmp_path / f"{name}.json", {})
    assert looked == [str(tmp_path)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system that tells the state of a process")
def test_a_process_that_has_ended_is_not_running_before_its_parent_asks() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert files.is_running(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        for _ in range(200):
            if not files.is_running(process.pid):
                break
            time.sleep(0.05)
        os.kill(process.pid, 0)  # its number is still taken
        assert not files.is_running(process.pid)
    assert not files.is_running(process.pid)
