"""What a file of results says about the machine: enough to compare figures, nothing that names a host."""

from __future__ import annotations

from typing import Any

import wsss_fast


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    for key in ("node", "release", "python_build"):
        machine_info.pop(key, None)
    machine_info["wsss_fast"] = wsss_fast.build_info()
