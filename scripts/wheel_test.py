"""The wheels of dist/, each alone in a clean environment, outside the checkout: do the tests of the ops pass?

    make wheel PYTHONS=python3.10,python3.12,python3.13 && make wheel-test
    python scripts/wheel_test.py 3.11:2.4.0 3.11:newest 3.11:2.14.1:avx2

A case is PYTHON:TORCH, or PYTHON:TORCH:ISA to force an instruction set. For each: a new environment of
`pythonPYTHON` from PATH, into it the wheel of dist/ for that Python, that torch, whatever the wheel itself
requires, and test tools. Nothing of the extra `pipeline` is there. The tests are copied away from the
checkout, so that they cannot import it. Then the wheel is uninstalled, and nothing of it may be left.

An environment takes 1 to 8 GB while its case runs, a case some minutes of two cores. The table in
benchmarks/results/wheel_*.md is written anew after each case; cases that are not run again stay in it.

Exit codes: 0 all passed, 1 something failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import _cpu  # noqa: E402

TESTS = (
    "ops",
    "nn",
    "compat",
    "fuzz",
    "hard_use/test_bad_input_ops.py",
    "test_isa.py",
    "test_check_values.py",
    "test_parallel_and_fork.py",
)
"""Of python_tests/: what needs no more than the ops."""

TOOLS = ("pytest", "pytest-timeout", "hypothesis")

ISAS = ("baseline", "avx2", "avx512")

# The oldest torch that is supported, one in the middle, one that was tested with all else, the newest; each
# Python; each instruction set.
CASES = (
    "3.11:2.4.0",
    "3.11:2.9.1",
    "3.11:newest",
    "3.11:2.14.1:baseline",
    "3.11:2.14.1:avx2",
    "3.11:2.14.1:avx512",
    "3.10:2.14.1",
    "3.12:2.14.1",
    "3.13:newest",
)


@dataclass(frozen=True)
class Case:
    python: str
    torch: str
    isa: str
    """Empty for the widest that the CPU has."""

    @classmethod
    def parse(cls, text: str) -> Case:
        """Raises ValueError for a text that is no case."""
        match = re.fullmatch(rf"(3\.\d+):([\w.+]+)(?::({'|'.join(ISAS)}))?", text)
        if match is None:
            raise ValueError(
                f"expected PYTHON:TORCH or PYTHON:TORCH:ISA, such as 3.11:2.4.0:avx2, got {text!r}"
            )
        return cls(match[1], match[2], match[3] or "")

    @property
    def name(self) -> str:
        return ":".join(part for part in (self.python, self.torch, self.isa) if part)


@dataclass
class Row:
    """What came of a case."""

    case: str
    wheel: str
    sha256: str
    python: str
    torch: str
    numpy: str
    isa: str
    """Which one ran."""
    passed: int
    failed: int
    skipped: int
    minutes: float
    problems: list[str]


# Printed by the interpreter of the environment, outside the checkout.
_ASK = """
import importlib.util as u, json, platform, numpy, torch, wsss_fast
print(json.dumps({
    "place": wsss_fast.__file__, "isa": wsss_fast.build_info()["isa"], "python": platform.python_version(),
    "torch": torch.__version__, "numpy": numpy.__version__,
    "pipeline": [m for m in ("timm", "torchvision", "lightning_fabric", "jsonargparse") if u.find_spec(m)],
}))
"""


class Environment:
    """A new virtual environment, and the commands that run in it, in a folder outside the checkout."""

    def __init__(self, folder: Path, python: str, isa: str, log: Path) -> None:
        self.place = folder
        self._log = log
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WSSS_FAST_"))}
        shared = os.environ.get("WSSS_FAST_SHARED", str(ROOT.parent / "shared"))
        self._variables = {**variables, "WSSS_FAST_SHARED": shared, **({"WSSS_FAST_ISA": isa} if isa else {})}
        self.run([python, "-m", "venv", str(folder / "venv")])

    def command(self, name: str) -> str:
        return str(self.place / "venv" / "bin" / name)

    def python(self, *arguments: str) -> None:
        self.run([self.command("python"), *arguments])

    def run(self, command: list[str]) -> None:
        """Raises CalledProcessError; what the command says is in the log."""
        with self._log.open("a") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            subprocess.run(
                command, cwd=self.place, env=self._variables, stdout=log, stderr=log, check=True, timeout=7200
            )

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command(command[0]), *command[1:]],
            cwd=self.place,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


def run_case(case: Case, wheel: Path, work: Path) -> Row:
    """Install, test, uninstall; the environment is removed, the log stays."""
    start = time.monotonic()
    folder = work / case.name.replace(":", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = Environment(folder, f"python{case.python}", case.isa, work / f"{folder.name}.log")
    try:
        torch = "torch" if case.torch == "newest" else f"torch=={case.torch}"
        options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-cache-dir"]
        environment.python("-m", "pip", "install", *options, str(wheel), torch, *TOOLS)
        shutil.copytree(
            ROOT / "python_tests", folder / "python_tests", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "pyproject.toml", folder)  # pytest's settings
        answer = environment.ask("python", "-c", _ASK)
        if answer.returncode != 0:
            raise RuntimeError(f"import wsss_fast failed: {answer.stderr.strip().splitlines()[-1]}")
        facts = json.loads(answer.stdout)
        problems = _problems(environment, facts)
        counts, failed = _run_tests(environment)
        problems += [f"failed: {name}" for name in failed]
        environment.python("-m", "pip", "uninstall", "--quiet", "--yes", "wsss_fast")
        problems += [f"left by uninstalling: {path.name}" for path in folder.glob("venv/**/wsss?fast*")]
    finally:
        shutil.rmtree(folder)
    return Row(
        case=case.name,
        wheel=wheel.name,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        python=facts["python"],
        torch=facts["torch"],
        numpy=facts["numpy"],
        isa=facts["isa"],
        minutes=round((time.monotonic() - start) / 60, 1),
        problems=problems,
        **counts,
    )


def _problems(environment: Environment, facts: dict[str, object]) -> list[str]:
    """What is wrong with the installation before any test."""
    problems = []
    if not str(facts["place"]).startswith(str(environment.place)):
        problems.append(f"expected the wheel to be imported, got {facts['place']}")
    if facts["pipeline"]:
        problems.append(f"expected nothing of the extra pipeline, got {facts['pipeline']}")
    version = environment.ask("wsss-fast", "--version")
    if version.returncode != 0:
        problems.append(f"wsss-fast --version: {version.stderr.strip()}")
    step = environment.ask("wsss-fast", "make-cams")
    if step.returncode != 1 or "pip install 'wsss_fast[pipeline]'" not in step.stderr:
        problems.append(f"wsss-fast make-cams: expected the name of the extra, got {step.stderr.strip()}")
    return problems


def _run_tests(environment: Environment) -> tuple[dict[str, int], list[str]]:
    """Counts of the tests that passed, failed and were skipped, and the names of those that failed."""
    tests = environment.place / "python_tests"
    report = environment.place / "report.xml"
    options = ["-q", "-c", "../pyproject.toml", "-p", "no:cacheprovider", f"--junitxml={report}"]
    code = f"import os, pytest, sys; os.chdir({str(tests)!r}); sys.exit(pytest.main({[*options, *TESTS]!r}))"
    try:
        environment.python("-c", code)
    except subprocess.CalledProcessError as error:
        if error.returncode != 1 or not report.exists():  # 1: tests failed
            raise
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    passed = len(cases) - len(failed) - len(skipped)
    return {"passed": passed, "failed": len(failed), "skipped": len(skipped)}, names


def wheel_for(case: Case, folder: Path) -> Path:
    """The one wheel for the case's Python. Raises ValueError if there is none, or more."""
    found = sorted(folder.glob(f"wsss_fast-*-cp{case.python.replace('.', '')}-*.whl"))
    if len(found) != 1:
        raise ValueError(
            f"{folder}: expected one wheel for Python {case.python}, got {len(found)}; "
            f"make wheel PYTHONS=python{case.python}"
        )
    return found[0]


def write_table(rows: dict[str, Row], path: Path) -> None:
    """The rows as JSON, and as a table that is read."""
    ordered = sorted(
        rows.values(), key=lambda row: (CASES.index(row.case) if row.case in CASES else 99, row.case)
    )
    path.with_suffix(".json").write_text(json.dumps([asdict(row) for row in ordered], indent=1) + "\n")
    lines = [
        f"The wheel alone, outside the checkout: the tests of {', '.join(TESTS)}. {_cpu.headline()}",
        "",
        "`make wheel-test`. Skipped: what needs a GPU, CUDA kernels on the host, or pydensecrf. Minutes are "
        "those of the whole case, installing included.",
        "",
        "| Python | torch | numpy | instruction set | passed | failed | skipped | minutes | wheel |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    wheels = list(dict.fromkeys((row.wheel, row.sha256) for row in ordered))
    for row in ordered:
        isa = f"{row.isa}, forced" if row.case.endswith(ISAS) else row.isa
        lines.append(
            f"| {row.python} | {row.torch} | {row.numpy} | {isa} | {row.passed} | {row.failed} | "
            f"{row.skipped} | {row.minutes:g} | {wheels.index((row.wheel, row.sha256)) + 1} |"
        )
    lines.append("")
    lines += [f"{i}. `{name}`, sha256 `{digest}`" for i, (name, digest) in enumerate(wheels, 1)]
    problems = [f"- {row.case}: {problem}" for row in ordered for problem in row.problems]
    lines += ["", *problems] if problems else []
    path.write_text("\n".join(lines) + "\n")


def read_rows(path: Path) -> dict[str, Row]:
    """Of an earlier call."""
    if not path.with_suffix(".json").exists():
        return {}
    return {row["case"]: Row(**row) for row in json.loads(path.with_suffix(".json").read_text())}


def main() -> int:
    parser = argparse.ArgumentParser(
        description="The wheels alone, under several versions of Python and torch."
    )
    parser.add_argument("cases", nargs="*", default=CASES, metavar="PYTHON:TORCH[:ISA]", help=" ".join(CASES))
    parser.add_argument(
        "--wheels", type=Path, default=ROOT / "dist", metavar="DIR", help="dist/ of the checkout"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where environments are made (else temporary)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "benchmarks" / "results",
        metavar="DIR",
        help="benchmarks/results",
    )
    args = parser.parse_args()
    work = Path(args.work or tempfile.mkdtemp(prefix="wheel-test-")).resolve()
    if work.is_relative_to(ROOT):
        parser.error(f"--work: expected a folder outside the checkout, got {work}")
    try:
        cases = [Case.parse(text) for text in args.cases]
        todo = [(case, wheel_for(case, args.wheels.resolve())) for case in cases]
    except ValueError as error:
        parser.error(str(error))
    missing = [f"python{case.python}" for case in cases if shutil.which(f"python{case.python}") is None]
    if missing:
        parser.error(f"expected on PATH: {', '.join(missing)}")
    version = todo[0][1].name.split("-")[1]
    path = args.results / f"wheel_{_cpu.name()}_wsss_fast{version}.md"
    rows = read_rows(path)
    bad = 0
    for case, wheel in todo:
        try:
            row = run_case(case, wheel, work)
        except (subprocess.SubprocessError, RuntimeError) as error:
            print(f"{case.name}: {error}", flush=True)
            bad += 1
            continue
        rows[case.name] = row
        write_table(rows, path)
        bad += bool(row.problems)
        print(
            f"{case.name}: torch {row.torch}, {row.isa}: {row.passed} passed, {row.failed} failed, "
            f"{row.skipped} skipped, {row.minutes:g} minutes",
            *row.problems,
            sep="\n  ",
            flush=True,
        )
    print(f"{len(todo)} cases, {bad} with problems; table in {path}, what the commands said in {work}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
