"""Fixtures that every test file shares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES, chosen
from hard_use import counted

from wsss_fast import _device
from wsss_fast.config import Config, DataConfig

ROOT = Path(__file__).resolve().parents[1]

# Reference results of the established implementations and sample data lie beside the checkout.
SHARED = Path(os.environ.get("WSSS_FAST_SHARED", ROOT.parent / "shared"))

# One table for the whole suite: dtype -> (rtol, atol). A looser value at a call carries its reason.
TOLERANCE = {torch.float64: (1e-9, 1e-10), torch.float32: (1e-4, 1e-5)}


def close(actual: torch.Tensor, expected: torch.Tensor, **looser: float) -> None:
    """Assert equality within the table's tolerance for the dtype of ``actual``."""
    rtol, atol = TOLERANCE[actual.dtype]
    torch.testing.assert_close(
        actual, expected.to(actual.dtype), rtol=looser.get("rtol", rtol), atol=looser.get("atol", atol)
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        action="append",
        choices=DEVICES,
        default=[],
        help="where ops with CUDA kernels are tested (may be repeated; default: cpu, and cuda if usable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.option.device = chosen(config.option.device, os.environ.get("FAIL_WITHOUT_CUDA") == "1")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in counted.lines():
        terminalreporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", metafunc.config.option.device, indirect=True)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the test runs, by name: factories make tensors there, and ops serve them with its kernels."""
    name: str = request.param
    marker = request.node.get_closest_marker("only_on")
    if marker is not None and name not in marker.args:
        pytest.skip(marker.kwargs["reason"])
    if name == "cuda":
        torch.set_default_device("cuda")
        yield name
        torch.set_default_device(None)
    elif name == "cuda-host":
        with _device.cpu_stands_in():
            yield name
    else:
        yield name


@pytest.fixture
def golden() -> Callable[[str], tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """``golden(name)`` -> (arrays, parameters) of a golden case.

    Skips where the files are absent, unless REQUIRE_GOLDEN=1 (set in CI) makes that a failure.
    """

    def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        path = SHARED / "golden" / f"{name}.npz"
        if not path.exists():
            message = f"no golden data at {path} (set WSSS_FAST_SHARED)"
            if os.environ.get("REQUIRE_GOLDEN") == "1":
                pytest.fail(message)
            pytest.skip(message)
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
        return arrays, json.loads(str(arrays.pop("params")))

    return load


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """``threads(n)`` sets torch's thread count for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _skip_without_pipeline() -> None:
    for module in ("timm", "segmentation_models_pytorch", "lightning_fabric"):
        pytest.importorskip(module, reason="needs the pipeline extra")


@pytest.fixture
def sizes_from_data() -> Iterator[None]:
    """``torch.compile(fullgraph=True)`` takes sizes that depend on data; before torch 2.10 if told so."""
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 10):
        yield
        return
    from torch._dynamo import config

    with config.patch(capture_dynamic_output_shape_ops=True):
        yield


@pytest.fixture
def no_pydensecrf() -> Iterator[None]:
    """As if nobody had imported pydensecrf: `wsss_fast.compat.install` may take its place in a test."""

    def taken_out() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "pydensecrf"]
        return {name: sys.modules.pop(name) for name in names}

    before = taken_out()
    yield
    taken_out()
    sys.modules.update(before)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """All steps once, on generated images. Treat it as read-only."""
    _skip_without_pipeline()
    from tiny_run import tiny_config

    from wsss_fast.steps.run import run

    config = tiny_config(tmp_path_factory.mktemp("finished"), rounds=2)
    run(config)
    return config


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """``make_config(data)``: the config of a tiny run in a folder of its own."""
    _skip_without_pipeline()
    from tiny_run import tiny_config

    def make(data: DataConfig | None = None) -> Config:
        return tiny_config(tmp_path / "run", data)

    return make


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  some libraries draw from the global generator
