"""What is written about steps: by one process or several, with this config or another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from made_up_run import MadeUpImages, made_up_config, make_up_run

from wsss_fast.config import CamsConfig, Config, IrLabelsConfig
from wsss_fast.files import read_json, write_json
from wsss_fast.report import report
from wsss_fast.steps import evaluate as evaluation
from wsss_fast.steps import run as run_module
from wsss_fast.steps._graph import graph
from wsss_fast.steps._states import read_state, waiting_for
from wsss_fast.steps._step import Step, StepError, step

AsRank = Callable[[int, int], None]


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> AsRank:
    def set_variables(rank: int, world: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))

    return set_variables


def make_cams(config: Config, items: int = 1, skip: str = "") -> Step:
    """The step of that name, doing nothing."""
    with step(config, "make-cams") as this:
        this.items = items
        if skip:
            this.skip(skip, f"/made/up/{skip}.jpg", "expected an image")
    return this


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(output=str(tmp_path))
    make_up_run(config, ("train-classifier",))
    return config


def state_of(config: Config, name: str = "make-cams") -> dict[str, Any]:
    state = read_state(Path(config.output) / name)
    assert state is not None
    return state


# --- several processes ---------------------------------------------------------------------------------


def test_a_step_is_done_when_all_ranks_are(config: Config, as_rank: AsRank) -> None:
    folder = Path(config.output) / "make-cams"
    for rank in (2, 0, 1):
        assert read_state(folder) is None or state_of(config)["done"] is False
        as_rank(rank, 3)
        make_cams(config, items=10 + rank, skip=f"bad{rank % 2}")
    state = state_of(config)
    assert (state["done"], state["items"], state["processes"]) == (True, 33, 3)
    assert sorted(entry["name"] for entry in state["skipped"]) == ["bad0", "bad1"]
    seconds = [read_json(folder / f"step-{rank}-of-3.json")["seconds"] for rank in range(3)]
    assert state["seconds"] == max(seconds)
    assert not (folder / "step.json").exists()
    assert waiting_for(folder, 3, collective=False) == []


def test_what_is_done_is_done_for_any_number_of_ranks(
    config: Config, as_rank: AsRank, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (0, 1):
        as_rank(rank, 2)
        make_cams(config)
    for rank in range(3):
        as_rank(rank, 3)
        with step(config, "make-cams") as this:
            assert this.done
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    with step(config, "make-cams") as this:
        assert this.done
    assert sorted(path.name for path in Path(config.output, "make-cams").iterdir()) == [
        "step-0-of-2.json",
        "step-1-of-2.json",
    ]


def test_an_unfinished_call_with_other_ranks_is_passed_over(
    config: Config, as_rank: AsRank, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_rank(0, 3)
    make_cams(config, items=5)
    assert state_of(config)["done"] is False
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    with step(config, "make-cams") as this:
        assert not this.done
        this.items = 14
    assert (state_of(config)["done"], state_of(config)["items"]) == (True, 14)


def test_a_rank_does_not_do_its_share_twice(config: Config, as_rank: AsRank) -> None:
    as_rank(1, 2)
    make_cams(config)
    with step(config, "make-cams") as this:
        assert this.done
    as_rank(0, 2)
    with step(config, "make-cams") as this:
        assert not this.done


def test_a_step_names_the_ranks_that_it_needs(config: Config, as_rank: AsRank) -> None:
    as_rank(1, 3)
    make_cams(config)
    with (
        pytest.raises(StepError, match=r"by all of its 3 processes .*: rank 0, 2\)"),
        step(config, "make-ir-labels"),
    ):
        pass


def test_in_a_training_the_first_rank_alone_writes(tmp_path: Path, as_rank: AsRank) -> None:
    config = Config(output=str(tmp_path))
    folder = tmp_path / "train-classifier"
    as_rank(1, 2)
    with step(config, "train-classifier"):
        pass
    assert read_state(folder) is None
    assert waiting_for(folder, 2, collective=True) == [0]
    as_rank(0, 2)
    with step(config, "train-classifier"):
        pass
    assert [path.name for path in folder.iterdir()] == ["step.json"]
    assert waiting_for(folder, 2, collective=True) == []


def test_one_of_the_last_ranks_joins_the_shares(config: Config, as_rank: AsRank) -> None:
    """Also when each makes its share before another has said that it is done."""
    as_rank(0, 3)
    with step(config, "make-cams") as first:
        assert not first.last_to_make_its_share()
        as_rank(2, 3)
        with step(config, "make-cams") as third:
            assert not third.last_to_make_its_share()
            as_rank(1, 3)
            with step(config, "make-cams") as second:
                assert second.last_to_make_its_share()
    # A rank that is started again has not made its share before it says so again.
    folder = Path(config.output) / "make-cams"
    part = read_json(folder / "step-1-of-3.json")
    write_json(folder / "step-1-of-3.json", {**part, "done": False})
    with step(config, "make-cams") as second:
        assert "share_made" not in read_json(folder / "step-1-of-3.json")
        assert second.last_to_make_its_share()


def test_items_and_skips_are_those_of_all_calls(config: Config) -> None:
    def breaks(this: Step) -> None:
        this.items = 3
        this.skip("bad", "/made/up/bad.jpg", "expected an image")
        raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"), step(config, "make-cams") as this:
        breaks(this)
    assert state_of(config)["items"] == 3
    seconds = state_of(config)["seconds"]
    make_cams(config, items=7)  # which looks at all images again, and finds that one mended
    state = state_of(config)
    assert (state["done"], state["items"], state["skipped"]) == (True, 7, [])
    assert state["seconds"] > seconds


def test_of_a_killed_process_the_last_minute_is_lost(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with step(config, "make-cams") as this:
        for this.items in (1, 2):
            this.write_now_and_then()
        assert state_of(config)["items"] == 0
        monkeypatch.setattr("wsss_fast.steps._step._MINUTE", 0.0)
        this.write_now_and_then()
        assert (state_of(config)["items"], state_of(config)["done"]) == (2, False)
        assert state_of(config)["seconds"] > 0


# --- a run of several processes ------------------------------------------------------------------------


def test_a_run_waits_for_the_other_ranks(
    config: Config,
    as_rank: AsRank,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(run_module, "_TELL_SECONDS", 0.05)
    folder = Path(config.output) / "make-cams"
    as_rank(1, 3)
    make_cams(config)
    as_rank(2, 3)
    make_cams(config)
    part = {**read_json(folder / "step-2-of-3.json")}
    late = threading.Thread(
        target=lambda: (time.sleep(0.3), write_json(folder / "step-0-of-3.json", part))  # type: ignore[func-returns-value]
    )
    late.start()
    start = time.perf_counter()
    run_module._wait(folder, collective=False)
    assert time.perf_counter() - start >= 0.25
    late.join()
    assert "rank 2 of 3: make-cams: waiting for rank 0\n" in capsys.readouterr().out


def test_the_first_rank_evaluates_and_reports(
    tmp_path: Path, as_rank: AsRank, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    for module in ("evaluate", "report"):
        place = "wsss_fast.report" if module == "report" else f"wsss_fast.steps.{module}"
        monkeypatch.setattr(f"{place}.open_images", lambda data, split: MadeUpImages(split))
    as_rank(1, 2)
    assert evaluation.evaluate(config) == {}
    report(config)
    run_module.run(config)
    assert not (tmp_path / "evaluate").exists()
    assert not (tmp_path / "report").exists()
    as_rank(0, 2)
    assert run_module.run(config).exists()
    assert state_of(config, "evaluate")["done"]


# --- another config ------------------------------------------------------------------------------------


def test_another_config_is_refused_with_the_key_that_keeps(config: Config) -> None:
    make_cams(config)
    other = replace(config, cams=CamsConfig(scales=[2.0]))
    expected = r"cams.scales: \[1.0, 0.5, 0.75, 2.0\] then, \[2.0\] now(.|\n)*--changed_config keep"
    with pytest.raises(StepError, match=expected):
        make_cams(other)


def test_a_part_of_another_config_is_refused_too(config: Config, as_rank: AsRank) -> None:
    as_rank(0, 2)
    make_cams(config)
    as_rank(1, 2)
    with pytest.raises(StepError, match=r"cams.hflip: True then, False now"):
        make_cams(replace(config, cams=CamsConfig(hflip=False)))


def test_outputs_of_another_config_can_be_kept(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    make_cams(config)
    other = replace(config, cams=CamsConfig(hflip=False), changed_config="keep")
    make_cams(other)  # is done, and stays what it was
    assert state_of(config)["config"]["cams"]["hflip"] is True
    with step(other, "make-ir-labels") as this:
        pass
    assert "cams.hflip: True then, False now" in capsys.readouterr().out
    assert read_json(this.folder / "step.json")["changed_config"] == [
        {"step": "make-cams", "key": "cams.hflip", "then": True, "now": False}
    ]
    assert evaluation._state(other, "make-cams") == state_of(config)
    with pytest.raises(StepError, match=r"cams\.hflip"):
        evaluation._state(replace(other, changed_config="refuse"), "make-cams")


def test_a_step_begun_with_another_config_stays_known_as_that(config: Config) -> None:
    make_up_run(config, ("make-cams",))
    with pytest.raises(RuntimeError, match="broke"), step(config, "make-ir-labels"):
        raise RuntimeError("broke")
    labels = IrLabelsConfig(foreground_threshold=0.9)
    other = replace(config, ir_labels=labels, changed_config="keep")
    with step(other, "make-ir-labels"):
        pass
    state = state_of(config, "make-ir-labels")
    assert state["done"]
    then = config.ir_labels.foreground_threshold
    assert state["config"]["ir_labels"]["foreground_threshold"] == then
    noted = {"step": "make-ir-labels", "key": "ir_labels.foreground_threshold", "then": then, "now": 0.9}
    assert state["changed_config"] == [noted]
    with step(config, "make-ir-labels") as this:  # by the first config there is nothing to tell
        assert this.done


def test_trainings_are_done_by_all_ranks_together() -> None:
    together = {name for name, node in graph(Config()).items() if node.collective}
    assert together == {"train-classifier", "train-irnet", "train-segmenter"}
