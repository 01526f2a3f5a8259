"""The devices that tests run on: the CPU, a GPU, and CUDA kernels that are built to run on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from wsss_fast import _device
from wsss_fast._info import cuda_kernels
from wsss_fast.kernels import Bilateral, Features, Gaussian

DEVICES = ("cpu", "cuda", "cuda-host")

# Marks of a test, or of one of its parameters, that is not for every device:
# only_on("cpu", "cuda", reason=...). A test needs the fixture `device` to be skipped.
only_on = pytest.mark.only_on
cpu_only = partial(only_on, "cpu")
not_on_host = only_on("cpu", "cuda", reason="too large for kernels on the host")
traced = only_on("cpu", "cuda", reason="traced as on the CPU, with kernels that take longer")


def why_not(device: str) -> str | None:
    """What is missing for tests on a device."""
    if device == "cuda-host" and cuda_kernels() != "host":
        return "the CUDA kernels are not built to run on the host (WSSS_FAST_CUDA=HOST)"
    if device == "cuda" and cuda_kernels() != "device":
        return "this build has no CUDA kernels (WSSS_FAST_CUDA=ON)"
    if device == "cuda" and not torch.cuda.is_available():
        return "torch sees no GPU"
    return None


def chosen(given: Sequence[str], needs_cuda: bool) -> list[str]:
    """The devices of a session: those given, or the CPU and, if it is usable, CUDA."""
    devices = list(dict.fromkeys(given)) or [d for d in ("cpu", "cuda") if why_not(d) is None]
    for device in devices:
        problem = why_not(device)
        if problem:
            raise pytest.UsageError(f"--device {device}: {problem}")
    problem = why_not("cuda")
    if needs_cuda and problem:
        raise pytest.UsageError(f"FAIL_WITHOUT_CUDA=1: {problem}")
    return devices


def on_device(value: Any) -> Any:
    """A value with the tensors inside it, in lists, dicts and kernels too, on the default device.

    Tensors that lie on the device meta stay there.
    """
    return _moved(value, torch.get_default_device())


def by_cpu(run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``run(*arguments, **options)`` with its tensors on the CPU, by the kernels of the CPU."""
    stood_in = _device._cpu_stands_in
    cpu = torch.device("cpu")
    _device._cpu_stands_in = False
    try:
        with cpu:
            return run(*_moved(arguments, cpu), **_moved(options, cpu))
    finally:
        _device._cpu_stands_in = stood_in


def autocast() -> torch.autocast:
    """To bfloat16, on the default device."""
    return torch.autocast(torch.get_default_device().type, dtype=torch.bfloat16)


def gradcheck(function: Callable[..., Any], inputs: Any, *, second: bool = False) -> bool:
    """torch's, which away from the CPU tries a random direction only: that takes few calls."""
    fast = _device._cpu_stands_in or torch.get_default_device().type != "cpu"
    check = torch.autograd.gradgradcheck if second else torch.autograd.gradcheck
    return check(function, inputs, fast_mode=fast)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        if value.device.type in (device.type, "meta"):
            return value
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, Features):
        moved = _moved([value.features, value.compat], device)
        return Features(*moved)
    if isinstance(value, (Gaussian, Bilateral)) and isinstance(value.compat, torch.Tensor):
        return dataclasses.replace(value, compat=_moved(value.compat, device))
    return value
