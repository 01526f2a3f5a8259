"""Where the time of a step goes: the parts, the table, the trace."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.config import Config
from wsss_fast.files import read_json
from wsss_fast.steps._profile import Profile, profile_table
from wsss_fast.steps._step import step


def test_parts_and_the_rest_make_up_the_whole() -> None:
    start = time.perf_counter()
    profile = Profile("summary")
    for _ in profile.waiting(range(3), "read"):
        with profile.part("network"):
            time.sleep(0.02)
        time.sleep(0.01)
    parts = profile.stop()
    total = time.perf_counter() - start
    assert next(iter(parts)) == "network"
    assert list(parts)[-1] == "other"
    assert parts["network"] >= 0.06
    assert parts["other"] >= 0.03
    assert 0 <= parts["read"] < 0.02
    assert sum(parts.values()) == pytest.approx(total, abs=0.01)


def test_what_raises_is_counted_too() -> None:
    profile = Profile("summary")

    def fails() -> None:
        time.sleep(0.02)
        raise RuntimeError

    with pytest.raises(RuntimeError), profile.part("write"):
        fails()
    assert profile.stop()["write"] >= 0.02


def test_bodies_at_once_count_as_one() -> None:
    profile = Profile("summary")

    def body(_: int) -> None:
        with profile.part("crf", threads=2):
            time.sleep(0.05)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(body, range(8)))
    assert profile.stop()["crf"] == pytest.approx(0.2, rel=0.3)


def test_off_it_measures_nothing() -> None:
    profile = Profile()
    with profile.part("network"):
        pass
    assert list(profile.waiting([1, 2], "read")) == [1, 2]
    assert profile.stop() == {}


def test_the_table_has_seconds_and_shares() -> None:
    lines = profile_table("make-cams", {"network": 3.0, "other": 1.0}).splitlines()
    assert lines[0].startswith("make-cams")
    assert lines[1].split() == ["network", "3.00", "s", "75.0", "%"]
    assert lines[2].split() == ["other", "1.00", "s", "25.0", "%"]


def test_a_trace_names_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    profile = Profile("trace", path)
    for _ in profile.waiting(range(3), "read"):
        with profile.part("network"):
            torch.ones(8, 8) @ torch.ones(8, 8)
    profile.stop()
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"read", "network", "aten::mm"} <= names


@pytest.mark.parametrize("mode", ["off", "summary", "trace"])
def test_a_step_says_where_its_time_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    config = Config(output=str(tmp_path), profile=mode)  # type: ignore[arg-type]
    with step(config, "train-classifier") as this:
        for _ in this.profile.waiting(range(3), "read"):
            with this.profile.part("network"):
                pass
    state = read_json(this.folder / "step.json")
    printed = capsys.readouterr().out
    assert ("profile" in state) == ("where the time went" in printed) == (mode != "off")
    if mode != "off":
        assert set(state["profile"]) == {"read", "network", "other"}
    assert (this.folder / "trace.json").exists() == (mode == "trace")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("make-cams", {"read", "network", "fuse", "write"}),
        ("make-ir-labels", {"read", "read maps", "crf", "write"}),
        ("make-pseudo-masks", {"read", "read maps", "network", "walk", "label", "write"}),
        ("make-instance-masks", {"read", "read maps", "network", "cluster", "walk", "label", "write"}),
        ("refine-pseudo-masks", {"read", "network", "crf", "write"}),
        ("predict", {"read", "network", "crf", "write"}),
    ],
)
def test_the_parts_of_a_step(finished_run: Config, tmp_path: Path, name: str, parts: set[str]) -> None:
    from test_ranks import make, start

    config = replace(start(finished_run, tmp_path / "run", name), profile="summary")
    make(config, name)
    profile = read_json(tmp_path / "run" / name / "step.json")["profile"]
    assert set(profile) == {*parts, "other"}
    assert profile["other"] < 0.9 * sum(profile.values())
    assert all(seconds > 0 for part, seconds in profile.items() if part != "other")


def test_two_ranks_do_not_write_one_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = Config(output=str(tmp_path), profile="trace")
    with step(config, "train-classifier") as this:
        for _ in this.profile.waiting(range(3), "read"):
            pass
    assert [path.name for path in this.folder.glob("trace*")] == ["trace-1-of-2.json"]
