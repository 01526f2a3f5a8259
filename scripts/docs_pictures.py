"""The pictures of the documentation, from a run of the demo.

    PYTHONPATH=. python scripts/docs_pictures.py --run runs/demo

writes docs/pictures/{steps,crf,thresholds}.webp: what each step makes of some validation images, labels from
CAMs before and after the dense CRF, and mean IoU over the background threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss_fast._report_pictures import COLUMNS, overlay, picture_row
from wsss_fast.config import Config
from wsss_fast.config_file import build, read_values
from wsss_fast.data import open_images
from wsss_fast.files import atomic_path, read_mask

_STEPS = ("image", "cam", "regions", "walk", "pseudo-mask", "prediction", "truth")
_CRF = {"image": "image", "cam": "CAM, best threshold", "cam-crf": "after the CRF", "truth": "truth"}
_GAP = 6
_TITLE = 26


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="output of `wsss-fast demo`")
    parser.add_argument("--destination", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--images", nargs="+", help="validation images; default: the first with two classes")
    options = parser.parse_args()
    config = build(Config, read_values(options.run / "config.yaml"))
    config.output = str(options.run)
    images = open_images(config.data, "val")
    places = {images.name(i): i for i in range(len(images))}
    chosen = options.images or [name for name, i in places.items() if images.labels(i).sum() >= 2][:3]

    rows = {name: picture_row(config, images, places[name]).pictures for name in chosen}
    steps = [[rows[name][column] for column in _STEPS] for name in chosen]
    save(options.destination / "steps.webp", table(steps, [COLUMNS[column] for column in _STEPS]))

    for name in chosen:
        for stage in ("cam", "cam-crf"):
            mask = read_mask(options.run / "evaluate" / "val" / stage / f"{name}.png")
            rows[name][stage] = overlay(images.image(places[name]), mask)
    crf = [[rows[name][column] for column in _CRF] for name in chosen[:2]]
    save(options.destination / "crf.webp", table(crf, list(_CRF.values())))

    with Image.open(options.run / "evaluate" / "thresholds.png") as chart:
        save(options.destination / "thresholds.webp", chart.convert("RGB"))


def table(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> Image.Image:
    """Pictures of one size side by side, with a title over each column."""
    height, width = rows[0][0].shape[:2]
    size = (len(titles) * (width + _GAP) - _GAP, _TITLE + len(rows) * (height + _GAP) - _GAP)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(size=16)
    for column, title in enumerate(titles):
        left = column * (width + _GAP)
        draw.text((left + width / 2, _TITLE / 2 - 1), title, fill="black", font=font, anchor="mm")
        for row, pictures in enumerate(rows):
            whole.paste(Image.fromarray(pictures[column]), (left, _TITLE + row * (height + _GAP)))
    return whole


def save(path: Path, picture: Image.Image) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="WEBP", quality=82, method=6)
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
