"""Scripts in an interpreter of their own: what could hang, or kill the process, fails a test there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON_TESTS = Path(__file__).resolve().parents[1]

# For scripts that say with `right()` whether all is well: `fork(depth)` starts a child that asks, which has
# one of its own, as deep as that. The result waits for the child and gives its status: 0 if all was well.
FORKS = """
import os, signal

def child(depth):
    signal.alarm(60)  # a child that hangs is killed, which its parent sees
    ok = right()
    if depth:
        ok &= fork(depth - 1)() == 0
    os._exit(0 if ok else 1)

def fork(depth):
    pid = os.fork()
    if pid == 0:
        child(depth)
    return lambda: os.waitpid(pid, 0)[1]
"""


def run_script(body: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``body``, which can import the tests' modules; a hang is a failure."""
    path = os.pathsep.join([str(PYTHON_TESTS), *sys.path])  # the tree is on it only if it is on ours
    try:
        return subprocess.run(
            [sys.executable, "-c", body],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"hung for {timeout:g} s: {error.stdout!r} {error.stderr!r}")


def check_script(body: str, timeout: float = 120, **environment: str) -> str:
    """What ``body`` prints, having run to its end."""
    run = run_script(body, timeout, **environment)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
