"""What a person, or a log file, sees of a step while it runs."""

from __future__ import annotations

import io
import sys
import time

import pytest

pytest.importorskip("tqdm", reason="needs the pipeline extra")

from wsss_fast.steps import _progress
from wsss_fast.steps._progress import progress, progress_over


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(_progress, "_MINUTE", 0.1)
    return 0.1


def watched(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, seconds: float, **options: bool) -> str:
    """What is written about ten images in so many seconds, after ten that were there already."""
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress(20, "make-cams train", unit="image", **options) as bar:
        bar.catch_up(10)
        for _ in range(10):
            time.sleep(seconds / 10)
            bar.update()
            bar.set_postfix(loss=1.0)
    return stderr.getvalue()


def test_a_log_file_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, minute: float) -> None:
    lines = watched(monkeypatch, io.StringIO(), 3.5 * minute).splitlines()
    assert 2 <= len(lines) <= 3
    assert lines[0].startswith("make-cams train: 1")
    assert " of 20 images, " in lines[0]
    assert " images/s, " in lines[0]
    assert lines[0].endswith(" left, loss=1")
    rate = float(lines[0].split(", ")[1].split()[0])
    assert rate == pytest.approx(10 / (3.5 * minute), rel=0.35)  # without those that were there already


def test_it_gets_none_of_less_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, io.StringIO(), 0.05) == ""


def test_lines_of_several_ranks_begin_with_the_rank(monkeypatch: pytest.MonkeyPatch, minute: float) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    lines = watched(monkeypatch, io.StringIO(), 2.5 * minute, shared=True).splitlines()
    assert lines
    assert all(line.startswith("rank 1 of 3: make-cams train: ") for line in lines)


def test_a_terminal_gets_a_bar_of_the_first_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = watched(monkeypatch, Terminal(), 1.3)
    assert "make-cams train: " in shown
    assert "image/s" in shown
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    assert "make-cams train (share of rank 0 of 3): " in watched(monkeypatch, Terminal(), 1.3, shared=True)
    monkeypatch.setenv("RANK", "1")
    assert watched(monkeypatch, Terminal(), 1.3, shared=True) == ""


def test_items_go_through(monkeypatch: pytest.MonkeyPatch, minute: float) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    seen = []
    for item in progress_over(range(5), "evaluate val"):
        time.sleep(0.04)
        seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert log.getvalue().startswith("evaluate val: ")
