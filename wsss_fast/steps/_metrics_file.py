"""Reading what `evaluate` has written, with a look at whether it is that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from wsss_fast.files import DataError, read_json

_MEANS = (
    "mean_iou",
    "mean_iou_all",
    "mean_iou_present",
    "frequency_weighted_iou",
    "boundary_iou",
    "pixel_accuracy",
    "mean_class_accuracy",
    "combined",
)
_BY_CLASS = ("iou", "class_accuracy", "class_boundary_iou")


def read_metrics(path: Path) -> dict[str, Any]:
    """metrics.json as `wsss_fast.steps.evaluate.evaluate` describes it; `DataError` for another file."""
    metrics = read_json(path)
    splits = metrics.get("splits") if isinstance(metrics, dict) else None
    if isinstance(splits, dict) and any(isinstance(r, dict) and "sweeps" not in r for r in splits.values()):
        raise DataError(
            path, "expected metrics of this version, got those of an earlier one; run `wsss-fast evaluate`"
        )
    wrong = _wrong(metrics)
    if wrong is not None:
        raise DataError(
            path, f"expected metrics as evaluate writes them, got others ({wrong}); run `wsss-fast evaluate`"
        )
    return cast("dict[str, Any]", metrics)


def mean_ious(path: Path) -> dict[str, dict[str, float | None]]:
    """The mean IoU of each split and stage in metrics.json, of this version or an earlier one.

    Raises `DataError` for another file.
    """
    metrics = read_json(path)
    wrong = DataError(path, "expected metrics as evaluate writes them, got others; run `wsss-fast evaluate`")
    try:
        means = {
            split: {key: stage["mean_iou"] for key, stage in result["stages"].items()}
            for split, result in metrics["splits"].items()
        }
    except (AttributeError, KeyError, TypeError):
        raise wrong from None
    if not all(_is_number(value) for of in means.values() for value in of.values()):
        raise wrong
    return means


def _wrong(metrics: Any) -> str | None:
    """Where they are not as they should be."""
    if not isinstance(metrics, dict) or not _are(metrics.get("classes"), str):
        return "classes"
    count = len(metrics["classes"])
    if not _sections(metrics.get("splits")):
        return "splits"
    for split, result in metrics["splits"].items():
        numbers = (result.get("images"), result.get("without_mask"))
        if not _are(list(numbers), int) or not _are(result.get("notes"), str):
            return f"splits.{split}"
        if not _sections(result.get("stages")) or not _sections(result.get("sweeps")):
            return f"splits.{split}"
        for key, stage in result["stages"].items():
            if not _is_stage(stage, count):
                return f"splits.{split}.stages.{key}"
        for key, sweep in result["sweeps"].items():
            if not _is_sweep(sweep):
                return f"splits.{split}.sweeps.{key}"
    return None


def _is_stage(stage: Mapping[str, Any], classes: int) -> bool:
    return (
        isinstance(stage.get("title"), str)
        and isinstance(stage.get("images"), int)
        and _is_number(stage.get("threshold"))
        and all(key in stage and _is_number(stage[key]) for key in _MEANS)
        and all(_are(stage.get(key), float, null=True) and len(stage[key]) == classes for key in _BY_CLASS)
        and _are(stage.get("skipped"), int)
        and all(0 <= label < classes for label in stage["skipped"])
    )


def _is_sweep(sweep: Mapping[str, Any]) -> bool:
    values, means = sweep.get("values"), sweep.get("mean_iou")
    return (
        isinstance(sweep.get("title"), str)
        and _are(values, float)
        and _are(means, float, null=True)
        and len(values or []) == len(means or []) > 0
        and sweep.get("best") in (values or [])
    )


def _sections(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(of, dict) for of in value.values())


def _is_number(value: object) -> bool:
    """Whether it is one, or null for one that could not be measured."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _are(value: object, kind: type, *, null: bool = False) -> bool:
    """Whether it is a list of values of a type."""
    kinds = (kind, int) if kind is float else (kind,)
    return isinstance(value, list) and all(
        (null and of is None) or (isinstance(of, kinds) and not isinstance(of, bool)) for of in value
    )
