"""PASCAL VOC 2012, with or without the augmented list of 10,582 training images.

What is read of ``--source``, the folder VOC2012:

- ``ImageSets/Segmentation/train.txt`` and ``val.txt``: a name a line. ``--train-list`` and ``--val-list``
  name other files, such as the augmented list ``train_aug.txt`` (SBD, Hariharan et al., ICCV 2011); its form
  with two paths a line (``/JPEGImages/<name>.jpg /SegmentationClassAug/<name>.png``) is understood too.
- ``JPEGImages/<name>.jpg``: the images.
- ``Annotations/<name>.xml``: the labels are the classes of the objects, difficult and truncated ones too. All
  images of VOC 2012 have one, those of the augmented list too: one without it is reported and left out.
- ``SegmentationClass/<name>.png``: the masks of the validation images, 255 to ignore. ``--val-masks`` names
  another folder.

Training images have masks only if ``--train-masks`` names their folder (``SegmentationClass`` for the 1,464,
``SegmentationClassAug`` for the augmented list); they are for evaluation, never for training.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from wsss_fast.config import ConfigError
from wsss_fast.data.decode import stem_of
from wsss_fast.data.name_lists import check_names, read_lines
from wsss_fast.data.voc import VOC_CLASSES
from wsss_fast.prepare._examine import Examiner, Job
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings, prepare_split


def prepare_voc(
    source: Path,
    settings: Settings,
    *,
    train_list: Path | None = None,
    val_list: Path | None = None,
    train_masks: Path | None = None,
    val_masks: Path | None = None,
) -> Report:
    """Write ``train.index`` and ``val.index``; see the module for what is read.

    >>> from pathlib import Path
    >>> from wsss_fast.prepare import Settings
    >>> from wsss_fast.prepare.voc import prepare_voc
    >>> settings = Settings(Path("data/voc"), workers=0, check="content", unlabelled="leave-out")
    >>> report = prepare_voc(Path("VOCdevkit/VOC2012"), settings)
    >>> len(report.classes), (settings.destination / "train.index").exists()
    (20, True)
    """
    for needed in ("JPEGImages", "Annotations"):
        if not (source / needed).is_dir():
            raise ConfigError(
                f"--source: expected a folder with {needed} (VOCdevkit/VOC2012), got {source} without it"
            )
    for option, folder in (("--train-masks", train_masks), ("--val-masks", val_masks)):
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{option}: expected a folder of PNGs, got {folder}, which is none")
    lists = source / "ImageSets" / "Segmentation"
    default_masks = source / "SegmentationClass"
    report = Report("voc", str(source), VOC_CLASSES)
    positions = {name: k for k, name in enumerate(VOC_CLASSES)}
    for split, names_file, masks in (
        ("train", train_list or lists / "train.txt", train_masks),
        (
            "val",
            val_list or lists / "val.txt",
            val_masks or (default_masks if default_masks.is_dir() else None),
        ),
    ):
        jobs = [
            Job(
                name=name,
                image=f"JPEGImages/{name}.jpg",
                mask=f"{name}.png" if masks else "",
                annotation=str(source / "Annotations" / f"{name}.xml"),
            )
            for name in read_names(names_file)
        ]
        examiner = Examiner(source, masks or source, positions, len(VOC_CLASSES), settings.check)
        prepare_split(split, jobs, examiner, settings, report)
    report.write(settings.destination)
    return report


def read_names(path: Path) -> list[str]:
    """The names of a list; of a line with paths, that of the first path's file."""
    lines = read_lines(path)
    return check_names(
        path, [stem_of(PurePosixPath(line.split()[0]).name) if "/" in line else line for line in lines]
    )
