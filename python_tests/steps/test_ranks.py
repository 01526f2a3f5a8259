"""Inference steps shared by several processes: the files are those of one process, to the bit."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.config import Config, ConfigError, DataConfig
from wsss_fast.config_file import save
from wsss_fast.data import DataError, ImageSet
from wsss_fast.files import read_json
from wsss_fast.steps import _inference
from wsss_fast.steps._graph import graph, upstream
from wsss_fast.steps._inference import each_image, equal_size_batches
from wsss_fast.steps._states import read_state
from wsss_fast.steps._step import Step, StepError
from wsss_fast.steps.ablate import ablate

STEPS = [name for name, node in graph(Config()).items() if not node.collective]
STEPS += ["make-instance-masks", "refine-pseudo-masks"]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images a batch and a chunk: the ten and four images of a tiny run are four and two chunks."""
    monkeypatch.setattr(_inference, "_BATCH_PIXELS", 3 * 64 * 64)
    monkeypatch.setattr(_inference, "_CHUNK", 3)


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def set_variables(rank: int, world: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))

    return set_variables


def start(config: Config, output: Path, name: str) -> Config:
    """The config of a copy of the run in which the step is the next one."""
    for before in upstream(config, name)[:-1]:
        shutil.copytree(Path(config.output) / before, output / before)
    return replace(config, output=str(output), predict=replace(config.predict, crf=True))


def make(config: Config, name: str) -> None:
    module = importlib.import_module(f"wsss_fast.steps.{name.replace('-', '_')}")
    getattr(module, name.replace("-", "_"))(config)


def outputs(config: Config, name: str) -> dict[str, str]:
    """Digests of the files of a step, but for what is written about it."""
    folder = Path(config.output) / name
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("step")
    }


def made(config: Config, name: str) -> int:
    return sum(not path.name.startswith("step") for path in (Path(config.output) / name).rglob("*.*"))


class Stop(BaseException):
    """As sudden as a signal."""


def stop_after(
    monkeypatch: pytest.MonkeyPatch, writes: int, error: BaseException | type[BaseException] = Stop
) -> None:
    """End the process, as it were, in the middle of writing a file."""
    done = 0
    rename = os.replace

    def counted(source: Path, target: Path) -> None:
        nonlocal done
        if not Path(target).name.startswith("step"):
            done += 1
            if done > writes:
                raise error
        rename(source, target)

    monkeypatch.setattr("wsss_fast.files.os.replace", counted)


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", STEPS)
def test_files_are_the_same_by_any_number_of_ranks_and_after_a_kill(
    finished_run: Config,
    tmp_path: Path,
    as_rank: Callable[[int, int], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    alone = start(finished_run, tmp_path / "alone", name)
    make(alone, name)
    expected = outputs(alone, name)
    assert len(expected) >= 4
    state = read_state(Path(alone.output) / name)
    assert state is not None

    two = start(finished_run, tmp_path / "two", name)
    for rank in (1, 0):
        as_rank(rank, 2)
        make(two, name)
        if rank == 1:
            assert 0 < made(two, name) < len(expected)
            of_two = read_state(Path(two.output) / name)
            assert of_two is not None
            assert of_two["done"] is False
    assert outputs(two, name) == expected
    of_two = read_state(Path(two.output) / name)
    assert of_two is not None
    assert (of_two["done"], of_two["items"]) == (True, state["items"])

    # One of three is killed twice, the others come before, between and after.
    three = start(finished_run, tmp_path / "three", name)
    for rank, writes in ((0, 1), (2, None), (0, 2), (1, None), (0, None)):
        as_rank(rank, 3)
        if writes is None:
            make(three, name)
            continue
        with monkeypatch.context() as patch:
            stop_after(patch, writes)
            with pytest.raises(Stop):
                make(three, name)
        assert not list(Path(three.output).rglob(".tmp*"))
    assert outputs(three, name) == expected
    of_three = read_state(Path(three.output) / name)
    assert of_three is not None
    assert (of_three["done"], of_three["items"]) == (True, state["items"])


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", STEPS)
def test_what_one_process_leaves_unfinished_two_can_finish(
    finished_run: Config,
    tmp_path: Path,
    as_rank: Callable[[int, int], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    alone = start(finished_run, tmp_path / "alone", name)
    make(alone, name)
    config = start(finished_run, tmp_path / "run", name)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stop):
            make(config, name)
    files = [path for path in Path(config.output, name).rglob("*.*") if path.is_file()]
    kept = {path: path.stat().st_mtime_ns for path in files if not path.name.startswith("step")}
    assert len(kept) == 5
    for rank in (0, 1):
        as_rank(rank, 2)
        make(config, name)
    assert outputs(config, name) == outputs(alone, name)
    changed = [path for path, time in kept.items() if path.stat().st_mtime_ns != time]
    # Of an image with several files, those before the last are written again.
    assert len(changed) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["make-ir-labels", "make-pseudo-masks"])  # with and without threads
def test_a_full_disk_ends_a_step_that_can_go_on(
    finished_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = start(finished_run, tmp_path / "run", name)
    before = threading.active_count()
    with monkeypatch.context() as patch:
        stop_after(patch, 3, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(OSError, match="No space left on device"):
            make(config, name)
    assert threading.active_count() == before
    assert not list(Path(config.output).rglob(".tmp*"))
    state = read_state(Path(config.output) / name)
    assert state is not None
    assert state["done"] is False
    make(config, name)
    alone = start(finished_run, tmp_path / "alone", name)
    make(alone, name)
    assert outputs(config, name) == outputs(alone, name)


@pytest.mark.slow
def test_processes_at_the_same_time_join_their_instances(finished_run: Config, tmp_path: Path) -> None:
    name = "make-instance-masks"
    config = start(finished_run, tmp_path / "run", name)
    save(config, tmp_path / "config.yaml")
    code = (
        "import sys; from wsss_fast.steps import _inference; _inference._CHUNK = 1; "
        "_inference._BATCH_PIXELS = 1; from wsss_fast.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, name, "--config", str(tmp_path / "config.yaml")]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    folder = Path(config.output) / name
    for split in config.instances.splits:
        merged = read_json(folder / f"{split}.json")
        single = [entry for path in sorted((folder / split).glob("*.json")) for entry in read_json(path)]
        assert len(merged) == len(single) > 0
        assert {str(entry) for entry in merged} == {str(entry) for entry in single}


# --- chunks and batches --------------------------------------------------------------------------------


class Sizes(ImageSet):
    """Images of given sizes; None is one that cannot be read."""

    classes = ("thing",)

    def __init__(self, sizes: Iterable[tuple[int, int] | None]) -> None:
        self.sizes = list(sizes)
        self.names_asked = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        self.names_asked += 1
        return f"i{index}"

    def source(self, index: int) -> str:
        return f"/made/up/i{index}.jpg"

    def image(self, index: int) -> np.ndarray:
        size = self.sizes[index]
        if size is None:
            raise DataError(self.source(index), "expected an image, got none")
        return np.zeros((*size, 3), np.uint8)

    def labels(self, index: int) -> np.ndarray:
        return np.array([True])

    def mask(self, index: int) -> np.ndarray | None:
        return None


@pytest.fixture
def under_way(tmp_path: Path) -> Step:
    return Step("make-cams", tmp_path, done=False, seconds_before=0, strict=False)


CONFIG = Config(data=DataConfig(workers=0))


def batches_of(
    this: Step, images: ImageSet, folder: Path | None
) -> list[tuple[list[int], tuple[int, int], list[bool]]]:
    made = equal_size_batches(CONFIG, this, images, "train", folder, ".npz")
    return [(batch.indices, batch.size, batch.due) for batch in made]


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (128, 128), (192, 192), (500, 375)])
def test_of_images_of_one_size_batches_are_as_full_as_without_chunks(
    under_way: Step, tmp_path: Path, size: tuple[int, int]
) -> None:
    images = Sizes([size] * 70)
    chunked = batches_of(under_way, images, tmp_path)
    assert chunked == batches_of(under_way, images, None)
    assert {len(indices) for indices, _, _ in chunked[:-1]} == {max(1, 2**17 // (size[0] * size[1]))}


def test_a_batch_with_a_missing_image_is_made_whole(
    under_way: Step, tmp_path: Path, as_rank: Callable[[int, int], None]
) -> None:
    images = Sizes([(256, 256)] * 16 + [(300, 300)] + [(256, 256)] * 23)  # twos, in chunks of 16
    whole = {rank: [] for rank in (0, 1)}  # type: dict[int, list[list[int]]]
    for rank in whole:
        as_rank(rank, 2)
        whole[rank] = [indices for indices, _, _ in batches_of(under_way, images, tmp_path)]
    assert sorted(chain(*whole[0], *whole[1])) == list(range(40))
    assert whole[1] == [[16], *([k, k + 1] for k in range(17, 31, 2)), [31]]
    for index in range(40):
        if index not in (5, 20):
            (tmp_path / f"i{index}.npz").touch()
    as_rank(0, 2)
    under_way.items = 0
    assert batches_of(under_way, images, tmp_path) == [([4, 5], (256, 256), [False, True])]
    assert under_way.items == 24
    as_rank(1, 2)
    assert batches_of(under_way, images, tmp_path) == [([19, 20], (256, 256), [False, True])]


def test_unreadable_images_are_noted_and_change_no_chunk(
    under_way: Step, tmp_path: Path, as_rank: Callable[[int, int], None]
) -> None:
    images = Sizes([None, *[(256, 256)] * 20, None, *[(256, 256)] * 5])
    for rank in (0, 1):
        as_rank(rank, 2)
        made = [indices for indices, _, _ in batches_of(under_way, images, tmp_path)]
        assert [*chain(*made)] == ([*range(1, 16)] if rank == 0 else [*range(16, 21), *range(22, 27)])
    assert sorted(under_way.skipped) == ["i0", "i21"]
    assert under_way.chunks == {"train": 16}


def test_a_million_images_do_not_delay_the_first(under_way: Step, tmp_path: Path) -> None:
    images = Sizes([])
    images.sizes = _Endless()  # type: ignore[assignment]
    with_batches = iter(equal_size_batches(CONFIG, under_way, images, "train", tmp_path, ".npz"))
    assert next(with_batches).indices == list(range(8))
    first = iter(each_image(CONFIG, under_way, images, "val", tmp_path, ".png"))
    assert next(first).i == 0
    assert images.names_asked < 200


class _Endless:
    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> tuple[int, int]:
        return (128, 128)


def test_finished_images_are_items_too(under_way: Step, tmp_path: Path) -> None:
    images = Sizes([(256, 256)] * 40)
    for index in range(32):
        (tmp_path / f"i{index}.png").touch()
    due = each_image(CONFIG, under_way, images, "train", tmp_path, ".png")
    assert [item.i for item in due] == [*range(32, 40)]
    assert under_way.items == 40


# --- what does not work by several processes -----------------------------------------------------------


def test_an_ablation_is_one_process(tmp_path: Path, as_rank: Callable[[int, int], None]) -> None:
    as_rank(0, 2)
    with pytest.raises(ConfigError, match="WORLD_SIZE: expected 1 for `ablate`"):
        ablate(Config(output=str(tmp_path)))


@pytest.mark.slow
def test_processes_have_to_cut_the_images_alike(
    finished_run: Config, tmp_path: Path, as_rank: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = start(finished_run, tmp_path / "run", "make-cams")
    for rank in (0, 1):
        as_rank(rank, 2)
        monkeypatch.setattr(_inference, "_CHUNK", 16 + 32 * rank)
        make(config, "make-cams")
    with pytest.raises(StepError, match=r"cut the images alike, got \[\{'train': 32, .*step-0-of-2.json"):
        read_state(Path(config.output) / "make-cams")
