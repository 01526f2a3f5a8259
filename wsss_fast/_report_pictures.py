"""The pictures of the report: what each stage made of an image."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from wsss_fast.config import Config
from wsss_fast.data import ImageSet
from wsss_fast.files import IGNORE, MAX_CLASSES_8_BITS, ignore_of, read_mask, voc_palette
from wsss_fast.steps._layout import pseudo_masks, walk_maps
from wsss_fast.steps._map_files import read_boundary, read_maps

COLUMNS = {
    "image": "image",
    "cam": "CAM",
    "regions": "CRF regions",
    "boundary": "boundary map",
    "walk": "random walk",
    "pseudo-mask": "pseudo-mask",
    "prediction": "prediction",
    "prediction-crf": "prediction + CRF",
    "truth": "truth",
}
"""The columns in the order of the method, with their titles."""

_EMBEDDED_SIDE = 320
"""Embedded pictures are reduced to this many pixels; the PNGs beside the page are not."""


@dataclass
class Row:
    """One image and its pictures."""

    name: str
    classes: list[int]
    """Ids of the classes that the image's labels name."""
    heat: int | None = None
    """The class that the heat maps show: the strongest by the CAMs."""
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    """By column: uint8 [H,W,3] RGB. A column without an output of its step is not there."""
    descriptions: dict[str, str] = field(default_factory=dict)
    """By column: the alternative text."""


def picture_row(config: Config, images: ImageSet, index: int) -> Row:
    """Read and draw what there is of one validation image. Raises `DataError` as the readers do."""
    root = Path(config.output)
    name = images.name(index)
    image = images.image(index)
    row = Row(name, [int(k) + 1 for k in np.flatnonzero(images.labels(index))])
    names = ["background", *images.classes]

    def add(column: str, picture: np.ndarray, description: str) -> None:
        row.pictures[column] = picture
        row.descriptions[column] = f"{name}: {description}"

    add("image", image, f"the image, labelled {_listed(names[k] for k in row.classes)}")
    path = root / "make-cams" / "val" / f"{name}.npz"
    if path.exists():
        arrays = read_maps(path, "full", classes=len(images.classes))
        activation, row.heat = _strongest(arrays["full"], arrays["classes"])
        add("cam", heat(image, activation), f"CAM of {names[row.heat] if row.heat else 'no class'}")
    path = root / "make-ir-labels" / "val" / f"{name}.png"
    if path.exists():
        mask = read_mask(path)
        add("regions", overlay(image, mask), f"confident regions: {_shares(mask, names, 'unconfident')}")
    path = walk_maps(config, "val") / f"{name}.npz"
    if path.exists():
        arrays = {**read_maps(path, "walk", classes=len(images.classes)), "boundary": read_boundary(path)}
        add(
            "boundary",
            boundaries(arrays["boundary"], image.shape[:2]),
            "boundary map, dark where classes meet",
        )
        activation, row.heat = _strongest(arrays["walk"], arrays["classes"], row.heat)
        add("walk", heat(image, activation), f"random walk of {names[row.heat] if row.heat else 'no class'}")
    path = pseudo_masks(config, "val") / f"{name}.png"
    if path.exists():
        mask = read_mask(path)
        add("pseudo-mask", overlay(image, mask), f"pseudo-mask: {_shares(mask, names)}")
    for mode, how in (("tta", "with test-time augmentation"), ("single", "without test-time augmentation")):
        path = root / "predict" / "val" / mode / f"{name}.png"
        if path.exists():
            mask = read_mask(path)
            add("prediction", overlay(image, mask), f"prediction {how}: {_shares(mask, names)}")
            break
    path = root / "predict" / "val" / "crf" / f"{name}.png"
    if config.predict.crf and path.exists():
        mask = read_mask(path)
        add(
            "prediction-crf",
            overlay(image, mask),
            f"prediction refined by the dense CRF: {_shares(mask, names)}",
        )
    truth = images.mask(index)
    if truth is not None:
        add("truth", overlay(image, truth), f"true mask: {_shares(truth, names, 'ignored')}")
    return row


def heat(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """An activation map in [0, 1] of any size as colours over the grey image."""
    height, width = image.shape[:2]
    values = cv2.resize(activation.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = matplotlib.colormaps["inferno"](np.clip(values, 0, 1))[..., :3] * 255
    return _uint8(0.35 * _grey(image) + 0.65 * colours)


def boundaries(boundary: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A boundary map in [0, 1] as ink on white, at the size of the image."""
    values = cv2.resize(boundary.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return _uint8(np.repeat(255 * (1 - np.clip(values, 0, 1))[..., None], 3, axis=2))


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Class ids as colours over the grey image; the background is dimmed, ignored pixels are light."""
    if mask.shape != image.shape[:2]:  # shown as it is, if it is of another data set
        mask = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
    grey = _grey(image)
    ignored = mask == ignore_of(mask.dtype)
    colours = voc_palette()[np.where(ignored, IGNORE, _places(mask))].astype(np.float64)
    strength = np.where(mask == 0, 0.0, np.where(ignored, 0.75, 0.65))[..., None]
    dimmed = np.where(mask[..., None] == 0, 0.45 * grey, grey)
    return _uint8((1 - strength) * dimmed + strength * colours)


def data_uri(picture: np.ndarray) -> str:
    """A picture for the page itself, reduced if it is large."""
    from PIL import Image

    embedded = Image.fromarray(picture)
    embedded.thumbnail((_EMBEDDED_SIDE, _EMBEDDED_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    embedded.save(content, format="JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def colour_of(label: int) -> str:
    """The colour of a class id as CSS writes it. After 254 classes the colours come again.

    >>> from wsss_fast._report_pictures import colour_of
    >>> colour_of(1), colour_of(255)
    ('#800000', '#800000')
    """
    return f"#{bytes(voc_palette()[_places(np.array(label))]).hex()}"


IGNORED_COLOUR = f"#{bytes(voc_palette()[IGNORE]).hex()}"
"""The colour of ignored pixels."""


def _places(ids: np.ndarray) -> np.ndarray:
    """Places of class ids in the palette, in which 255 is for ignored pixels."""
    return np.where(ids == 0, 0, 1 + (ids.astype(np.int64) - 1) % MAX_CLASSES_8_BITS)


def _strongest(
    maps: np.ndarray, classes: np.ndarray, wanted: int | None = None
) -> tuple[np.ndarray, int | None]:
    """The map of the wanted class, else that with the most activation; and its class."""
    if len(classes) == 0:
        return np.zeros((1, 1), np.float32), None
    ids = [int(k) for k in classes]
    index = ids.index(wanted) if wanted in ids else int(maps.astype(np.float32).sum(axis=(1, 2)).argmax())
    return maps[index], ids[index]


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.float64)


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _shares(mask: np.ndarray, names: list[str], unsure: str = "ignored") -> str:
    """Such as ``"background 71 %, cat 29 %"``."""
    counts = np.bincount(mask.ravel())
    ignore = ignore_of(mask.dtype)
    parts = []
    for label in np.flatnonzero(counts):
        name = names[label] if label < len(names) else unsure if label == ignore else f"class {label}"
        parts.append(f"{name} {100 * counts[label] / mask.size:.0f} %")
    return ", ".join(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "with no class"
