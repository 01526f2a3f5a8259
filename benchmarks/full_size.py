"""Many small images through make-cams, make-ir-labels and make-pseudo-masks: images a second, and memory.

    PYTHONPATH=. python benchmarks/full_size.py --images 20000

The images are those of the generated data set, painted once into a folder (in `--work`; a later call goes
on with it), so that the reader and the decoding are those of real data. The two networks train for a moment
on 64 of them. Each step is a process of its own; twice a second the memory of it and of its workers is looked
at. Memory is flat if it grows by less than 2 % or 20 MB (by the line through it) over the last three quarters
of the time from the first to the last output of the training images.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _machine
import numpy as np
import yaml

from wsss_fast.config import ShapesConfig
from wsss_fast.data.shapes import Shapes
from wsss_fast.files import write_image

STEPS = ("make-cams", "make-ir-labels", "make-pseudo-masks")
TRAININGS = ("train-classifier", "train-irnet")
TRAINED_ON = 64
VALIDATION = 16
EVERY = 0.5
"""Seconds between two looks at the memory."""

FLAT_PART, FLAT_MB = 0.02, 20.0

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Look:
    """Memory at one moment, in MB; of pages that several processes share, each has its part (PSS)."""

    seconds: float
    main: float
    workers: float
    processes: int


@dataclass(frozen=True)
class Measured:
    """A step."""

    step: str
    images: int
    seconds: float
    images_per_second: float
    """With the start of the process."""
    peak_mb: float
    peak_main_mb: float
    peak_workers_mb: float
    growth_mb: float
    """Of the line through the last three quarters, from its start to its end."""
    growth_mb_per_1000: float
    flat: bool
    profile: dict[str, float] | None
    looks: list[Look]


def main() -> int:
    args = arguments()
    work: Path = args.work
    data = work / f"images-{args.images}-{args.size}"
    paint(data, args.images, args.size, args.workers)
    small = work / f"trained-{args.size}"
    paint(small / "data", TRAINED_ON, args.size, args.workers)
    config = work / "config.yaml"
    run = work / "run"
    trained = small / "run"
    write_config(config, trained, small / "data", args)
    for step in (TRAININGS[0], "make-cams", "make-ir-labels", TRAININGS[1]):
        subprocess.run(command(step, config), check=True)
    shutil.rmtree(run, ignore_errors=True)
    measured = []
    for step in STEPS:
        write_config(config, run, data, args)
        if step == "make-cams":
            adopt(trained, run, "train-classifier", config)
        if step == "make-pseudo-masks":
            adopt(trained, run, "train-irnet", config)
        measured.append(measure(step, config, run, args.images + VALIDATION))
        print(line(measured[-1]), flush=True)
    publish(args, measured)
    return 0 if all(row.flat for row in measured) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A large set of small images through the inference steps.")
    parser.add_argument("--images", type=int, default=20_000, help="training images (20000)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (64)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read (2)")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm's name, without weights")
    parser.add_argument("--work", type=Path, default=Path("build/full_size"), help="where all of it lies")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the table and the chart go")
    parsed = parser.parse_args()
    if parsed.images < 1 or parsed.size < 32:
        parser.error("--images, --size: expected at least 1 and 32")
    return parsed


# --- the data set --------------------------------------------------------------------------------------


def paint(root: Path, count: int, size: int, workers: int) -> None:
    """Write the images that are not there yet, and then labels.csv, which says that all are."""
    table = root / "labels.csv"
    if table.exists():
        return
    start = time.perf_counter()
    (root / "images").mkdir(parents=True, exist_ok=True)
    jobs = [
        (str(root), role, index, count, size)
        for role, n in (("train", count), ("val", VALIDATION))
        for index in range(n)
    ]
    with ProcessPoolExecutor(workers) as pool:
        rows = list(pool.map(_paint_one, jobs, chunksize=64))
    temporary = table.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *Shapes(ShapesConfig(), "train").classes, "split"])
        writer.writerows(rows)
    os.replace(temporary, table)
    print(f"painted {len(rows)} images in {time.perf_counter() - start:.0f} s: {root}", flush=True)


def _paint_one(job: tuple[str, Any, int, int, int]) -> list[Any]:
    root, role, index, count, size = job
    images = Shapes(ShapesConfig(train=count, val=VALIDATION, size=size), role)
    name = images.name(index)
    path = Path(root) / "images" / f"{name}.jpg"
    if not path.exists():
        write_image(path, images.image(index))
    return [name, *images.labels(index).astype(int), role]


# --- the run -------------------------------------------------------------------------------------------


def write_config(path: Path, output: Path, data: Path, args: argparse.Namespace) -> None:
    backbone = {"name": args.backbone, "weights": "none", "output_stride": 16}
    training = {"backbone": backbone, "epochs": 1, "batch_size": 16, "image_size": 64}
    values = {
        "output": str(output),
        "profile": "summary",
        "data": {"reader": "folder", "root": str(data), "workers": args.workers},
        "classifier": training,
        "cams": {"scales": [1.0, 0.5]},
        "irnet": {**training, "radius": 4},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))


def command(step: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "wsss_fast.cli", step, "--config", str(config)]


def adopt(trained: Path, run: Path, step: str, config: Path) -> None:
    """Take over a network, as if it had been trained on the large set."""
    from wsss_fast.config import Config
    from wsss_fast.config_file import build, read_values
    from wsss_fast.files import read_json, write_json
    from wsss_fast.steps._graph import relevant_config

    shutil.copytree(trained / step, run / step)
    state = read_json(run / step / "step.json")
    state["config"] = relevant_config(build(Config, read_values(config)), step)
    write_json(run / step / "step.json", state)


def measure(step: str, config: Path, run: Path, images: int) -> Measured:
    start, begin = time.perf_counter(), time.time()
    log = config.with_name(f"{step}.log")
    looks = []
    first_output: float | None = None
    with log.open("w") as file:
        process = subprocess.Popen(command(step, config), stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            look = look_at(process.pid, time.perf_counter() - start)
            if look is not None:
                looks.append(look)
            if first_output is None and has_files(run / step / "train"):
                first_output = time.perf_counter() - start
            time.sleep(EVERY)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{step}: exit code {process.returncode}, see {log}")
    state = json.loads((run / step / "step.json").read_text())
    if state["items"] != images or state["skipped"]:
        sys.exit(f"{step}: expected {images} images, got {state['items']}, skipped {len(state['skipped'])}")
    last_output = max(entry.stat().st_mtime for entry in os.scandir(run / step / "train") if entry.is_file())
    growth, level = growth_of(looks, first_output or 0.0, last_output - begin)
    return Measured(
        step=step,
        images=images,
        seconds=round(seconds, 1),
        images_per_second=round(images / seconds, 1),
        peak_mb=round(max(look.main + look.workers for look in looks), 1),
        peak_main_mb=round(max(look.main for look in looks), 1),
        peak_workers_mb=round(max(look.workers for look in looks), 1),
        growth_mb=round(growth, 1),
        growth_mb_per_1000=round(growth / (0.75 * images / 1000), 2),
        flat=growth < max(FLAT_MB, FLAT_PART * level),
        profile=state.get("profile"),
        looks=looks,
    )


def has_files(folder: Path) -> bool:
    if not folder.exists():
        return False
    with os.scandir(folder) as entries:
        return any(entry.is_file() for entry in entries)


def growth_of(looks: list[Look], start: float, end: float) -> tuple[float, float]:
    """By how many MB the line through the last three quarters rises, and the mean.

    Looks with fewer processes than ever are left out: there the workers are starting or ending.
    """
    most = max(look.processes for look in looks)
    chosen = [
        look
        for look in looks
        if start + 0.25 * (end - start) <= look.seconds <= end and look.processes == most
    ]
    if len(chosen) < 4:
        sys.exit("too short a run to say how memory grows: expected at least 4 looks at it; more --images")
    times = np.array([look.seconds for look in chosen])
    memory = np.array([look.main + look.workers for look in chosen])
    slope = np.polyfit(times, memory, 1)[0]
    return float(slope * (times[-1] - times[0])), float(memory.mean())


# --- memory --------------------------------------------------------------------------------------------


def look_at(root: int, seconds: float) -> Look | None:
    """The memory of a process and of all below it; None if it has just ended."""
    main_memory = memory_of(root)
    if main_memory is None:
        return None
    others = [memory for number in below(root) if (memory := memory_of(number)) is not None]
    return Look(round(seconds, 2), round(main_memory, 1), round(sum(others), 1), 1 + len(others))


def memory_of(number: int) -> float | None:
    """MB; None where there is no such process any more.

    Anonymous and shared memory. Pages of files (the code of libraries) are left out: how many of them count
    for a process depends on what other programs run.
    """
    try:
        text = Path(f"/proc/{number}/smaps_rollup").read_text()
    except OSError:
        return None
    found = dict(re.findall(r"^(Pss_Anon|Pss_Shmem):\s+(\d+) kB$", text, re.MULTILINE))
    return sum(map(int, found.values())) * 1024 / 1e6 if found else None


def below(root: int) -> Iterable[int]:
    """The numbers of all processes that descend from one."""
    try:
        threads = list(Path(f"/proc/{root}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            children = [int(word) for word in (thread / "children").read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from below(child)


# --- what comes of it ----------------------------------------------------------------------------------


def line(row: Measured) -> str:
    verdict = "flat" if row.flat else "NOT FLAT"
    growth = f"{row.growth_mb:+.1f} MB ({row.growth_mb_per_1000:+.2f} MB a 1,000 images)"
    lines = [
        f"{row.step}: {row.images} images in {row.seconds:.0f} s, {row.images_per_second:.1f} images/s",
        f"  memory at most {row.peak_mb:.0f} MB (main process {row.peak_main_mb:.0f}, workers "
        f"{row.peak_workers_mb:.0f}), in the last three quarters {growth}: {verdict}",
    ]
    profile = row.profile or {}
    total = sum(profile.values())
    lines += [f"  {name:<24}{s:10.1f} s{100 * s / total:7.1f} %" for name, s in profile.items()]
    return "\n".join(lines)


def publish(args: argparse.Namespace, measured: list[Measured]) -> None:
    machine = _machine.describe()
    args.results.mkdir(parents=True, exist_ok=True)
    name = f"full_size_{_machine.name()}"
    values = {
        "machine": machine,
        "images": args.images,
        "size": args.size,
        "workers": args.workers,
        "backbone": args.backbone,
        "steps": [asdict(row) for row in measured],
    }
    (args.results / f"{name}.json").write_text(json.dumps(values) + "\n")
    head = (
        f"{_machine.headline(machine)} {args.images} images of {args.size} x {args.size}, {args.backbone} "
        f"without weights, {args.workers} processes that read."
    )
    (args.results / f"{name}.md").write_text("\n\n".join([head, *(line(row) for row in measured)]) + "\n")
    chart(args.results / f"{name}.png", measured)
    print(f"{args.results / name}.json, .md and .png")


def chart(path: Path, measured: list[Measured]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(measured), figsize=(4 * len(measured), 3), sharey=True, layout="constrained"
    )
    for axis, row in zip(np.atleast_1d(axes), measured, strict=True):
        times = [look.seconds for look in row.looks]
        axis.plot(times, [look.main + look.workers for look in row.looks], label="all")
        axis.plot(times, [look.main for look in row.looks], label="main process")
        axis.plot(times, [look.workers for look in row.looks], label="workers")
        axis.set(title=row.step, xlabel="seconds")
    np.atleast_1d(axes)[0].set_ylim(bottom=0)  # of all
    np.atleast_1d(axes)[0].set_ylabel("memory, MB")
    np.atleast_1d(axes)[0].legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
