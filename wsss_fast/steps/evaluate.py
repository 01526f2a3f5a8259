"""Mean IoU after each stage of the method."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from wsss_fast.config import Config, Split
from wsss_fast.data import ImageSet, open_images
from wsss_fast.files import DataError, NoMasksError, read_json, read_mask, write_json, write_mask
from wsss_fast.metrics import ConfusionMatrix, ThresholdSweep
from wsss_fast.steps._graph import relevant_config
from wsss_fast.steps._layout import pseudo_masks
from wsss_fast.steps._maps import Cams, crf_labels, local_labels, read_cams, to_class_ids
from wsss_fast.steps._progress import progress_over
from wsss_fast.steps._step import StepError

STEP = "evaluate"


@dataclass(frozen=True)
class Stage:
    """A point of the method at which there are masks to look at."""

    key: str
    title: str
    step: str
    """The command whose outputs it looks at."""
    folder: str = ""
    """Where the masks are, under ``<step>/<split>``; the two stages of CAMs make theirs here."""


STAGES = (
    Stage("cam", "CAM", "make-cams"),
    Stage("cam_crf", "CAM + CRF", "make-cams"),
    Stage("random_walk", "random walk", "make-pseudo-masks"),
    Stage("segmenter", "segmenter", "predict", "single"),
    Stage("segmenter_tta", "segmenter + TTA", "predict", "tta"),
)


def evaluate(config: Config) -> dict[str, Any]:
    """Compare the masks of every stage with the true ones; write and return ``evaluate/metrics.json``.

    For each split (``train``, ``val``) that has true masks:

    - *CAM*: argmax over the constant background threshold and the full-resolution CAMs, at that of
      ``evaluate.thresholds`` which gives this split the highest mean IoU;
    - *CAM + CRF*: that labelling refined by the CRF of ``crf``;
    - *random walk*: the pseudo-masks; *segmenter*, *segmenter + TTA*: the predictions.

    Images without a true mask are left out and counted. A stage that was not run is left out with a note,
    predictions of a split that is not among ``predict.splits`` without one.
    The masks of the first two stages go to ``evaluate/<split>/{cam,cam-crf}/<name>.png``; those of the CRF
    are kept for the next call while they are newer than their CAMs and of the same settings. A table is
    printed.

    metrics.json::

        {"classes": ["background", ...],
         "splits": {"val": {
             "images": 100, "without_mask": 0,          # counted; left out because they have no true mask
             "stages": {"cam": {                        # in the order of the method
                 "title": "CAM", "images": 100,         # images counted at this stage
                 "mean_iou": 0.5, "pixel_accuracy": 0.8,
                 "iou": [0.8, ...]}},                   # of each class, null for an absent one
             "thresholds": {"values": [0.05, ...], "mean_iou": [0.4, ...], "best": 0.2},
             "notes": ["..."]}}}

    IoUs are fractions; means are over the classes that occur in truth or prediction (see
    `wsss_fast.metrics.scores`).

    Raises `StepError` if no stage has been run or an output was made with another config, and `DataError`
    for an output that does not fit its image. True masks that cannot be read are listed in step.json and
    left out, or raised with ``data.strict``.
    """
    start = time.perf_counter()
    folder = Path(config.output) / STEP
    notes, ready = _ready_stages(config)
    if not ready:
        raise StepError(
            f"{STEP}: expected outputs of at least one stage under {config.output}, got none; "
            "run `wsss-fast make-cams` (or `wsss-fast run`) first"
        )
    metrics: dict[str, Any] = {"classes": [], "splits": {}}
    skipped: list[dict[str, str]] = []
    for split in get_args(Split):
        images = open_images(config.data, split)
        metrics["classes"] = ["background", *images.classes]
        result = _SplitEvaluation(config, split, images, ready, skipped).run()
        if result is not None:
            result["notes"] = notes + result["notes"]
            metrics["splits"][split] = result
    if not metrics["splits"]:
        reason = f"; the first of {len(skipped)} unreadable: {skipped[0]['reason']}" if skipped else ""
        raise NoMasksError(
            config.data.root or config.data.reader,
            f"expected true masks to evaluate with, got none in either split{reason}",
        )
    write_json(folder / "metrics.json", metrics)
    write_json(
        folder / "step.json",
        {
            "step": STEP,
            "config": {"crf": asdict(config.crf), "evaluate": asdict(config.evaluate)},
            "done": True,
            "seconds": time.perf_counter() - start,
            "items": sum(result["images"] for result in metrics["splits"].values()),
            "skipped": skipped,
        },
    )
    print(stage_table(metrics))
    return metrics


def stage_table(metrics: dict[str, Any]) -> str:
    """Mean IoU in percent as aligned text, one row a stage, one column a split."""
    splits = metrics["splits"]
    lines = [f"{'mean IoU (%)':<18}" + "".join(f"{split:>8}" for split in splits)]
    for stage in STAGES:
        found = [result["stages"].get(stage.key) for result in splits.values()]
        if any(found):
            lines.append(f"{stage.title:<18}" + "".join(f"{_percent(s):>8}" for s in found))
    lines += [
        f"{split}: {result['images']} images, CAM threshold {result['thresholds']['best']:g}"
        if result["thresholds"]
        else f"{split}: {result['images']} images"
        for split, result in splits.items()
    ]
    notes = {note: None for result in splits.values() for note in result["notes"]}
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _percent(stage: dict[str, Any] | None) -> str:
    return "-" if stage is None or stage["mean_iou"] is None else f"{100 * stage['mean_iou']:.2f}"


def _ready_stages(config: Config) -> tuple[list[str], list[Stage]]:
    """Notes on the stages that are not there, and the stages that are."""
    notes: list[str] = []
    ready: list[Stage] = []
    states = {step: _state(config, step) for step in {stage.step: None for stage in STAGES}}
    for step, state in states.items():
        titles = " and ".join(stage.title for stage in STAGES if stage.step == step)
        if state is None:
            notes.append(f"{titles} left out: `wsss-fast {step}` was not run")
        elif not state["done"]:
            notes.append(f"{titles} left out: `wsss-fast {step}` was not finished")
    for stage in STAGES:
        state = states[stage.step]
        if state is None or not state["done"]:
            continue
        if stage.key == "segmenter_tta" and not config.predict.tta:
            notes.append(f"{stage.title} left out: predict.tta is off")
            continue
        ready.append(stage)
    return notes, ready


def _state(config: Config, step: str) -> dict[str, Any] | None:
    """The step.json of a step, None if it was never run. Raises if it was run with another config."""
    path = Path(config.output) / step / "step.json"
    if not path.exists():
        return None
    state: dict[str, Any] = read_json(path)
    now = relevant_config(config, step)
    differ = [section for section in now if state["config"].get(section) != now[section]]
    if differ:
        raise StepError(
            f"{STEP}: expected {path.parent} to be made with the config of this call, "
            f"got another one ({', '.join(differ)} differ)"
        )
    return state


class _SplitEvaluation:
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
        self.stages = [s for s in stages if s.step != "predict" or split in config.predict.splits]
        self.skipped = skipped
        self.n_classes = 1 + len(images.classes)
        self.root = Path(config.output)
        self.counted: list[int] = []
        self.without_mask = 0

    def run(self) -> dict[str, Any] | None:
        """What metrics.json says of the split; None if no image has a true mask."""
        sweep = ThresholdSweep(self.n_classes, self.config.evaluate.thresholds)
        confusion = {stage.key: ConfusionMatrix(self.n_classes) for stage in self.stages}
        for index, truth in self._truths():
            name = self.images.name(index)
            for stage in self.stages:
                if stage.step == "make-cams":
                    continue
                path = self._masks(stage) / f"{name}.png"
                if path.exists():
                    _count(confusion[stage.key], path, read_mask(path), truth)
            cams = self._cams(index)
            if cams is not None:
                try:
                    sweep.update(cams.full.numpy(), cams.classes, truth)
                except ValueError as error:
                    raise DataError(self._cam_path(index), str(error)) from error
        if not self.counted:
            return None
        thresholds: dict[str, Any] | None = None
        if sweep.images:
            best = sweep.best()
            curve = [s.mean_iou for s in sweep.scores()]
            thresholds = {
                "values": sweep.thresholds,
                "mean_iou": [_number(value) for value in curve],
                "best": sweep.thresholds[best],
            }
            self._count_cams(sweep.thresholds[best], confusion["cam"], confusion["cam_crf"])
        results = {
            stage.key: _summary(stage, confusion[stage.key])
            for stage in self.stages
            if confusion[stage.key].images
        }
        return {
            "images": len(self.counted),
            "without_mask": self.without_mask,
            "stages": results,
            "thresholds": thresholds,
            "notes": self._notes(confusion),
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

    def _count_cams(self, threshold: float, plain: ConfusionMatrix, crf: ConfusionMatrix) -> None:
        """Write and count the labels of the CAMs at the threshold, before and after the CRF."""
        out = self.root / STEP / self.split
        _clear_if_other(out / "cam-crf", {"threshold": threshold, "crf": asdict(self.config.crf)})
        for index in self._progress(self.counted, "CRF"):
            cams = self._cams(index)
            if cams is None:
                continue
            name = self.images.name(index)
            truth = self.images.mask(index)
            assert truth is not None  # it was there in the first pass
            labels = local_labels(cams.full, threshold)
            mask = to_class_ids(labels, cams.classes)
            write_mask(out / "cam" / f"{name}.png", mask)
            plain.update(mask, truth)
            path = out / "cam-crf" / f"{name}.png"
            if path.exists() and path.stat().st_mtime >= self._cam_path(index).stat().st_mtime:
                refined = read_mask(path)
            else:
                try:
                    refined = self._refine(index, labels, cams)
                except DataError as error:
                    if self.config.data.strict:
                        raise
                    self._skip(index, error)
                    continue
                write_mask(path, refined)
            _count(crf, path, refined, truth)

    def _refine(self, index: int, labels: torch.Tensor, cams: Cams) -> np.ndarray:
        if len(cams.classes):  # with no class present, everything is background
            image = self.images.image(index)
            labels = crf_labels(image, labels[None], 1 + len(cams.classes), self.config.crf)[0]
        return to_class_ids(labels, cams.classes)

    def _masks(self, stage: Stage) -> Path:
        if stage.step == "make-pseudo-masks":
            return pseudo_masks(self.config, self.split)
        return self.root / stage.step / self.split / stage.folder

    def _skip(self, index: int, error: DataError) -> None:
        name = self.images.name(index)
        self.skipped.append({"name": name, "file": error.file, "reason": error.reason})

    def _cam_path(self, index: int) -> Path:
        return self.root / "make-cams" / self.split / f"{self.images.name(index)}.npz"

    def _cams(self, index: int) -> Cams | None:
        if not any(stage.step == "make-cams" for stage in self.stages) or not self._cam_path(index).exists():
            return None
        return read_cams(self._cam_path(index))

    def _progress(self, indices: Any, what: str) -> Any:
        return progress_over(indices, f"{STEP} {self.split}, {what}")

    def _notes(self, confusion: dict[str, ConfusionMatrix]) -> list[str]:
        notes = []
        for stage in self.stages:
            missing = len(self.counted) - confusion[stage.key].images
            if missing:
                notes.append(
                    f"{stage.title}, {self.split}: {missing} of {len(self.counted)} images have no output"
                )
        return notes


def _count(confusion: ConfusionMatrix, path: Path, prediction: np.ndarray, truth: np.ndarray) -> None:
    try:
        confusion.update(prediction, truth)
    except ValueError as error:
        raise DataError(path, str(error)) from error


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


def _summary(stage: Stage, confusion: ConfusionMatrix) -> dict[str, Any]:
    scores = confusion.scores()
    return {
        "title": stage.title,
        "images": confusion.images,
        "mean_iou": _number(scores.mean_iou),
        "pixel_accuracy": _number(scores.pixel_accuracy),
        "iou": [_number(value) for value in scores.iou],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
