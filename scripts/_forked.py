"""Commands of wsss-fast in forked processes: they start at once, and may be killed.

This process imports everything heavy first and computes nothing itself, so that a child finds it all there
and a thread pool never crosses a fork.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

from wsss_fast.cli import COMMANDS, main

_PATIENCE = 10.0
"""Seconds that the other ranks get to end by themselves, as torchrun terminates them."""


def import_everything() -> None:
    """What the commands import when they start."""
    for command in COMMANDS.values():
        importlib.import_module(f"wsss_fast.{command.module}")
    for module in (
        "jsonargparse",
        "matplotlib.pyplot",
        "torchmetrics",
        "yaml",
        "jinja2",
        "safetensors.torch",
        "pycocotools.mask",
        *(f"wsss_fast.prepare.{name}" for name in ("lid", "voc", "coco", "folder", "command")),
    ):
        importlib.import_module(module)


@dataclass
class Running:
    """The processes of one command: one, or as many as there are ranks."""

    processes: list[ForkProcess]
    started: float
    groups: list[int] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether all have come to an end by themselves."""
        return all(process.exitcode is not None for process in self.processes)

    def wait(self, timeout: float) -> int:
        """The exit code: 0, or that of the first process that failed, which the others are then ended for.

        Raises `TimeoutError`, with everything killed.
        """
        end = time.perf_counter() + timeout
        while time.perf_counter() < end:
            codes = [process.exitcode for process in self.processes]
            bad = [code for code in codes if code]
            if bad:
                self._end_others()
                return bad[0]
            if None not in codes:
                return 0
            time.sleep(0.005)
        self.kill_all()
        raise TimeoutError(f"not done after {timeout:.0f} s")

    def kill_one(self, generator: random.Random) -> None:
        """SIGKILL for one process alone, without the workers that read for it. As torchrun does, the other
        ranks are ended."""
        victim = generator.choice(self.processes)
        victim.kill()
        victim.join()
        self._end_others()

    def kill_all(self) -> None:
        """SIGKILL for all processes and their workers at once."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in self.processes:
            process.kill()  # where it has not got to make its group yet
            process.join()

    def _end_others(self) -> None:
        for process in self.processes:
            process.terminate()
        end = time.perf_counter() + _PATIENCE
        for process in self.processes:
            process.join(max(0.0, end - time.perf_counter()))
            process.kill()
            process.join()

    def orphans(self) -> list[int]:
        """Groups that still have a process: workers that outlive the one that they read for."""
        return [group for group in self.groups if _has_process(group)]


def start(
    arguments: Sequence[str], log: Path, ranks: int = 1, variables: Mapping[str, str] | None = None
) -> Running:
    """Start ``wsss-fast ARGUMENTS``; what it prints is appended to ``log``.

    ``ranks``: how many processes, with the variables that torchrun sets. Each leads a group of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.perf_counter()
    port = _free_port() if ranks > 1 else 0
    processes = []
    for rank in range(ranks):
        environment = {**(variables or {}), **(_torchrun(rank, ranks, port) if ranks > 1 else {})}
        process = multiprocessing.get_context("fork").Process(
            target=_child, args=(list(arguments), str(log), environment)
        )
        process.start()
        processes.append(process)
    return Running(processes, started, [process.pid for process in processes if process.pid])


def wait_for_orphans(groups: Sequence[int], timeout: float) -> list[int]:
    """Those groups that still have a process after so many seconds."""
    end = time.perf_counter() + timeout
    left = [group for group in groups if _has_process(group)]
    while left and time.perf_counter() < end:
        time.sleep(0.1)
        left = [group for group in left if _has_process(group)]
    return left


def _child(arguments: list[str], log: str, variables: dict[str, str]) -> None:
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.update(variables)
    sys.exit(main(arguments))


def _torchrun(rank: int, world: int, port: int) -> dict[str, str]:
    """Of one machine. Without the agent's store: the first rank makes it."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _has_process(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
