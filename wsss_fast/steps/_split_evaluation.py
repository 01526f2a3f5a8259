"""The masks of one split beside the true ones."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_fast.config import Config, Split
from wsss_fast.data import ImageSet
from wsss_fast.files import DataError, mask_dtype, read_json, read_mask, write_json, write_mask
from wsss_fast.metrics import BoundaryIou, ConfusionMatrix, ThresholdSweep
from wsss_fast.steps._layout import walk_maps
from wsss_fast.steps._map_files import read_maps
from wsss_fast.steps._maps import (
    Cams,
    OwnThreshold,
    crf_labels,
    local_labels,
    own_threshold,
    person_id,
    read_merged_cams,
    relative,
    to_class_ids,
)
from wsss_fast.steps._progress import progress_over
from wsss_fast.steps._stages import Stage

_SWEPT = {"cam": "CAM", "random_walk": "random walk"}
"""The stages whose maps are labelled at many thresholds, with their titles."""


class SplitEvaluation:
    """The evaluation of one split, in two passes: the second needs the threshold that the first finds."""

    def __init__(
        self,
        config: Config,
        split: Split,
        images: ImageSet,
        stages: list[Stage],
        skipped: list[dict[str, str]],
    ) -> None:
        self.config = config
        self.split = split
        self.images = images
        self.stages = {s.key: s for s in stages if s.step != "predict" or split in config.predict.splits}
        self.skipped = skipped
        n_classes = 1 + len(images.classes)
        self.dtype = mask_dtype(len(images.classes))
        self.person = person_id(config, images.classes)
        width = config.evaluate.boundary_width
        self.counts = {key: _Counts(n_classes, width) for key in self.stages}
        self.sweeps = {
            key: ThresholdSweep(n_classes, config.evaluate.thresholds) for key in self.stages if key in _SWEPT
        }
        self.counted = array("q")  # of a million images, too
        self.without_mask = 0

    def run(self) -> dict[str, Any] | None:
        """What metrics.json says of the split; None if no image has a true mask."""
        for index, truth in self._truths():
            name = self.images.name(index)
            for key, stage in self.stages.items():
                if stage.step == "make-cams":
                    continue
                path = stage.masks(self.config, self.split) / f"{name}.png"
                if path.exists():
                    self.counts[key].update(path, read_mask(path), truth)
            self._sweep(index, truth)
        if not self.counted:
            return None
        thresholds = {key: stage.threshold for key, stage in self.stages.items()}
        sweeps = {key: self._curve(key) for key, sweep in self.sweeps.items() if sweep.images}
        if "cam" in sweeps:
            best: float = sweeps["cam"]["best"]
            self._count_cams(best)
            thresholds["cam"] = thresholds["cam_crf"] = best
        return {
            "images": len(self.counted),
            "without_mask": self.without_mask,
            "stages": {
                key: self.counts[key].summary(stage, thresholds[key])
                for key, stage in self.stages.items()
                if self.counts[key].images
            },
            "sweeps": sweeps,
            "notes": self._notes(),
        }

    def _truths(self) -> Iterator[tuple[int, np.ndarray]]:
        """The images that have a true mask that can be read."""
        for index in self._progress(range(len(self.images)), "masks"):
            try:
                truth = self.images.mask(index)
                if truth is None:
                    self.without_mask += 1
                    continue
            except DataError as error:
                if self.config.data.strict:
                    raise
                self._skip(index, error)
                continue
            self.counted.append(index)
            yield index, truth

    def _sweep(self, index: int, truth: np.ndarray) -> None:
        """Count the labels of the image's maps, before and after the walk, at all thresholds."""
        cams = self._cams(index)
        if cams is not None:
            with _named(self._cam_path(index)):
                self.sweeps["cam"].update(cams.full.numpy(), cams.classes, truth)
        path = walk_maps(self.config, self.split) / f"{self.images.name(index)}.npz"
        if "random_walk" in self.sweeps and path.exists():
            arrays = read_maps(path, "walk", classes=len(self.images.classes))
            with _named(path):
                self._sweep_walk(
                    arrays["classes"], torch.from_numpy(arrays["walk"].astype(np.float32)), truth
                )

    def _sweep_walk(self, classes: np.ndarray, walk: Tensor, truth: np.ndarray) -> None:
        sweep = self.sweeps["random_walk"]
        own = own_threshold(self.config, classes, self.person)
        maps = _relative(walk, truth.shape, own)
        if own is None:
            sweep.update(maps.numpy(), classes, truth)
        else:  # a class whose threshold is not swept
            labels = [local_labels(maps, threshold, own) for threshold in sweep.thresholds]
            sweep.update_labels([to_class_ids(x, classes, self.dtype) for x in labels], truth)

    def _curve(self, key: str) -> dict[str, Any]:
        sweep = self.sweeps[key]
        return {
            "title": _SWEPT[key],
            "values": sweep.thresholds,
            "mean_iou": [_number(s.mean_iou) for s in sweep.scores()],
            "best": sweep.thresholds[sweep.best()],
        }

    def _count_cams(self, threshold: float) -> None:
        """Write and count the labels of the CAMs at the threshold, before and after the CRF."""
        plain, crf = (self.stages[key].masks(self.config, self.split) for key in ("cam", "cam_crf"))
        _clear_if_other(crf, {"threshold": threshold, "crf": asdict(self.config.crf)})
        for index in self._progress(self.counted, "CRF"):
            cams = self._cams(index)
            if cams is None:
                continue
            name = f"{self.images.name(index)}.png"
            truth = self.images.mask(index)
            assert truth is not None  # it was there in the first pass
            labels = local_labels(cams.full, threshold)
            mask = to_class_ids(labels, cams.classes, self.dtype)
            write_mask(plain / name, mask)
            self.counts["cam"].update(plain / name, mask, truth)
            if (crf / name).exists() and all(_newer(crf / name, p) for p in self._cam_paths(index)):
                refined = read_mask(crf / name)
            else:
                try:
                    refined = self._refine(index, labels, cams)
                except DataError as error:
                    if self.config.data.strict:
                        raise
                    self._skip(index, error)
                    continue
                write_mask(crf / name, refined)
            self.counts["cam_crf"].update(crf / name, refined, truth)

    def _refine(self, index: int, labels: Tensor, cams: Cams) -> np.ndarray:
        if len(cams.classes):  # with no class present, everything is background
            image = self.images.image(index)
            labels = crf_labels(image, labels[None], 1 + len(cams.classes), self.config.crf)[0]
        return to_class_ids(labels, cams.classes, self.dtype)

    def _skip(self, index: int, error: DataError) -> None:
        name = self.images.name(index)
        self.skipped.append({"name": name, "file": error.file, "reason": error.reason})

    def _cam_path(self, index: int) -> Path:
        return self._cam_paths(index)[0]

    def _cam_paths(self, index: int) -> list[Path]:
        """The files that the maps of an image come from."""
        steps = ("make-cams", *(("make-person-cams",) if self.config.person.merge == "before" else ()))
        name = f"{self.images.name(index)}.npz"
        return [Path(self.config.output) / step / self.split / name for step in steps]

    def _cams(self, index: int) -> Cams | None:
        """The maps that the CRF and the random walk take."""
        if "cam" not in self.stages or not all(path.exists() for path in self._cam_paths(index)):
            return None
        name = self.images.name(index)
        return read_merged_cams(self.config, self.split, name, len(self.images.classes))

    def _progress(self, indices: Collection[int], what: str) -> Iterator[int]:
        return progress_over(indices, f"evaluate {self.split}, {what}")

    def _notes(self) -> list[str]:
        notes = []
        for key, stage in self.stages.items():
            missing = len(self.counted) - self.counts[key].images
            if missing:
                notes.append(
                    f"{stage.title}, {self.split}: {missing} of {len(self.counted)} images have no output"
                )
        return notes


class _Counts:
    """All that is counted of the masks of a stage."""

    def __init__(self, n_classes: int, boundary_width: float) -> None:
        self._confusion = ConfusionMatrix(n_classes)
        self._boundary = BoundaryIou(n_classes, boundary_width)

    @property
    def images(self) -> int:
        return self._confusion.images

    def update(self, path: Path, prediction: np.ndarray, truth: np.ndarray) -> None:
        with _named(path):
            self._confusion.update(prediction, truth)
            self._boundary.update(prediction, truth)

    def summary(self, stage: Stage, threshold: float | None) -> dict[str, Any]:
        scores = self._confusion.scores()
        return {
            "title": stage.title,
            "images": self.images,
            **({} if threshold is None else {"threshold": threshold}),
            "mean_iou": _number(scores.mean_iou),
            "mean_iou_all": _number(scores.mean_iou_all),
            "mean_iou_present": _number(scores.mean_iou_present),
            "frequency_weighted_iou": _number(scores.frequency_weighted_iou),
            "pixel_accuracy": _number(scores.pixel_accuracy),
            "mean_class_accuracy": _number(scores.mean_class_accuracy),
            "boundary_iou": _number(self._boundary.mean_iou),
            "combined": _number(scores.combined),
            "skipped": list(scores.skipped),
            "iou": [_number(value) for value in scores.iou],
            "class_accuracy": [_number(value) for value in scores.class_accuracy],
            "class_boundary_iou": [_number(value) for value in self._boundary.iou],
        }


def _relative(walk: Tensor, size: tuple[int, ...], own: OwnThreshold | None) -> Tensor:
    """Maps ``[K,h,w]`` after the walk -> ``[K,H,W]``, as make-pseudo-masks puts a threshold on them."""
    if len(walk) == 0:  # which torch refuses
        return walk.new_empty((0, *size))
    return relative(F.interpolate(walk[None], size, mode="bilinear", align_corners=False)[0], own)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What is wrong with the content of the file comes with its name."""
    try:
        yield
    except ValueError as error:
        raise DataError(path, str(error)) from error


def _newer(path: Path, than: Path) -> bool:
    return path.stat().st_mtime >= than.stat().st_mtime


def _clear_if_other(folder: Path, settings: dict[str, Any]) -> None:
    """Remove the masks in the folder unless its record says that they were made with these settings.

    The record goes before the masks and comes after they have gone, so that it is right at any moment.
    """
    record = folder / "settings.json"
    if record.exists() and read_json(record) == settings:
        return
    record.unlink(missing_ok=True)
    for mask in folder.glob("*.png"):
        mask.unlink()
    write_json(record, settings)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
