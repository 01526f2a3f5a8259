"""Mean IoU and its relatives after each stage of the method."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from wsss_fast._report_charts import threshold_chart
from wsss_fast.config import Config, Split, check_config
from wsss_fast.data import open_images
from wsss_fast.files import NoMasksError, write_json
from wsss_fast.steps._cores import set_threads
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._split_evaluation import SplitEvaluation
from wsss_fast.steps._stages import Stage, stages_of
from wsss_fast.steps._states import StepError, differences, read_state, refuse_or_tell

STEP = "evaluate"


def evaluate(config: Config) -> dict[str, Any]:
    """Compare the masks of every stage with the true ones; write and return ``evaluate/metrics.json``.

    For each split (``train``, ``val``) that has true masks:

    - *CAM*: argmax over the constant background threshold and the full-resolution CAMs, at that of
      ``evaluate.thresholds`` which gives this split the highest mean IoU;
    - *CAM + CRF*: that labelling refined by the CRF of ``crf``;
    - *random walk*: the pseudo-masks, those that the segmenter is trained on first, then those of the other
      ``pseudo_masks.thresholds``;
    - *segmenter*, *segmenter + TTA*, and with ``predict.crf`` *segmenter + TTA + CRF*: the predictions.

    The maps after the walk are labelled at all of ``evaluate.thresholds`` too; they are kept in 16 bits, so
    that a few pixels may differ from the pseudo-masks of the same threshold. Mean IoU over the threshold is
    drawn to ``evaluate/thresholds.png``.

    Images without a true mask are left out and counted. A stage that was not run is left out with a note,
    predictions of a split that is not among ``predict.splits`` without one.
    The masks of the first two stages go to ``evaluate/<split>/{cam,cam-crf}/<name>.png``; those of the CRF
    are kept for the next call while they are newer than their CAMs and of the same settings. A table is
    printed.

    What is held in memory grows with the classes, not with the images. Of several processes the first does
    it; the others return an empty dict.

    metrics.json::

        {"classes": ["background", ...],
         "splits": {"val": {
             "images": 100, "without_mask": 0,          # counted; left out because they have no true mask
             "stages": {"cam": {                        # in the order of the method
                 "title": "CAM", "images": 100,         # images counted at this stage
                 "threshold": 0.2,                      # of CAM and random walk alone
                 "mean_iou": 0.5,                       # over the classes in truth or prediction
                 "mean_iou_all": 0.5,                   # over all, absent ones as 0
                 "mean_iou_present": 0.5,               # over those in the truth
                 "frequency_weighted_iou": 0.7, "pixel_accuracy": 0.8, "mean_class_accuracy": 0.7,
                 "boundary_iou": 0.3, "combined": 0.8,
                 "skipped": [3],                        # ids in the truth, never predicted
                 "iou": [0.8, ...],                     # of each class, null for an absent one,
                 "class_accuracy": [...], "class_boundary_iou": [...]}},   # and so these
             "sweeps": {"cam": {"title": "CAM", "values": [0.05, ...], "mean_iou": [0.4, ...], "best": 0.2},
                        "random_walk": {...}},
             "notes": ["..."]}}}

    All are fractions; see `wsss_fast.metrics.scores` and `wsss_fast.metrics.BoundaryIou` for what they are.

    Raises `StepError` if no stage has been run or an output was made with another config, and `DataError`
    for an output that does not fit its image. True masks that cannot be read are listed in step.json and
    left out, or raised with ``data.strict``.

    >>> from wsss_fast.steps.evaluate import evaluate
    >>> metrics = evaluate(config)  # prints the table
    mean IoU (%) ...
    >>> 0 <= metrics["splits"]["val"]["stages"]["cam"]["mean_iou"] <= 1
    True
    """
    check_config(config)
    if not ranks().first:
        print(f"{ranks().prefix}{STEP} is left to rank 0")
        return {}
    start = time.perf_counter()
    folder = Path(config.output) / STEP
    set_threads(config)
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
        result = SplitEvaluation(config, split, images, ready, skipped).run()
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
    (folder / "thresholds.png").unlink(missing_ok=True)  # an earlier call may have had maps
    threshold_chart(metrics, folder / "thresholds.png")
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


def stage_titles(metrics: dict[str, Any]) -> dict[str, str]:
    """Titles of the stages that some split has, by their keys, in the order of the method."""
    splits = metrics["splits"].values()
    return {key: stage["title"] for result in splits for key, stage in result["stages"].items()}


def stage_table(metrics: dict[str, Any]) -> str:
    """Mean IoU in percent as aligned text, one row a stage, one column a split."""
    splits = metrics["splits"]
    titles = stage_titles(metrics)
    width = max(18, *(2 + len(title) for title in titles.values())) if titles else 18
    lines = [f"{'mean IoU (%)':<{width}}" + "".join(f"{split:>8}" for split in splits)]
    for key, title in titles.items():
        found = [result["stages"].get(key) for result in splits.values()]
        lines.append(f"{title:<{width}}" + "".join(f"{_percent(s):>8}" for s in found))
    for split, result in splits.items():
        best = ", ".join(f"{sweep['title']} {sweep['best']:g}" for sweep in result["sweeps"].values())
        lines.append(f"{split}: {result['images']} images" + (f", best threshold: {best}" if best else ""))
    for split, result in splits.items():
        for last in list(result["stages"].values())[-1:]:
            if last["skipped"]:
                of = sum(value is not None for value in last["class_accuracy"])
                lines.append(f"{split}: {last['title']} skips {len(last['skipped'])} of {of} classes")
    notes = {note: None for result in splits.values() for note in result["notes"]}
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _percent(stage: dict[str, Any] | None) -> str:
    return "-" if stage is None or stage["mean_iou"] is None else f"{100 * stage['mean_iou']:.2f}"


def _ready_stages(config: Config) -> tuple[list[str], list[Stage]]:
    """Notes on the stages that are not there, and the stages that are."""
    notes: list[str] = []
    ready: list[Stage] = []
    stages = stages_of(config)
    states = {step: _state(config, step) for step in {stage.step: None for stage in stages}}
    for step, state in states.items():
        titles = " and ".join(stage.title for stage in stages if stage.step == step)
        if state is None:
            notes.append(f"{titles} left out: `wsss-fast {step}` was not run")
        elif not state["done"]:
            notes.append(f"{titles} left out: `wsss-fast {step}` was not finished")
    for stage in stages:
        state = states[stage.step]
        if state is None or not state["done"]:
            continue
        if stage.key == "segmenter_tta" and not config.predict.tta:
            notes.append(f"{stage.title} left out: predict.tta is off")
            continue
        ready.append(stage)
    return notes, ready


def _state(config: Config, step: str) -> dict[str, Any] | None:
    """What is known of a step, None if it was never run. Raises if it was run with another config, or tells
    of it with ``changed_config: keep``."""
    folder = Path(config.output) / step
    refuse_or_tell(config, step, folder, differences(config, step, folder))
    return read_state(folder)
