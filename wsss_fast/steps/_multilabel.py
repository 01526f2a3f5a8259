"""Step 1: how good a multi-label classifier is."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_average_precision,
    binary_f1_score,
)

_NAN = torch.tensor(torch.nan)


def multilabel_metrics(scores: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Metrics of scores ``[N,K]`` in [0, 1] against labels ``[N,K]`` of 0 and 1 (int64), on the CPU.

    A class ``[K]`` each: ``ap`` (average precision; NaN for a class without positives), ``f1`` (at a score of
    0.5; 0 for a class that is neither there nor found), ``accuracy`` (at 0.5), ``positives``. Over classes:
    ``map`` and ``f1_macro`` are means over the classes with positives, NaN if there is none of those;
    ``f1_micro`` counts all decisions together; ``mean_accuracy`` is the mean over all classes.
    """
    positives = target.sum(0)
    there = positives > 0
    pairs = list(zip(scores.T, target.T, strict=True))
    # Class by class: the multi-label functions of torchmetrics refuse a single class.
    ap = torch.stack([binary_average_precision(*pair) if pair[1].any() else _NAN for pair in pairs])
    f1 = torch.stack([binary_f1_score(*pair) for pair in pairs])
    accuracy = torch.stack([binary_accuracy(*pair) for pair in pairs])
    return {
        "map": ap[there].mean(),
        "f1_macro": f1[there].mean(),
        "f1_micro": binary_f1_score(scores.flatten(), target.flatten()),
        "mean_accuracy": accuracy.mean(),
        "ap": ap,
        "f1": f1,
        "accuracy": accuracy,
        "positives": positives,
    }
