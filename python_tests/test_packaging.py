"""What was built and installed: one version, no torch inside, layers that point one way."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import wsss_fast
from wsss_fast import _C
from wsss_fast._info import cuda_kernels


def test_the_version_stands_in_one_place() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "wsss_fast/_version.py").read_text())
    assert version is not None
    assert wsss_fast.__version__ == version[1]
    repeated = [
        path.name
        for path in (ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *(ROOT / "csrc").rglob("*.cpp"))
        if version[1] in path.read_text()
    ]
    assert repeated == []


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_the_binary_has_no_torch_symbol() -> None:
    symbols = subprocess.run(
        ["nm", "-D", "-C", str(_C.__file__)], capture_output=True, text=True, check=True
    ).stdout
    assert "PyInit__C" in symbols
    assert not re.search(r"\b(at|c10|torch)::", symbols)
    assert not re.search(r"\bGOMP_|\bomp_|__kmpc_", symbols)  # no OpenMP either
    assert not re.search(r"\b(__)?cuda[A-Z]", symbols)  # torch's CUDA runtime has the same names
    # See common/refuse.h. CUB includes <iostream>, which initialises it and no more.
    assert not re.search(r"\bstd::.*(ostream|stringstream|ios_base(?!::Init))\b", symbols)


@pytest.mark.skipif(shutil.which("ldd") is None, reason="needs ldd")
def test_the_binary_needs_no_library_of_torch_openmp_or_cuda() -> None:
    libraries = subprocess.run(["ldd", str(_C.__file__)], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"torch|c10|gomp|libomp|cuda", libraries)


def test_only_the_bindings_include_pybind11_and_nobody_torch() -> None:
    for path in (ROOT / "csrc").rglob("*"):
        if path.suffix not in {".h", ".cpp", ".cu"}:
            continue
        includes = re.findall(r"#include\s+[<\"](.+?)[>\"]", path.read_text())
        outside = ("torch", "ATen", "c10", "pybind11", "Python")
        foreign = [name for name in includes if name.startswith(outside)]
        if path.name == "bindings.cpp":
            foreign = [name for name in foreign if not name.startswith("pybind11")]
        assert foreign == [], path


def _imports(path: Path) -> set[str]:
    text = path.read_text()
    found = re.findall(r"^\s*(?:from|import)\s+(wsss_fast[\w.]*)", text, re.MULTILINE)
    found += [f"wsss_fast.{m}" for m in re.findall(r"^\s*from wsss_fast import (_\w+)", text, re.MULTILINE)]
    return set(found)


def test_dependencies_point_one_way() -> None:
    package = ROOT / "wsss_fast"
    for path in package.rglob("*.py"):
        imports = _imports(path)
        part = path.relative_to(package).parts[0]
        if part != "_launch" and path.name not in {"_info.py"}:
            assert "wsss_fast._C" not in imports, path
        if part in {"ops", "nn", "reference", "_launch"}:
            lower = ("steps", "data", "models", "cli", "config", "report", "metrics", "files")
            assert not any(name.startswith(f"wsss_fast.{x}") for name in imports for x in lower), path
        if part == "reference":
            assert not any(name.startswith(("wsss_fast._launch", "wsss_fast.ops.")) for name in imports), path


def test_importing_the_package_imports_no_part_of_the_pipeline() -> None:
    code = (
        "import sys, wsss_fast; "
        "print([m for m in ('torchvision', 'timm', 'segmentation_models_pytorch', 'lightning_fabric', "
        "'torchmetrics', 'jsonargparse', 'matplotlib', 'cv2') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_types_ship_with_the_package() -> None:
    folder = Path(wsss_fast.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "_C.pyi").exists()


def test_build_info_tells_what_was_built() -> None:
    info = wsss_fast.build_info()
    assert info["version"] == wsss_fast.__version__
    assert info["cuda"] is (cuda_kernels() != "none")


def test_the_versions_of_python_agree() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text)
    assert [int(minor) for minor in named] == list(range(10, 14))
    lowest = re.search(r'requires-python = ">=3\.(\d+)"', text)
    assert lowest is not None
    assert lowest[1] == named[0]
    wheels = re.search(r'^build = "(.+)"', text, re.MULTILINE)
    assert wheels is not None
    assert wheels[1].split() == [f"cp3{minor}-*" for minor in named]
