"""Scripts in an interpreter of their own: what could hang, or kill the process, fails a test there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON_TESTS = Path(__file__).resolve().parents[1]


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
