"""The profiles of the fuzz tests, and the table of their cases."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

import wsss_fast
from fuzz.counting import passed

# A case on a busy machine may take any time, and nothing is kept on disk: a run depends on its seed alone.
# The fixture that seeds torch before each test does not matter: no case draws from its generator.
_ALWAYS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
}
settings.register_profile("ci", derandomize=True, max_examples=60, **_ALWAYS)
settings.register_profile(
    "long", derandomize=False, max_examples=int(os.environ.get("FUZZ_CASES", "700")), **_ALWAYS
)
settings.load_profile("ci")  # --hypothesis-profile=long loads the other one later

_started = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    # With "=" before DIR: pytest would take it for a folder of tests otherwise, as it does not know this yet.
    parser.addoption("--fuzz-report", metavar="DIR", help="write the table of cases to a file there")


def pytest_sessionstart(session: pytest.Session) -> None:
    global _started
    _started = time.monotonic()


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """References in plain torch work on tensors that are too small to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    ran: dict[str, list[Any]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            name = _name_of(report.nodeid)
            if name in passed and getattr(report, "when", "") == "call":
                seconds, failures = ran.get(name, [0.0, 0])
                ran[name] = [seconds + report.duration, failures + (outcome == "failed")]
    if not ran:
        return
    rows = [(name, passed[name], seconds, failures) for name, (seconds, failures) in sorted(ran.items())]
    terminalreporter.section("fuzz: cases that passed")
    for name, count, seconds, failures in rows:
        terminalreporter.write_line(f"{count:7d}  {seconds:7.1f} s  {name}{'  FAILED' if failures else ''}")
    terminalreporter.write_line(f"{sum(row[1] for row in rows):7d}  in all")
    folder = config.getoption("fuzz_report", default=None)
    if folder:
        path = Path(folder) / f"fuzz_{_machine()}_torch{_torch()}_wsss_fast{wsss_fast.__version__}.md"
        path.write_text(_report(rows, config), encoding="utf-8")
        terminalreporter.write_line(f"wrote {path}")


def _name_of(nodeid: str) -> str:
    path, _, test = nodeid.partition("::")
    return f"{Path(path).stem}::{test.partition('[')[0]}"


def _report(rows: Sequence[tuple[str, int, float, int]], config: pytest.Config) -> str:
    seed = config.getoption("hypothesis_seed", default=None)
    isa = wsss_fast.build_info()["isa"]
    lines = [
        f"wsss_fast {wsss_fast.__version__} ({isa}), torch {torch.__version__}; {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        f"`make fuzz CASES={settings().max_examples} SEED={seed}`: {sum(row[1] for row in rows):,} cases, "
        f"{sum(row[3] for row in rows)} failures, {(time.monotonic() - _started) / 60:.0f} minutes.",
        "",
        "| test | cases | failures | seconds |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name.replace('::', ': ')} | {count:,} | {failures} | {seconds:.0f} |"
        for name, count, seconds, failures in rows
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    return f"{platform.machine()}-{os.cpu_count()}cores"


def _torch() -> str:
    return torch.__version__.partition("+")[0]
