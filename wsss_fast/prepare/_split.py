"""From the list of a split to its index file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from wsss_fast.data.index_file import SUFFIX, write_index
from wsss_fast.files import DataError
from wsss_fast.prepare._examine import MASKLESS, USELESS, Check, Examiner, Job
from wsss_fast.prepare._journal import examine_all
from wsss_fast.prepare._report import Report

Unlabelled = Literal["leave-out", "keep"]


@dataclass(frozen=True)
class Settings:
    """What all data sets are asked.

    >>> from pathlib import Path
    >>> from wsss_fast.prepare import Settings
    >>> Settings(Path("data/mine"), workers=0, check="content", unlabelled="leave-out").workers
    0
    """

    destination: Path
    workers: int
    check: Check
    unlabelled: Unlabelled


def prepare_split(
    split: str,
    jobs: Sequence[Job],
    examiner: Examiner,
    settings: Settings,
    report: Report,
    masks_root: str | None = None,
    checks: str | None = None,
) -> None:
    """Look at the images and write ``<split>.index``.

    Training images without a class are left out unless the settings say otherwise; validation images stay.
    ``masks_root``: how the index names the masks' folder, by default by its absolute path. ``checks``: what
    the file with the outcomes is called after, by default after the split; splits that share images share it,
    and each image is looked at once.
    """
    path = settings.destination / f"{split}{SUFFIX}"
    into = report.split(split)
    with write_index(
        path,
        classes=report.classes,
        images_root=str(examiner.images_root.absolute()),
        masks_root=masks_root or str(examiner.masks_root.absolute()),
    ) as index:
        journal = settings.destination / f"checks-{checks or split}.jsonl"
        for job, seen in examine_all(examiner, jobs, journal, settings.workers, f"prepare {split}"):
            report.take(split, job.name, str(examiner.images_root / job.image), seen)
            if seen.has(*USELESS):
                continue
            if not seen.labels and split == "train" and settings.unlabelled == "leave-out":
                continue
            mask = "" if seen.has(*MASKLESS) else job.mask
            labels = np.zeros(len(report.classes), bool)
            labels[list(seen.labels)] = True
            index.add(job.name, job.image, mask, labels)
            into.count(seen.labels, with_mask=bool(mask))
        if not index.count:
            report.write(settings.destination)
            raise DataError(
                path, f"expected images that can be used, got none of {len(jobs)}; report.md says why"
            )
