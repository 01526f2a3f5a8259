"""Where a table was measured: enough to compare its figures, nothing that names a host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import _cpu
import torch

import wsss_fast

# Instruction sets that decide which kernels run.
_ISA = ("avx2", "fma", "avx512f", "avx512bw", "avx512vl")
_NO_GPU_MODEL = {"nvidia", "geforce", "tesla", "quadro"}


def name() -> str:
    """Such as ``epyc-2cores_torch2.14.1_wsss_fast0.1.0``."""
    return f"{_cpu.name()}_{_versions()}"


def gpu_name() -> str:
    """Such as ``h100-80gb-hbm3_torch2.14.1_wsss_fast0.1.0``."""
    return f"{_gpu_model(torch.cuda.get_device_name())}_{_versions()}"


def _gpu_model(device: str) -> str:
    words = re.findall(r"[a-z0-9]+", device.lower())
    return "-".join(word for word in words if word not in _NO_GPU_MODEL)


def _versions() -> str:
    return f"torch{torch.__version__.split('+')[0]}_wsss_fast{wsss_fast.__version__}"


class Watch:
    """How busy others keep the machine from now on."""

    def __init__(self) -> None:
        self._start, self._others = time.perf_counter(), _others_seconds()

    def others(self) -> float:
        """Cores in use by others, on average since the watch was made."""
        return (_others_seconds() - self._others) / (time.perf_counter() - self._start)


def _others_seconds() -> float:
    """CPU time since the start of the machine that went to others: to processes that are neither this one nor
    finished children of it, and to other guests of the host. NaN where the system does not tell.
    """
    path = Path("/proc/stat")
    if not path.exists():
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text().split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def describe(peer: str | None = None) -> dict[str, Any]:
    """``peer`` is a distribution of the package index."""
    cpu = _cpu.cpuinfo()
    flags = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_family": cpu.get("cpu family"),
        "cpu_model": cpu.get("model"),
        "cores": _cpu.cores(),
        "isa": [isa for isa in _ISA if isa in flags],
        "wsss_fast": wsss_fast.build_info(),
        **({} if peer is None else {"peer": f"{peer} {_version(peer)}"}),
        "numpy": importlib.metadata.version("numpy"),
    }


def describe_gpu() -> dict[str, Any]:
    """The current CUDA device."""
    properties = torch.cuda.get_device_properties()
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_cache_mib": l2_cache() / 2**20,
        "driver": _driver(),
        "cuda_of_torch": torch.version.cuda,
    }


def l2_cache() -> int:
    """Bytes of the current CUDA device's last cache; 128 MiB, a large one, where torch does not tell."""
    return int(getattr(torch.cuda.get_device_properties(), "L2_cache_size", 128 * 2**20))


def _driver() -> str | None:
    """Of the GPU; None where nvidia-smi does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    lines = found.stdout.split()
    return lines[0] if found.returncode == 0 and lines else None


def gpu_headline(gpu: dict[str, Any]) -> str:
    """What ``describe_gpu`` found, in a sentence."""
    return (
        f"{gpu['gpu']} (compute capability {gpu['capability']}, {gpu['multiprocessors']} multiprocessors, "
        f"{gpu['memory_gib']:g} GiB, {gpu['l2_cache_mib']:g} MiB of last cache), driver "
        f"{gpu['driver'] or 'unknown'}, torch's CUDA {gpu['cuda_of_torch']}."
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def headline(machine: dict[str, Any]) -> str:
    """What ``describe`` found, in a sentence."""
    versions = machine["wsss_fast"]
    software = [f"wsss_fast {versions['version']} ({versions['compiler']})", f"torch {versions['torch']}"]
    software += [machine["peer"]] if "peer" in machine else []
    return (
        f"{', '.join(software)}; {machine['cpu']}, family {machine['cpu_family']}, model "
        f"{machine['cpu_model']}, {machine['cores']} cores."
    )
