"""How long a training takes to its first batch from an index file of a million images, and in what memory.

    PYTHONPATH=. python benchmarks/index_start.py [--images 1000000] [--classes 200] [--folder]

Each row is a fresh process that imports what the step imports, and then opens the training split, reads what
it wants of the labels, and takes the first batch of 32. The bars: less than 2 s, and less than 300 MB above
what the process has after those imports. ``--folder`` measures the reader `folder` with a labels.csv of as
many rows beside it, up to the batch; it has no bar. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 2.0
MEGABYTES = 300.0
POOL = 64
"""Images on disk; the entries of the index name them in turn."""

_CHILD = r"""
import json, resource, sys, time
from pathlib import Path
import torch, wsss_fast
from wsss_fast.config import BackboneConfig, ClassifierConfig, Config, DataConfig
from wsss_fast.data import open_images
from wsss_fast.steps import train_classifier as module
from wsss_fast.steps._classes import learnt_classes
from wsss_fast.steps._step import Step
from wsss_fast.steps._training import training_loader

reader, root, balance = sys.argv[1:]
excluded = [] if balance == "none" else ["class_0"]
config = Config(data=DataConfig(reader=reader, root=root, workers=0),
                classifier=ClassifierConfig(batch_size=32, image_size=64, balance=balance, exclude=excluded))
training = config.classifier
if reader == "prepared":
    from wsss_fast.data import prepared
else:
    from wsss_fast.data import folder
transform = lambda image, mask: (torch.from_numpy(image[:64, :64].copy()).permute(2, 0, 1), None)
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1000

before, start = peak(), time.perf_counter()
images = open_images(config.data, "train")
opened, opened_memory = time.perf_counter() - start, peak() - before
columns = learnt_classes(config, images.classes)
this = Step(name="train-classifier", folder=Path(), done=False, seconds_before=0.0, strict=True)
chosen, epochs = module.training_images(training, columns, images, this)
loader = training_loader(config, training, this, chosen, transform, epochs=epochs)
if reader == "prepared":  # most images of the folder are missing
    batch = next(loader.epoch(torch.Generator().manual_seed(0)))
    assert batch.labels.shape == (32, len(columns)), batch.labels.shape
print(json.dumps({"opened": opened, "opened_mb": opened_memory,
                  "batch": time.perf_counter() - start, "batch_mb": peak() - before}))
"""


def make_pool(folder: Path) -> list[str]:
    from wsss_fast.files import write_image

    draws = np.random.default_rng(0)
    names = [f"{i:03d}.jpg" for i in range(POOL)]
    for name in names:
        write_image(folder / name, draws.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    return names


def made_labels(images: int, classes: int) -> np.ndarray:
    """One class an image, some much more common than others, and the first in a quarter of all."""
    draws = np.random.default_rng(1)
    common = 1 / np.arange(1, classes + 1)
    labels = np.zeros((images, classes), bool)
    labels[np.arange(images), draws.choice(classes, images, p=common / common.sum())] = True
    labels[draws.random(images) < 0.25, 0] = True
    return labels


def make_prepared(root: Path, images: int, classes: int) -> None:
    from wsss_fast.data.index_file import write_index

    names = make_pool(root / "images")
    labels = made_labels(images, classes)
    with write_index(
        root / "train.index",
        classes=[f"class_{k}" for k in range(classes)],
        images_root="images",
        masks_root="masks",
    ) as index:
        for i in range(images):
            index.add(f"n{i % 997:08d}_{i}", names[i % POOL], "", labels[i])


def make_folder(root: Path, images: int, classes: int) -> None:
    """A labels.csv with a row an image; all but `POOL` of the images are missing, which is no fault yet."""
    names = make_pool(root / "images")
    labels = made_labels(images, classes)
    with (root / "labels.csv").open("w") as file:
        file.write(",".join(["name", *(f"class_{k}" for k in range(classes))]) + "\n")
        for i in range(images):
            name = names[i] if i < POOL else f"n{i % 997:08d}_{i}"
            digits = (labels[i].astype(np.uint8) + ord("0")).tobytes().decode()
            file.write(f"{name},{','.join(digits)}\n")


def measure(reader: str, root: Path, balance: str) -> dict[str, Any]:
    arguments = [sys.executable, "-c", _CHILD, reader, str(root), balance]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--folder", action="store_true")
    options = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        start = time.perf_counter()
        make_prepared(root / "prepared", options.images, options.classes)
        size = (root / "prepared" / "train.index").stat().st_size / 1e6
        print(
            f"{options.images:,} images, {options.classes} classes: an index file of {size:.0f} MB, written "
            f"in {time.perf_counter() - start:.1f} s\n"
        )
        print(
            "| reader | balance | opened (s) | MB | first batch (s) | MB |\n"
            "| --- | --- | --- | --- | --- | --- |"
        )
        rows = [("prepared", "none"), ("prepared", "both")]
        if options.folder:
            make_folder(root / "folder", options.images, options.classes)
            rows.append(("folder", "none"))
        for reader, balance in rows:
            row = measure(reader, root / reader, balance)
            print(
                f"| {reader} | {balance} | {row['opened']:.3f} | {row['opened_mb']:.0f} "
                f"| {row['batch']:.2f} | {row['batch_mb']:.0f} |",
                flush=True,
            )
            missed |= reader == "prepared" and (row["batch"] >= SECONDS or row["batch_mb"] >= MEGABYTES)
    print(f"\nbars (prepared): {SECONDS:g} s, {MEGABYTES:g} MB: {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
