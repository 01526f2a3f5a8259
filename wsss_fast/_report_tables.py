"""The tables of the report, from what `evaluate` has written."""

from __future__ import annotations

from typing import Any

from wsss_fast.steps.evaluate import stage_titles

METRICS = {
    "mean_iou": "mean IoU",
    "mean_iou_all": "all classes",
    "mean_iou_present": "present",
    "frequency_weighted_iou": "by frequency",
    "boundary_iou": "boundary IoU",
    "pixel_accuracy": "pixel acc.",
    "mean_class_accuracy": "class acc.",
    "combined": "combined",
}
"""Columns of the table of all metrics, with their headings."""


def stage_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean IoU of each stage, a column a split."""
    splits = metrics["splits"].values()
    return [
        {"title": title, "values": [(r["stages"].get(key) or {}).get("mean_iou") for r in splits]}
        for key, title in stage_titles(metrics).items()
    ]


def metric_tables(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """All metrics of each stage, one table a split, validation first, and the names of skipped classes."""
    return [
        {
            "split": split,
            "titles": list(METRICS.values()),
            "rows": [
                {
                    "title": stage["title"],
                    "threshold": _threshold(stage),
                    "values": [stage[key] for key in METRICS],
                    "skipped": len(stage["skipped"]),
                }
                for stage in stages
            ],
            "best": [max((s[key] for s in stages if s[key] is not None), default=None) for key in METRICS],
            "skipped": [
                {"title": stage["title"], "classes": [metrics["classes"][k] for k in stage["skipped"]]}
                for stage in stages
                if stage["skipped"]
            ],
        }
        for split in _validation_first(metrics)
        if (stages := list(metrics["splits"][split]["stages"].values()))
    ]


def class_tables(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Per-class IoU, one table a split, validation first."""
    tables = []
    for split in _validation_first(metrics):
        stages = list(metrics["splits"][split]["stages"].values())
        tables.append(
            {
                "split": split,
                "titles": [stage["title"] for stage in stages],
                "rows": [
                    {
                        "name": name,
                        "values": [{"iou": s["iou"][k], "skipped": k in s["skipped"]} for s in stages],
                    }
                    for k, name in enumerate(metrics["classes"])
                ],
                "mean": [stage["mean_iou"] for stage in stages],
            }
        )
    return tables


def _threshold(stage: dict[str, Any]) -> str | None:
    """That of the stage, unless it has none or its title says it."""
    threshold = stage.get("threshold")
    if threshold is None or stage["title"].endswith(f", {threshold:g}"):
        return None
    return f"{threshold:g}"


def _validation_first(metrics: dict[str, Any]) -> list[str]:
    return sorted(metrics["splits"], key=lambda split: split != "val")
