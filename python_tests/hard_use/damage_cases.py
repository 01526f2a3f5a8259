"""What may have become of the files that earlier steps wrote: each damage is a function of the path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wsss_fast.files import write_image, write_mask, write_npz

Damage = Callable[[Path], object]
Arrays = dict[str, np.ndarray]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


OF_ANY: dict[str, Damage] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"hello world" * 20),
    "zeros": lambda path: path.write_bytes(bytes(200)),
    "a folder": _folder,
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}
"""Of a file of any kind."""


def changed(**changes: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Arrays of an .npz file by functions of what they were."""

    def damage(path: Path) -> None:
        with np.load(path) as file:
            arrays = dict(file)
        for name, change in changes.items():
            arrays[name] = change(arrays[name])
        write_npz(path, **arrays)

    return damage


def without(name: str) -> Damage:
    def damage(path: Path) -> None:
        with np.load(path) as file:
            arrays = {key: value for key, value in file.items() if key != name}
        write_npz(path, **arrays)

    return damage


OF_CLASSES: dict[str, Damage] = {
    "no classes": without("classes"),
    "a flipped byte": _flip,
    "classes of another rank": changed(classes=lambda ids: ids[:, None]),
    "classes of one number": changed(classes=lambda ids: np.array(1)),
    "classes of floats": changed(classes=lambda ids: ids + 0.5),
    "classes of NaN": changed(classes=lambda ids: ids * np.nan),
    "classes of text": changed(classes=lambda ids: np.array(["x"] * len(ids))),
    "the background": changed(classes=lambda ids: ids * 0),
    "negative classes": changed(classes=lambda ids: ids * 0 - 3),
    "unknown classes": changed(classes=lambda ids: ids * 0 + 250),
    "more classes": changed(classes=lambda ids: np.arange(1, len(ids) + 2)),
    "no class": changed(classes=lambda ids: ids[:0]),
}
"""Of a file of maps with their classes."""


def of_maps(name: str) -> dict[str, Damage]:
    """Of one of its arrays ``[K,h,w]``."""
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "of another rank": lambda maps: maps[0],
        "of text": lambda maps: np.array(["x"] * len(maps)),
        "complex": lambda maps: maps.astype(np.complex64),
        "integers": lambda maps: maps.astype(np.int64),
        "of NaN": lambda maps: np.where(np.arange(maps.shape[-1]) == 1, np.nan, maps).astype(maps.dtype),
        "infinite": lambda maps: maps + maps.dtype.type(np.inf),
        "of no row": lambda maps: maps[:, :0],
        "too many": lambda maps: np.concatenate([maps, maps[:1]]),
    }
    return {
        f"no {name}": without(name),
        **{f"{name} {kind}": changed(**{name: change}) for kind, change in changes.items()},
    }


def of_mask(shape: tuple[int, int]) -> dict[str, Damage]:
    """Of a mask of a data set with few classes."""
    return {
        "another size": lambda path: write_mask(path, np.zeros((shape[0] + 1, shape[1]), np.uint8)),
        "unknown labels": lambda path: write_mask(path, np.full(shape, 77, np.uint8)),
        "unknown labels of 16 bits": lambda path: write_mask(path, np.full(shape, 300, np.uint16)),
        "colours": lambda path: write_image(path, np.zeros((*shape, 3), np.uint8)),
    }


def _text(text: str) -> Damage:
    return lambda path: path.write_text(text)


def with_values(**values: Any) -> Damage:
    """Of a JSON file with other values."""
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


OF_JSON: dict[str, Damage] = {
    "list": _text("[]"),
    "number": _text("3"),
    "null": _text("null"),
    "nothing": _text("{}"),
    "text": _text('"x"'),
    "deep": _text("[" * 100_000),
    "endless number": _text("9" * 5000),
    "latin-1": lambda path: path.write_bytes(b'{"a": "\xff"}'),
}

OF_STATE: dict[str, Damage] = {
    **OF_JSON,
    "done alone": _text('{"done": true}'),
    **{
        f"{key} {value!r}": with_values(**{key: value})
        for key, values in {
            "step": (None, 3),
            "config": (None, [], "x"),
            "done": (None, "yes", 1),
            "seconds": (None, "x", float("nan"), -1.0),
            "items": (None, "x", 1.5),
            "skipped": (None, {}, [3], [{}], [{"name": "x"}], [{"name": 1, "file": "x", "reason": "y"}]),
            "profile": ([], {"read": "x"}),
            "changed_config": ("x",),
            "chunks": ([],),
        }.items()
        for value in values
    },
}
"""Of step.json."""


def _stage(**values: Any) -> Damage:
    """Of a metrics.json, with other values of one stage."""

    def damage(path: Path) -> None:
        metrics = json.loads(path.read_text())
        metrics["splits"]["val"]["stages"]["cam"].update(values)
        path.write_text(json.dumps(metrics))

    return damage


def _split(**values: Any) -> Damage:
    def damage(path: Path) -> None:
        metrics = json.loads(path.read_text())
        metrics["splits"]["val"].update(values)
        path.write_text(json.dumps(metrics))

    return damage


OF_METRICS: dict[str, Damage] = {
    **OF_JSON,
    "no classes": with_values(classes=None),
    "classes of numbers": with_values(classes=[1]),
    "fewer classes": with_values(classes=["background"]),
    "splits of a list": with_values(splits=[]),
    "a split of a list": with_values(splits={"val": []}),
    "an earlier version": with_values(splits={"val": {"stages": {}}}),
    "images of text": _split(images="x"),
    "notes of numbers": _split(notes=[1]),
    "stages of a list": _split(stages=[]),
    "a stage of a number": _split(stages={"cam": 3}),
    "sweeps of a list": _split(sweeps=[]),
    "a sweep of no values": _split(sweeps={"cam": {"title": "x", "values": [], "mean_iou": [], "best": 1}}),
    "a sweep of text": _split(sweeps={"cam": {"title": "x", "values": ["x"], "mean_iou": [1], "best": 1}}),
    "a stage without a title": _stage(title=None),
    "a mean of text": _stage(mean_iou="x"),
    "too few classes": _stage(iou=[0.5]),
    "classes of text": _stage(iou="x"),
    "unknown skipped": _stage(skipped=[77]),
    "skipped of text": _stage(skipped="x"),
}
"""Of metrics.json."""

OF_HISTORY: dict[str, Damage] = {
    "no numbers": _text("epoch,loss\n1,x\n"),
    "too few columns": _text("epoch,loss\n1\n"),
    "too many columns": _text("epoch,loss\n1,2,3\n"),
    "no epoch": _text("loss\n1\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
}
"""Of history.csv."""
