"""A look at every file of a data set that a reader (`folder`, `voc` or `prepared`) reads."""

from __future__ import annotations

from typing import get_args

from wsss_fast.config import ConfigError, DataConfig, Split
from wsss_fast.data import open_images
from wsss_fast.prepare._examine import MASKLESS, USELESS, SetExaminer
from wsss_fast.prepare._journal import examine_all
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings


def check_data(data: DataConfig, settings: Settings) -> Report:
    """Write the report on both splits; an image that is in both (`folder` without a column ``split``) counts
    in both, and is no duplicate of itself.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from wsss_fast.files import write_image
    >>> root = Path(tempfile.mkdtemp())
    >>> write_image(root / "images" / "rex.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> write_image(root / "images" / "tom.jpg", np.zeros((40, 60, 3), np.uint8))
    >>> table = "name,cat,dog,split\\nrex,0,1,train\\ntom,1,0,val\\n"
    >>> _ = (root / "labels.csv").write_text(table)
    >>> from wsss_fast.config import DataConfig
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.check import check_data
    >>> settings = Settings(root / "checked", workers=0, check="content", unlabelled="keep")
    >>> report = check_data(DataConfig(reader="folder", root=str(root)), settings)
    >>> (settings.destination / "report.md").exists()
    True
    """
    if data.reader == "shapes":
        raise ConfigError("data.reader: expected folder, voc or prepared, got 'shapes', which has no files")
    report: Report | None = None
    for split in get_args(Split):
        images = open_images(data, split)
        report = report or Report(data.reader, str(data.root), images.classes)
        into = report.split(split)
        examiner = SetExaminer(images, settings.check)
        journal = settings.destination / f"checks-{split}.jsonl"
        order = range(len(images))
        for index, seen in examine_all(examiner, order, journal, settings.workers, f"check {split}"):
            report.take(split, images.name(index), images.source(index), seen)
            if not seen.has(*USELESS):
                masked = images.mask_source(index) is not None and not seen.has(*MASKLESS)
                into.count(seen.labels, with_mask=masked)
    assert report is not None
    report.write(settings.destination)
    return report
