"""Values that no key of the config takes, by the type of the key, and by the key where it is a number."""

from __future__ import annotations

import types
import typing
from dataclasses import is_dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import torch

HUGE = "1" + "0" * 30
ENDLESS = "9" * 5000
"""More digits than Python reads."""

JUNK = [
    "{a: {b: [1, {c: null}]}}",
    "[[[]]]",
    "{}",
    "!!set {a, b}",
    "!!bool x",
    "!!int ''",
    "!!python/object:os.system x",
]
"""YAML of no type that a key has."""

NO_NUMBER = [
    "x",
    "''",
    "true",
    ".nan",
    ".inf",
    "-.inf",
    "[1]",
    "[]",
    "2026-01-01",
    "'1 2'",
    "1e400",
    ENDLESS,
    *JUNK,
]

_TEXTS = ["''", "' '", '"a\\0b"', '"a\\nb"', '"\\e[31m"', '"\\u2028"']
"""Blank, and such as cannot be printed."""

_IN_PYTHON: list[Any] = [
    object(),
    b"x",
    (1, 2),
    (0.5,),
    {1},
    {"a": {"b": [None]}},
    1j,
    Decimal(1),
    np.int64(1),
    np.float32(0.5),
    np.ones(2),
    np.bool_(True),
    torch.ones(2),
    torch.tensor(1),
    len,
    int,
    float("nan"),
    float("inf"),
    -float("inf"),
    10**30,
    -(10**30),
    10**6000,
    "",
    " ",
    "a\0",
    "a\nb",
    "\udcff",
    [[]],
    [None],
    [object()],
    [float("nan")],
    [10**6000],
    ["a\0"],
    [b"x"],
]
"""Values that no key takes when it is set from Python, whatever its type."""


def in_python(hint: Any) -> list[Any]:
    """Values that keys of a type do not take from Python."""
    more: list[Any] = [] if "None" in str(hint) else [None]
    if hint is not bool:
        more += [True, False]
    if typing.get_origin(hint) is not list:
        more.append([])
    return [*_IN_PYTHON, *more]


def in_yaml(hint: Any) -> list[str]:
    """YAML that keys of a type do not take from a file."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return in_yaml(arguments[0])
    if hint is str:
        return [*_TEXTS, *(junk for junk in JUNK), "[a]", "!!binary eA=="]
    if hint is int:
        return [*NO_NUMBER, "1.5", HUGE, f"-{HUGE}"]
    if hint is float:
        return NO_NUMBER
    if hint is bool:
        return ["x", "2", "''", "[true]", ".nan", *JUNK]
    if origin is Literal:
        return ["x", "''", "0", "[1]", HUGE, ".nan", *JUNK]
    item = arguments[0]
    common = ["x", "1", "''", "[[1]]", "[null]", "[{a: 1}]", "&a [*a]", f"[{ENDLESS}]", "[!!bool x]", *JUNK]
    if is_dataclass(item):
        return [
            *common,
            "[1]",
            "[{nope: 1}]",
            "[{name: ''}]",
            "[{output_stride: 7}]",
            "[{sha256: '1'}]",
            "[{}, {}]",
        ]
    if item is str:
        return [*common, "[a, a]", *(f"[a, {text}]" for text in _TEXTS)]
    if typing.get_origin(item) is Literal:
        return [*common, "[x]", f"[{typing.get_args(item)[0]}, {typing.get_args(item)[0]}]", "[0]"]
    if item is bool:
        return [*common, "[]", "[x]", "[true, true]", "[2]"]
    return [*common, "[]", "[x]", "[1, x]", "[true]", "[.nan]", "[1, .inf]", "[1e400]", "[-1]"]


def may_be_null(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


_POSITIVE = ["0", "-1"]
_NOT_NEGATIVE = ["-1", "-1e-300"]
_FRACTION = ["-0.1", "1.1", "-1e-300", "1e300"]
_INSIDE = ["0", "1", "-0.1", "1.1", "1e300"]
_SCALE = ["0", "-1", "1e-9", "101", "1e300"]
_DEVIATION = ["0", "-1", "1e-9", "1e300"]
_WALK = ["1", "0", "-1", "16"]

_TRAINING = {
    "epochs": _POSITIVE,
    "batch_size": _POSITIVE,
    "accumulate": [*_POSITIVE, "3"],  # no divisor of the batch size
    "image_size": [*_POSITIVE, "31", "16385"],
    "weight_decay": _NOT_NEGATIVE,
    "step_epochs": _POSITIVE,
    "step_factor": _FRACTION,
    "warmup": _FRACTION,
    "poly_power": _NOT_NEGATIVE,
}
_CLASSIFIER = {
    **_TRAINING,
    "lr_backbone": _NOT_NEGATIVE,
    "lr_head": _NOT_NEGATIVE,
    "min_scale": _FRACTION,
    "dropout": _FRACTION,
    "drop_path": _FRACTION,
    "label_smoothing": _FRACTION,
    "mixup": _NOT_NEGATIVE,
    "random_erasing": _FRACTION,
    "balance_target": _POSITIVE,
}

_BY_SECTION: dict[str, dict[str, list[str]]] = {
    "": {"seed": [], "threads": [*_POSITIVE, "1025"]},
    "checkpoints": {"every": _POSITIVE, "keep": _POSITIVE},
    "logs": {"every": _POSITIVE},
    "data": {"workers": ["-1", "1025"]},
    "data.shapes": {
        "train": [*_POSITIVE, "1000001"],
        "val": [*_POSITIVE, "1000001"],
        "size": [*_POSITIVE, "31", "4097"],
        "classes": [*_POSITIVE, "1", "7"],
        "seed": ["-1"],
    },
    "classifier": _CLASSIFIER,
    "person.classifier": _CLASSIFIER,
    "person": {"threshold": ["0", "-0.1", "1.1"]},
    "cams": {"min_score": _FRACTION, "stride": _POSITIVE},
    "crf": {
        "iterations": ["-1"],
        "gaussian_sxy": _DEVIATION,
        "gaussian_compat": ["-1", "1e300"],
        "bilateral_sxy": _DEVIATION,
        "bilateral_srgb": _DEVIATION,
        "bilateral_compat": ["-1", "1e300"],
        "gt_prob": _INSIDE,
    },
    "ir_labels": {"foreground_threshold": _FRACTION, "background_threshold": [*_FRACTION, "0.31"]},
    "irnet": {
        **_TRAINING,
        "lr_boundary": _NOT_NEGATIVE,
        "lr_displacement": _NOT_NEGATIVE,
        "radius": _WALK,
        "min_scale": _SCALE,
        "max_scale": [*_SCALE, "0.4"],
    },
    "pseudo_masks": {"radius": _WALK, "beta": _NOT_NEGATIVE, "exp_times": ["-1", "13"]},
    "instances": {"threshold": _FRACTION, "iterations": _POSITIVE, "min_area": _FRACTION},
    "segmenter": {
        **_TRAINING,
        "lr_backbone": _NOT_NEGATIVE,
        "lr_head": _NOT_NEGATIVE,
        "min_scale": _SCALE,
        "max_scale": [*_SCALE, "0.4"],
        "mask_threshold": ["-1", "0.9", "1e300"],
        "unsure_below": ["-1", "0.25", "0.9"],
    },
    "segmenter.crf_loss": {
        "weight": _NOT_NEGATIVE,
        "sxy": _DEVIATION,
        "srgb": _DEVIATION,
        "scale": [*_SCALE[:3], "1.1"],
    },
    "evaluate": {"boundary_width": _INSIDE},
    "report": {"images": ["-1"]},
}

OUT_OF_RANGE: dict[str, list[str]] = {
    f"{section}.{key}".removeprefix("."): values
    for section, keys in _BY_SECTION.items()
    for key, values in keys.items()
}
"""Numbers that a key does not take, for every key that is one (``seed`` takes all)."""

MORE: dict[str, list[str]] = {
    "cams.scales": ["[0]", "[1, 0]", "[1e-9]", "[101]", "[1e300]"],
    "predict.scales": ["[0]", "[1, 0]", "[1e-9]", "[101]", "[1e300]"],
    "pseudo_masks.thresholds": ["[1.1]", "[0.5, 0.5]"],
    "evaluate.thresholds": ["[1.1]", "[0.5, 0.5]"],
    "ablate.thresholds": ["[1.1]", "[0.5, 0.5]"],
    "ablate.encoders": ["[{output_stride: 32}]"],
    **{
        f"{section}.backbone.sha256": ["x", "0" * 63, "g" * 64]
        for section in ("classifier", "person.classifier", "irnet", "segmenter")
    },
    "segmenter.backbone.output_stride": ["32"],
}
"""Values of the right type that single keys do not take."""

TOGETHER: list[tuple[str, dict[str, str]]] = [
    ("data.root", {"data.reader": "folder"}),
    ("data.root", {"data.reader": "voc"}),
    ("data.root", {"data.reader": "prepared", "data.images_root": "x"}),
    ("data.images_root", {"data.reader": "voc", "data.root": "x", "data.images_root": "x"}),
    ("data.images_root", {"data.images_root": "x"}),
    ("classifier.exclude", {"person.merge": "before"}),
    ("classifier.exclude", {"person.merge": "after", "classifier.exclude": "[cat]"}),
    ("person.classifier.exclude", {"person.classifier.exclude": "[cat]"}),
    ("classifier.accumulate", {"classifier.batch_size": "4", "classifier.accumulate": "8"}),
    (
        "ir_labels.background_threshold",
        {"ir_labels.foreground_threshold": "0.1", "ir_labels.background_threshold": "0.2"},
    ),
    ("irnet.max_scale", {"irnet.min_scale": "2", "irnet.max_scale": "1"}),
    ("segmenter.max_scale", {"segmenter.min_scale": "3"}),
    (
        "segmenter.mask_threshold",
        {"segmenter.mask_threshold": "0.4", "pseudo_masks.thresholds": "[0.3, 0.5]"},
    ),
    ("segmenter.unsure_below", {"segmenter.unsure_below": "0.5", "pseudo_masks.thresholds": "[0.3, 0.5]"}),
    (
        "segmenter.unsure_below",
        {
            "segmenter.unsure_below": "0.3",
            "pseudo_masks.thresholds": "[0.5, 0.3]",
            "segmenter.labels": "soft",
        },
    ),
]
"""Values that are good alone and not together, with the key that the message names."""

FILES: dict[str, tuple[bytes, str]] = {
    "no mapping": (b"- 1\n", "expected a section"),
    "a word": (b"hello", "expected a section"),
    "a number": (b"3", "expected a section"),
    "unknown key": (b"nope: 1", "nope: expected a key"),
    "unknown key inside": (b"crf: {nope: 1}", "crf.nope: expected a key"),
    "unknown key in a list": (b"ablate: {encoders: [{nope: 1}]}", "ablate.encoders[0].nope: expected a key"),
    "number as a key": (b"1: 2", "expected a key"),
    "null as a key": (b"~: 2", "expected a key"),
    "list as a key": (b"? [1]\n: 2", "expected YAML"),
    "control characters as a key": (b'"a\\e[31m\\0": 2', "expected a key"),
    "key twice": (b"seed: 1\nseed: 2\n", "'seed' for the second time"),
    "section twice": (b"crf: {gt_prob: 0.5}\ncrf: {iterations: 2}\n", "'crf' for the second time"),
    "key twice inside": (b"crf: {iterations: 1, iterations: 2}", "'iterations' for the second time"),
    "section as a value": (b"crf: 3", "crf: expected a section"),
    "section of nothing": (b"crf:", "crf: expected a section"),
    "value as a section": (b"seed: {a: 1}", "seed: expected an integer"),
    "broken": (b"crf: [1, 2", "expected YAML"),
    "tabs": (b"crf:\n\titerations: 3", "expected YAML"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", "expected YAML"),
    "unknown alias": (b"seed: *a", "expected YAML"),
    "python": (b"!!python/object/apply:os.system ['false']", "expected YAML"),
    "python inside": (b"output: !!python/object/apply:os.system ['false']", "expected YAML"),
    "unknown tag": (b"output: !nope x", "expected YAML"),
    "bad tag": (b"seed: !!bool x", "expected YAML"),
    "bad date": (b"output: 2026-99-99", "expected YAML"),
    "endless number": (b"seed: " + b"9" * 5000, "expected YAML"),
    "deep": (b"[" * 1500, "expected YAML"),
    "deep and closed": (b"seed: " + b"[" * 1000 + b"]" * 1000, "expected YAML"),
    "bomb": (
        b"seed: &a [x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 20)) for c in range(97, 110)),
        "seed: expected an integer",
    ),
    "bomb in a key": (
        b"seed:\n - &a [x]\n"
        + b"".join(b" - &%c [%s]\n" % (c + 1, b", ".join([b"*%c" % c] * 20)) for c in range(97, 110)),
        "seed: expected an integer",
    ),
    "bomb in a list": (
        b"cams:\n scales:\n  - &a [x]\n"
        + b"".join(b"  - &%c [%s]\n" % (c + 1, b", ".join([b"*%c" % c] * 20)) for c in range(97, 110)),
        "cams.scales: expected a list",
    ),
    "circle": (b"&a {crf: *a}", "crf.crf: expected a key"),
    "circle in a list": (b"cams: {scales: &a [*a]}", "cams.scales: expected a list"),
    "binary": (bytes(range(256)), "expected a config file"),
    "NUL": (b"seed: 1\0", "expected YAML"),
    "zeros": (bytes(100), "expected YAML"),
    "zip": (b"PK\x03\x04" + bytes(range(256)), "expected a config file"),
    "latin-1": ("output: größe".encode("latin-1"), "expected a config file"),
    "utf-16": ("seed: 1".encode("utf-16"), "expected a config file"),
    "too long": (b"# " + b"x" * (1 << 21), "expected a config file"),
}
"""Config files, and what the message says of them."""
