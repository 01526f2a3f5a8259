"""One file a machine can read about a run: ``<output>/run.json``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from wsss_fast._versions import versions
from wsss_fast.config import Config
from wsss_fast.files import write_json
from wsss_fast.steps._cores import core_count, threads_of
from wsss_fast.steps._metrics_file import mean_ious
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._states import read_state
from wsss_fast.steps.run import steps_of


def write_run_summary(config: Config, command: str) -> None:
    """Write ``<output>/run.json`` after a command, whether it ended well or not.

    ::

        {"command": "make-cams", "written": "2026-01-31T12:00:00+00:00",
         "seed": 0, "config": {...},                   # the whole config, defaults included
         "versions": {"version": "0.1.0", "torch": "2.9.1", ...},
         "machine": {"cores": 2, "threads": 2, "processes": 1, "gpus": ["NVIDIA H100"]},
         "steps": {"make-cams": {"done": true, "seconds": 22.1, "items": 260,
                                 "items_per_second": 11.8, "skipped": 0, ...}},
         "metrics": {"val": {"cam": 0.52, "segmenter_tta": 0.74}}}   # mean IoU; null before evaluate

    ``seconds`` of a step are those of all calls that worked on it. All else that a step tells stays in its
    folder: what was skipped and why in step.json, every metric in evaluate/metrics.json. Of several processes
    the first writes.
    """
    if not ranks().first:
        return
    root = Path(config.output)
    steps: dict[str, Any] = {}
    for name in (*steps_of(config), "report"):
        state = read_state(root / name)
        if state is not None:
            steps[name] = _step(state)
    path = root / "evaluate" / "metrics.json"
    write_json(
        root / "run.json",
        {
            "command": command,
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seed": config.seed,
            "config": asdict(config),
            "versions": versions(),
            "machine": _machine(config),
            "steps": steps,
            "metrics": mean_ious(path) if path.exists() else None,
        },
    )


def _step(state: dict[str, Any]) -> dict[str, Any]:
    seconds = float(state["seconds"])
    return {
        "done": state["done"],
        "seconds": seconds,
        "items": state["items"],
        "items_per_second": state["items"] / seconds if seconds > 0 else None,
        "skipped": len(state["skipped"]),
        **({"profile": state["profile"]} if "profile" in state else {}),
    }


def _machine(config: Config) -> dict[str, Any]:
    gpus = range(torch.cuda.device_count())
    return {
        "cores": core_count(),
        "threads": threads_of(config),
        "processes": ranks().world,
        "gpus": [torch.cuda.get_device_name(gpu) for gpu in gpus],
    }
