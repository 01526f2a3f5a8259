"""Which processor this is; without torch, so that scripts can ask that run where it is not installed."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_NO_MODEL = {"amd", "intel", "cpu", "processor", "core", "genuine", "r", "tm"}


def cpuinfo() -> dict[str, str]:
    """Of the first processor; empty where the system has no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return dict(re.findall(r"^(.*?)\s*:\s*(.*)$", first, re.MULTILINE))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """Such as ``epyc-2cores``."""
    words = re.findall(r"[a-z0-9]+", cpuinfo().get("model name", "").lower())
    model = next((word for word in words if word not in _NO_MODEL), platform.machine().lower())
    return f"{model}-{cores()}cores"


def headline() -> str:
    """Model and cores, in a sentence."""
    cpu = cpuinfo()
    return (
        f"{cpu.get('model name', platform.machine())}, family {cpu.get('cpu family')}, model "
        f"{cpu.get('model')}, {cores()} cores."
    )
