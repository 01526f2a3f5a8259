"""A folder of images with a table of labels: what the reader ``folder`` reads (`wsss_fast.data.folder`).

What is read of ``--source``:

- ``labels.csv``: the labels. The classes are its columns in their order, which the ids of the masks must
  follow. In the column ``split``, ``--train-split`` and ``--val-split`` are the values of the two splits
  (train and val), rows with another are left out. Without that column, all images are in both.
- ``images/``: a row for every image. A row without an image is reported and left out.
- ``masks/<name>.png``: masks for evaluation; an image may have none, which is no fault.

A run on the outcome has the images, labels and masks of a run on the folder, without the images that are
reported as of no use and training images without any class (``--unlabelled keep`` keeps those).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from wsss_fast.config import ConfigError
from wsss_fast.data.folder import read_folder
from wsss_fast.prepare._examine import Examiner, Job
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings, prepare_split


def prepare_folder(
    source: Path, settings: Settings, *, train_split: str = "train", val_split: str = "val"
) -> Report:
    """Write ``train.index`` and ``val.index``; see the module for what is read.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import write_image
    >>> root = Path(tempfile.mkdtemp())
    >>> write_image(root / "images" / "rex.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> write_image(root / "images" / "tom.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> table = "name,cat,dog,split\\nrex,0,1,train\\ntom,1,0,val\\n"
    >>> _ = (root / "labels.csv").write_text(table)
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.folder import prepare_folder
    >>> settings = Settings(root / "prepared", workers=0, check="content", unlabelled="leave-out")
    >>> report = prepare_folder(root, settings)
    >>> report.classes
    ('cat', 'dog')
    >>> sorted(path.name for path in settings.destination.iterdir() if path.suffix == ".index")
    ['train.index', 'val.index']
    """
    if not (source / "labels.csv").is_file() or not (source / "images").is_dir():
        raise ConfigError(
            f"--source: expected a folder with images and labels.csv, got {source} without them"
        )
    table = read_folder(source)
    splits = {"train": table.rows_of(train_split), "val": table.rows_of(val_split)}
    report = Report("folder", str(source), table.classes)
    masks = source / "masks"
    masked = set(os.listdir(masks)) if masks.is_dir() else set()
    examiner = Examiner(source, masks, {}, len(table.classes), settings.check)
    for split, rows in splits.items():
        jobs = [
            Job(
                name=table.names[row],
                image=f"images/{table.images[row].name}",
                mask=mask if (mask := f"{table.names[row]}.png") in masked else "",
                labels=tuple(np.flatnonzero(table.labels[row]).tolist()),
            )
            for row in rows
        ]
        prepare_split(split, jobs, examiner, settings, report, checks="all" if table.splits is None else None)
    report.write(settings.destination)
    return report
