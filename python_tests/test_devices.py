"""Where ops run: the errors for a tensor that no kernel serves, and the devices that tests run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from devices import why_not
from torch._subclasses.fake_tensor import FakeTensorMode

from wsss_fast import _checks, unary_from_labels
from wsss_fast._info import cuda_kernels

HERE = Path(__file__).resolve().parent


def on_a_gpu(*shape: int) -> torch.Tensor:
    """A tensor that says so, on any machine."""
    with FakeTensorMode():
        return torch.empty(shape, device="cuda")


def check(value: torch.Tensor) -> torch.Tensor:
    return _checks.tensor("cams", value, "[K,h,w]", (3,))


@pytest.mark.parametrize("kernels", ["none", "host", "device"])
def test_the_cpu_serves_always_and_a_gpu_where_there_are_kernels(
    monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    monkeypatch.setattr(_checks, "cuda_kernels", lambda: kernels)
    cpu, gpu, meta = torch.zeros(2, 3, 4), on_a_gpu(2, 3, 4), torch.zeros(2, 3, 4, device="meta")
    assert check(cpu) is cpu
    either = "or CUDA " if kernels == "device" else ""
    expected = f"cams: expected a CPU {either}tensor, got \\[2,3,4\\] float32 on meta$"
    with pytest.raises(ValueError, match=expected):
        check(meta)
    if kernels == "device":
        assert check(gpu) is gpu
        return
    with pytest.raises(
        ValueError,
        match=r"cams: expected a CPU tensor: this build of wsss_fast has no CUDA kernels, "
        r"got \[2,3,4\] float32 on cuda:0; build it where nvcc is .*WSSS_FAST_CUDA=ON.*\.cpu\(\)$",
    ):
        check(gpu)


def test_wrong_dtypes_and_shapes_come_before_the_device() -> None:
    with pytest.raises(TypeError, match=r"cams: expected .* float64, got .* float32"):
        _checks.tensor("cams", on_a_gpu(2, 3, 4), "[K,h,w]", (3,), (torch.float64,))
    with pytest.raises(ValueError, match=r"cams: expected \[K,h,w\]"):
        check(on_a_gpu(2, 3))


@pytest.mark.skipif(cuda_kernels() == "device", reason="this build has CUDA kernels")
def test_a_public_op_refuses_a_cuda_tensor_in_a_build_for_the_cpu() -> None:
    with FakeTensorMode(), pytest.raises(ValueError, match=r"labels: expected a CPU tensor: this build"):
        unary_from_labels(torch.empty(2, 3, device="cuda", dtype=torch.int64), 3)


def session(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of a test session that would run one test on every chosen device."""
    options = ["-p", "no:cacheprovider", "--collect-only", "-q", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"{HERE / 'ops/test_unary.py'}::test_one_class"],
        cwd=HERE,
        env={**os.environ, "FAIL_WITHOUT_CUDA": "0", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_device_of_a_session() -> None:
    status, output = session()
    assert status == 0, output
    assert "test_one_class[cpu]" in output
    assert ("test_one_class[cuda]" in output) == (why_not("cuda") is None)
    assert "cuda-host" not in output
    status, output = session("--device", "tpu")
    assert status == 4, output
    assert "tpu" in output


@pytest.mark.skipif(cuda_kernels() == "host", reason="this build has kernels on the host")
def test_kernels_on_the_host_need_a_build_that_has_them() -> None:
    status, output = session("--device", "cuda-host")
    assert status == 4, output
    assert "--device cuda-host: the CUDA kernels are not built to run on the host" in output


@pytest.mark.skipif(why_not("cuda") is None, reason="CUDA is usable")
def test_a_session_can_insist_on_cuda() -> None:
    status, output = session(FAIL_WITHOUT_CUDA="1")
    assert status == 4, output
    assert f"FAIL_WITHOUT_CUDA=1: {why_not('cuda')}" in output
    status, output = session("--device", "cuda")
    assert status == 4, output
