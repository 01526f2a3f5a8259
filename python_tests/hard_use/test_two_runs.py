"""Two commands on one output folder: the second is told of the first, and nothing happens to either."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

from wsss_fast._folder_lock import InUseError, hold
from wsss_fast.cli import main
from wsss_fast.files import WriteError


@dataclass
class Other:
    """A process of its own that holds a folder, or was told why it cannot."""

    pid: int
    said: str

    def kill(self) -> None:
        """The process alone, not those that it forked."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextmanager
def process(folder: Path, rank: int = 0, world: int = 1, *, with_child: bool = False) -> Iterator[Other]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold_for_ever(writing, folder, rank, world, with_child=with_child)
    os.close(writing)
    with open(reading) as file:
        said = file.readline().strip()
    try:
        yield Other(pid, said)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # it was killed before
            os.waitpid(pid, 0)


def _hold_for_ever(writing: int, folder: Path, rank: int, world: int, *, with_child: bool) -> None:
    """What the process does. It comes to no end by itself, so that there is a group to kill."""
    try:
        os.setsid()
        try:
            with hold(folder, "output", rank=rank, world=world):
                if with_child and os.fork() == 0:  # as workers that read images do, it outlives its parent
                    time.sleep(60)
                os.write(writing, b"held\n")
                time.sleep(60)
        except InUseError as error:
            os.write(writing, f"{error}\n".encode())
            time.sleep(60)
    finally:
        os._exit(1)


def held(folder: Path, rank: int = 0, world: int = 1) -> bool:
    """Whether this process could have it."""
    try:
        with hold(folder, "output", rank=rank, world=world):
            return True
    except InUseError:
        return False


MESSAGE = (
    r"output: {folder} is in use by another wsss-fast command \(process {pid} on \S+{rank}, since "
    r"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\)"
)


def message(folder: Path, pid: int, rank: str = "") -> str:
    return MESSAGE.format(folder=re.escape(str(folder)), pid=pid, rank=rank)


def snapshot(root: Path) -> dict[str, bytes]:
    """Without the lock: if the process that has it closes the file, it is gone."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): path.read_bytes() for path in files}


COMMANDS_OF_A_FOLDER = {
    **{name: [name, "--output"] for name in ("make-cams", "run", "evaluate", "report")},
    "prepare folder": ["prepare", "folder", "--source=data", "--destination"],
}
"""All others come by the same way."""


def test_commands_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    folder = Path("runs/x")
    with process(folder.absolute()) as first:
        assert first.said == "held"
        before = snapshot(tmp_path)
        for arguments in COMMANDS_OF_A_FOLDER.values():
            assert main([*arguments, str(folder)]) == 1, arguments
            errors = capsys.readouterr().err.splitlines()
            key = arguments[-1].removeprefix("--") if arguments[0] != "prepare" else "--destination"
            expected = message(folder, first.pid).replace("output:", f"{key}:", 1)
            assert len(errors) == 1, errors
            assert re.fullmatch(f"wsss-fast {arguments[0]}: error: {expected}", errors[0]), errors
        assert snapshot(tmp_path) == before  # not even config.yaml
        os.kill(first.pid, 0)
    assert list(folder.iterdir()) == [folder / ".lock"]  # of one that was killed, which stops nobody
    assert main(["report", "--output", str(folder)]) == 1
    assert "expected the outputs of a run" in capsys.readouterr().err
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("way", ["link", "relative", "upwards"])
def test_other_ways_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (tmp_path / "run/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path)
    other = {"link": tmp_path / "link", "relative": Path("run"), "upwards": Path("run/below/..")}[way]
    with process(tmp_path / "run") as first:
        assert first.said == "held"
        with pytest.raises(InUseError, match=message(other, first.pid)), hold(other, "output"):
            pytest.fail("it was given away twice")


def test_ranks_of_one_run_are_let_in_together(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with process(folder, 0, 3) as first, process(folder, 2, 3) as third:  # in this order
        assert [first.said, third.said] == ["held", "held"]
        for rank, world in ((0, 3), (2, 3), (0, 1), (0, 2), (1, 2), (3, 4), (1, 4), (0, 8)):
            assert not held(folder, rank, world), (rank, world)
            with process(folder, rank, world) as another:
                who = (third.pid, 2) if rank == 2 else (first.pid, 0)
                assert re.fullmatch(message(folder, who[0], f", rank {who[1]} of 3"), another.said)
        assert held(folder, 1, 3)  # and it does not take the file away from the others
        assert not held(folder, 0, 3)
        first.kill()
        assert held(folder, 0, 3)
        assert not held(folder)
    assert held(folder)
    assert list(folder.iterdir()) == []


def test_one_stops_ranks(tmp_path: Path) -> None:
    with process(tmp_path) as first:
        assert first.said == "held"
        for rank, world in ((0, 2), (1, 2), (7, 8), (500, 1000)):
            assert not held(tmp_path, rank, world)


def test_a_killed_process_frees_it_though_its_children_live(tmp_path: Path) -> None:
    with process(tmp_path, with_child=True) as first:
        assert first.said == "held"
        assert not held(tmp_path)
        first.kill()  # the child, which is in its process group, stays
        os.killpg(first.pid, 0)
        assert held(tmp_path)


def test_a_forked_child_that_ends_does_not_free_it(tmp_path: Path) -> None:
    with hold(tmp_path, "output"):
        child = os.fork()
        if child == 0:
            os._exit(0)  # closes its copy of the file
        os.waitpid(child, 0)
        with process(tmp_path) as other:
            assert re.fullmatch(message(tmp_path, os.getpid()), other.said)


def test_two_threads_of_a_process(tmp_path: Path) -> None:
    found: list[object] = []

    def second() -> None:
        try:
            with hold(tmp_path, "output"):
                found.append("held")
        except InUseError as error:
            found.append(str(error))

    with hold(tmp_path, "output"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        with process(tmp_path) as other:  # the look of the second has not ended the lock of the first
            assert re.fullmatch(message(tmp_path, os.getpid()), other.said)
    assert found == [f"output: {tmp_path} is in use by another thread of this process"]
    second()
    assert found[1:] == ["held"]


def _go_in_and_out(folder: Path, inside: Path) -> int:
    """How often it could within a second; it fails where two are inside."""
    taken = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with suppress(InUseError), hold(folder, "output"):
            inside.touch(exist_ok=False)
            taken += 1
            inside.unlink()
    return taken


def test_a_crowd_goes_in_one_by_one(tmp_path: Path) -> None:
    """The file and the folder are made and removed all the time."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        counts = pool.starmap(_go_in_and_out, 4 * [(tmp_path / "run", tmp_path / "inside")], chunksize=1)
    assert min(counts) > 10
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with hold(tmp_path, "output"):
        pass
    assert f"output: {tmp_path} cannot be locked ({os.strerror(code)})" in capsys.readouterr().err


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("missing/folder")
    for folder in (tmp_path / "file", tmp_path / "file/below", tmp_path / "nowhere"):
        with pytest.raises(WriteError, match=re.escape(str(folder))), hold(folder, "output"):
            pytest.fail("there is no such folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]\n", b'{"byte": 1}\n', os.urandom(100)])
def test_what_a_kill_may_have_left(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with hold(tmp_path, "output"):
        line = json.loads((tmp_path / ".lock").read_text())
        assert line["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_the_first_goes_on_undisturbed_and_the_second_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two whole commands, the second of which comes in the middle of the first."""
    pytest.importorskip("timm", reason="needs the pipeline extra")
    from tiny_run import tiny_config

    from wsss_fast.config_file import save
    from wsss_fast.steps.train_classifier import ClassifierLoss

    config = tiny_config(tmp_path / "run")
    save(config, tmp_path / "run.yaml")
    command = ["train-classifier", "--config", str(tmp_path / "run.yaml")]
    loss = ClassifierLoss.__call__
    codes: list[int] = []

    def with_another(self: ClassifierLoss, *args: Any) -> Any:
        if not codes:
            before = snapshot(tmp_path)
            child = os.fork()
            if child == 0:
                os._exit(main([*command, "--seed=7"]))
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            assert snapshot(tmp_path) == before
        return loss(self, *args)

    monkeypatch.setattr(ClassifierLoss, "__call__", with_another)
    assert main(command) == 0
    assert codes == [1]
    errors = capfd.readouterr().err
    assert re.search(
        f"^wsss-fast train-classifier: error: {message(tmp_path / 'run', os.getpid())}$", errors, re.M
    )
    assert "seed: 0" in (tmp_path / "run/config.yaml").read_text()
    assert (tmp_path / "run/train-classifier/weights.safetensors").exists()
    assert main(command) == 0
    assert not list((tmp_path / "run").glob(".*"))
