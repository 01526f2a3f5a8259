"""The CPU core under tools that watch memory and threads: AddressSanitizer, UBSan, ThreadSanitizer, Valgrind.

    make sanitize
    make sanitize PARTS="thread valgrind"

`address` runs the driver (csrc/driver/: every op, called from C++) with AddressSanitizer, UBSan and
LeakSanitizer, and the Python tests with the first two; `thread` runs the driver with ThreadSanitizer. Both do
so with each instruction set that this CPU has, and results must be the same to the bit. `valgrind` runs the
driver under memcheck, which knows no AVX-512, with the baseline. Every run of the driver must have called all
that Python binds. What each run printed is kept in build/sanitize/logs.

Exit codes: 0 all well, 1 something was found, 2 wrong arguments or a tool that is missing.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILDS = ROOT / "build" / "sanitize"
LOGS = BUILDS / "logs"

PARTS = ("address", "thread", "valgrind")
ISAS = ("baseline", "avx2", "avx512")

_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # The child of the driver's fork starts threads of its own, which is what it is to show; the tool would
    # rather end it.
    "TSAN_OPTIONS": "die_after_fork=0:second_deadlock_stack=1",
}

_MEMCHECK = (
    "valgrind",
    "--error-exitcode=1",
    "--leak-check=full",
    # What sleeping threads hold is "possibly lost" as the process ends: they are never joined.
    "--errors-for-leak-kinds=definite",
    # By turns, so that a thread that waits for another gets no time on end.
    "--fair-sched=yes",
    f"--suppressions={ROOT / 'scripts' / 'valgrind.supp'}",
)


@dataclass
class Row:
    """One run, as the table at the end has it."""

    part: str
    what: str
    isa: str
    count: str
    minutes: float
    problems: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--pytest", default="", help="shell command that runs tests with the sanitized build")
    parser.add_argument("--tests", default="", help="what it runs once, with the widest instruction set")
    parser.add_argument("--isa-tests", default="", help="what it runs with each of the others")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"expected parts of {', '.join(PARTS)}, got {part}")
    if "valgrind" in arguments.parts and shutil.which("valgrind") is None:
        print(
            "sanitize: valgrind is not installed. Install it (as apt-get install valgrind does on Debian), "
            'or leave it out: make sanitize PARTS="address thread"',
            file=sys.stderr,
        )
        return 2

    LOGS.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for part in arguments.parts:
        if part == "valgrind":
            rows.append(drive(part, "baseline", _MEMCHECK, "few"))
            continue
        isas = usable_isas(part)
        for isa in isas:
            # Which thread touches what does not depend on the instruction set, and this tool is slow.
            sizes = "few" if part == "thread" and isa != isas[-1] else "more"
            rows.append(drive(part, isa, fixed_addresses() if part == "thread" else (), sizes))
        if part == "address" and arguments.pytest:
            for isa in isas:
                tests = arguments.tests if isa == isas[-1] else arguments.isa_tests
                rows.append(run_tests(f"{arguments.pytest} {tests}", isa))
    compare_results(rows)
    print_table(rows)
    return 1 if any(row.problems for row in rows) else 0


def driver_of(part: str) -> Path:
    return BUILDS / part / "wsss_fast_driver"


def usable_isas(part: str) -> tuple[str, ...]:
    """The instruction sets from the baseline to the widest that this build has and this CPU runs."""
    command = (*(fixed_addresses() if part == "thread" else ()), str(driver_of(part)), "--isa")
    environment = {name: value for name, value in os.environ.items() if name != "WSSS_FAST_ISA"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return ISAS[: ISAS.index(said.strip()) + 1]


def fixed_addresses() -> tuple[str, ...]:
    """A prefix that turns off random addresses, where that is allowed: older ThreadSanitizers want it."""
    prefix = ("setarch", "-R")
    if shutil.which("setarch") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return prefix
    return ()


def drive(part: str, isa: str, prefix: tuple[str, ...], sizes: str) -> Row:
    results, entries = _results(part, isa), LOGS / f"{part}-{isa}.entries"
    results.unlink(missing_ok=True)
    entries.unlink(missing_ok=True)
    command = [*prefix, str(driver_of(part)), "--sizes", sizes]
    command += ["--results", str(results), "--entries", str(entries)]
    row, output = _run(part, "driver", isa, command)
    counted = re.search(r"^(\d+) checks, (\d+) failed$", output, re.MULTILINE)
    row.count = f"{counted[1]} checks" if counted else "?"
    if counted is None:
        row.problems.append("it did not reach its end")
    elif entries.exists():
        missed = bound_names() - set(entries.read_text().split())
        row.problems += [f"{name} is bound for Python and was not called" for name in sorted(missed)]
    if part == "valgrind" and re.search(r"ERROR SUMMARY: [1-9]", output):
        row.problems.append("valgrind has found errors")
    return row


def run_tests(command: str, isa: str) -> Row:
    row, output = _run("address", "tests", isa, ["sh", "-c", command], cwd=ROOT / "python_tests")
    passed = re.findall(r"(\d+) passed", output)
    row.count = f"{passed[-1]} tests" if passed else "?"
    if not passed:
        row.problems.append("no test passed")
    return row


def bound_names() -> set[str]:
    """The functions and classes that bindings.cpp gives to Python on every machine, by its type stub."""
    # Constants, which the driver has from the headers that the bindings have them from.
    enumerations = {"CamRelu", "CamNormalize", "TtaActivation", "LabelType"}
    tree = ast.parse((ROOT / "wsss_fast" / "_C.pyi").read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    of_cuda = {name for name in names if "cuda" in name.lower()} | {"CrfOutput", "Element"}
    return names - enumerations - of_cuda


def compare_results(rows: list[Row]) -> None:
    """All builds and instruction sets have the same results, case by case."""
    first: dict[str, str] = {}
    for row in rows:
        file = _results(row.part, row.isa)
        if row.what != "driver" or not file.exists():
            continue
        for line in file.read_text().splitlines():
            name, digest = line.rsplit(": ", 1)
            if first.setdefault(name, digest) != digest:
                row.problems.append(f"{name}: other results than {rows[0].part}, {rows[0].isa}")


def print_table(rows: list[Row]) -> None:
    print()
    for row in rows:
        verdict = "clean" if not row.problems else f"{len(row.problems)} problems"
        print(f"{row.part:<9} {row.what:<7} {row.isa:<9} {row.count:>12} {row.minutes:6.1f} min  {verdict}")
    for row in rows:
        for problem in row.problems[:20]:
            print(f"{row.part}, {row.what}, {row.isa}: {problem}")


def _results(part: str, isa: str) -> Path:
    return LOGS / f"{part}-{isa}.results"


def _run(part: str, what: str, isa: str, command: list[str], cwd: Path = ROOT) -> tuple[Row, str]:
    """Run it with the instruction set, its output kept; its end is shown where it failed."""
    log = LOGS / f"{part}-{what}-{isa}.log"
    print(f"{part}, {what}, {isa} ...", flush=True)
    begin = time.monotonic()
    environment = {**os.environ, **_OPTIONS, "WSSS_FAST_ISA": isa}
    with log.open("w") as file:
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=cwd, env=environment)
    row = Row(part, what, isa, "", (time.monotonic() - begin) / 60, [])
    output = log.read_text(errors="replace")
    if ended.returncode != 0:
        row.problems.append(f"exit code {ended.returncode}: {log.relative_to(ROOT)}")
        print("\n".join(output.splitlines()[-60:]))
    return row, output


if __name__ == "__main__":
    sys.exit(main())
