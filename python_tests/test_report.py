"""The report on a run folder made by hand."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

pytest.importorskip("wsss_fast.steps", reason="needs the pipeline extra")

from made_up_run import CLASSES, SIZE, MadeUpImages, made_up_config, make_up_run
from PIL import Image

from wsss_fast import report as module
from wsss_fast._report_charts import training_charts
from wsss_fast._report_pictures import COLUMNS, IGNORED_COLOUR, boundaries, colour_of, heat, overlay
from wsss_fast.config import Config, ReportConfig
from wsss_fast.files import DataError, voc_palette, write_json, write_npz
from wsss_fast.report import report, spread
from wsss_fast.steps._step import StepError

VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attributes}
        self.tags.append(tag)
        self.addresses += [
            values[key] for key in ("src", "href", "srcset", "data", "action") if key in values
        ]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))


@pytest.fixture(autouse=True)
def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_images", lambda config, split: MadeUpImages(split))


def metrics() -> dict[str, object]:
    stage = {
        "images": 5,
        "mean_iou_all": 0.4063,
        "mean_iou_present": 0.5555,
        "frequency_weighted_iou": 0.7777,
        "pixel_accuracy": 0.9,
        "mean_class_accuracy": 0.8111,
        "boundary_iou": 0.2222,
        "combined": 0.6999,
        "skipped": [],
        "iou": [0.875, 0.5, 0.25, None],
        "class_accuracy": [0.9, 0.6, 0.3, None],
        "class_boundary_iou": [0.3, 0.2, 0.1, None],
    }
    split = {
        "images": 5,
        "without_mask": 1,
        "stages": {
            "cam": {**stage, "title": "CAM", "mean_iou": 0.5417, "threshold": 0.3},
            "segmenter": {**stage, "title": "segmenter", "mean_iou": 0.6666, "skipped": [2]},
        },
        "sweeps": {
            "cam": {
                "title": "CAM",
                "values": [0.1, 0.3, 0.6],
                "mean_iou": [0.3, 0.5417, None],
                "best": 0.3,
            },
            "random_walk": {
                "title": "random walk",
                "values": [0.1, 0.3, 0.6],
                "mean_iou": [0.4, 0.5, 0.6],
                "best": 0.6,
            },
        },
        "notes": ["a note that the page repeats"],
    }
    return {"classes": ["background", *CLASSES], "splits": {"train": split, "val": split}}


def complete(tmp_path: Path) -> Config:
    config = made_up_config(tmp_path / "run")
    config.predict = dataclasses.replace(config.predict, crf=True)
    make_up_run(config)
    write_json(tmp_path / "run" / "evaluate" / "metrics.json", metrics())
    return config


def test_everything_is_there(tmp_path: Path) -> None:
    config = complete(tmp_path)
    path = report(config)
    assert path == tmp_path / "run" / "report" / "index.html"
    page = Page(path.read_text())

    # Six images in nine columns, but for the one that has no truth.
    photos = [image for image in page.images if image["src"].startswith("data:image/jpeg;base64,")]
    assert len(photos) == 6 * len(COLUMNS) - 1
    for photo in photos:
        content = base64.b64decode(photo["src"].partition(",")[2])
        assert Image.open(io.BytesIO(content)).size == (SIZE[1], SIZE[0])
        assert (photo["width"], photo["height"]) == (str(SIZE[1]), str(SIZE[0]))
    names = {f"val_{i}.{column}.png" for i in range(6) for column in COLUMNS} - {"val_1.truth.png"}
    charts = [image for image in page.images if image["src"].startswith("data:image/svg+xml;base64,")]
    assert len(charts) == 1 + 2 * 3  # thresholds; loss and val_map of three trainings
    written = {p.name for p in path.parent.glob("*.png")}
    assert names <= written
    assert len(written - names) == len(charts)
    assert all(image["alt"] for image in page.images)

    # Numbers of the tables, in percent.
    for text in ("54.17", "66.66", "87.50", "CAM", "segmenter", "a note that the page repeats", *CLASSES):
        assert text in page.texts
    # The stage table, the table of all metrics and the mean of the class table, of two splits each.
    assert page.texts.count("54.17") == 6
    for text in ("40.63", "55.55", "77.77", "90.00", "81.11", "22.22", "69.99"):
        assert page.texts.count(text) == 2 * 2, text  # in the table of all metrics, of two splits and stages
    assert page.texts.count("at 0.3") == 2  # the threshold of the CAM row
    assert page.texts.count("segmenter skips dog.") == 2
    assert page.texts.count("skipped") >= 2  # in place of its IoU
    assert page.texts.count("25.00") == 2  # dog by the CAMs
    (sweep,) = (image["alt"] for image in page.images if "background threshold" in image["alt"])
    for split in ("train", "val"):
        assert f"CAM, {split} from 30 at background threshold 0.1 to" in sweep
        assert (
            f"random walk, {split} from 40 at background threshold 0.1 to 60 at 0.6, best 60 at 0.6" in sweep
        )
    assert "30.5 s" in page.texts  # train-irnet
    assert "/made/up/bad.jpg" in page.texts
    assert "train: 1 images without a true mask are left out." in page.texts
    assert any(text.startswith("output: ") for text in page.texts)
    state = json.loads((path.parent / "step.json").read_text())
    assert (state["done"], state["items"], state["skipped"]) == (True, 6, [])


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    text = report(complete(tmp_path)).read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert all(address.startswith("data:image/") for address in page.addresses)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    for image in page.images:
        if image["src"].startswith("data:image/svg+xml"):
            svg = base64.b64decode(image["src"].partition(",")[2]).decode()
            ElementTree.fromstring(svg)
            links = re.findall(r'(?:xlink:href|href|src)="([^"]*)"', svg)
            assert all(link.startswith("#") for link in links)
            assert "prefers-color-scheme:dark" in svg
            assert "#0102" not in svg  # every stand-in got its colour


def test_the_same_run_gives_the_same_pictures(tmp_path: Path) -> None:
    config = complete(tmp_path)
    pages = [Page(report(config).read_text()) for _ in range(2)]
    assert [i["src"] for i in pages[0].images] == [i["src"] for i in pages[1].images]


def test_steps_that_were_not_run_leave_notes(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config, ("train-classifier", "make-cams"))
    page = Page(report(config).read_text())
    photos = [image for image in page.images if "jpeg" in image["src"]]
    assert len(photos) == 6 * 3 - 1  # image, CAM, truth
    for note in (
        "Left out: CRF regions; wsss-fast make-ir-labels has made nothing for these images.",
        "Left out: boundary map, random walk, pseudo-mask; "
        "wsss-fast make-pseudo-masks has made nothing for these images.",
        "Left out: prediction; wsss-fast predict has made nothing for these images.",
        "wsss-fast evaluate",
    ):
        assert note in page.texts


def test_nothing_was_run(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="run `wsss-fast run` first"):
        report(made_up_config(tmp_path))
    assert not (tmp_path / "report").exists()


def test_pictures_of_an_earlier_report_go(tmp_path: Path) -> None:
    config = complete(tmp_path)
    path = report(config)
    (path.parent / "mine.png").write_bytes(b"")
    config.report = ReportConfig(images=2)
    report(config)
    left = {p.name.partition(".")[0] for p in path.parent.glob("*.*.png")}
    assert left == {"val_0", "val_5"}
    assert (path.parent / "mine.png").exists()


def test_no_pictures_wanted(tmp_path: Path) -> None:
    config = complete(tmp_path)
    config.report = ReportConfig(images=0)
    page = Page(report(config).read_text())
    assert "No images to show." in page.texts


def test_names_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeUpImages, "classes", ("<b>cat", 'do"g', "sofa & co"))
    page = Page(report(complete(tmp_path)).read_text())
    assert "b" not in page.tags
    assert "<b>cat" in page.texts
    assert any('do"g' in image["alt"] for image in page.images)


def test_an_image_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MadeUpImages.image

    def image(self: MadeUpImages, index: int) -> np.ndarray:
        if index == 2:
            raise DataError("/made/up/two.jpg", "expected an image, got rubbish")
        return original(self, index)

    monkeypatch.setattr(MadeUpImages, "image", image)
    config = complete(tmp_path)
    page = Page(report(config).read_text())
    assert "val_2" not in page.texts
    assert "/made/up/two.jpg" in page.texts
    config.data = dataclasses.replace(config.data, strict=True)
    with pytest.raises(DataError, match="rubbish"):
        report(config)


def test_an_image_without_classes(tmp_path: Path) -> None:
    config = complete(tmp_path)
    root = tmp_path / "run"
    nothing = np.zeros(0, np.int16)
    empty = np.zeros((0, 3, 4), np.float16)
    write_npz(root / "make-cams" / "val" / "val_0.npz", classes=nothing, strided=empty, full=empty)
    boundary = np.zeros((3, 4), np.float16)
    write_npz(
        root / "make-pseudo-masks" / "val" / "val_0.npz", classes=nothing, walk=empty, boundary=boundary
    )
    page = Page(report(config).read_text())
    assert "val_0: CAM of no class" in [image["alt"] for image in page.images]


def test_heat_maps_of_a_row_show_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeUpImages, "labels", lambda self, index: np.array([True, True, False]))
    config = complete(tmp_path)
    root = tmp_path / "run"
    maps = np.stack([np.full((3, 4), 0.9), np.full((3, 4), 0.4)]).astype(np.float16)
    both = np.array([1, 2], np.int16)
    write_npz(root / "make-cams" / "val" / "val_0.npz", classes=both, strided=maps[::-1], full=maps[::-1])
    # By the walk the first class is the stronger one, by the CAMs the second.
    path = root / "make-pseudo-masks" / "val" / "val_0.npz"
    write_npz(path, classes=both, walk=maps, boundary=maps[0])
    page = Page(report(config).read_text())
    descriptions = [image["alt"] for image in page.images]
    assert "val_0: CAM of dog" in descriptions
    assert "val_0: random walk of dog" in descriptions
    assert "cat, dog · heat maps: dog" in page.texts


def test_training_charts_group_what_belongs_together(tmp_path: Path) -> None:
    epochs = [1.0, 2.0]
    names = ("loss", "positive", "val_map", "val_loss", "lr_head")
    charts = training_charts("train-irnet", {"epoch": epochs, **{n: epochs for n in names}}, tmp_path)
    assert [chart.title for chart in charts] == [
        "train-irnet: loss",
        "train-irnet: val map",
        "train-irnet: lr head",
    ]
    assert "loss from 1 at epoch 1 to 2 at 2; positive from 1" in charts[0].description
    assert "val loss" in charts[0].description


def test_a_broken_history_is_named(tmp_path: Path) -> None:
    config = complete(tmp_path)
    path = tmp_path / "run" / "train-irnet" / "history.csv"
    path.write_text("epoch,loss\n1,much\n")
    with pytest.raises(DataError, match="expected columns of numbers") as caught:
        report(config)
    assert caught.value.file == str(path)


def test_spread_is_even_and_distinct() -> None:
    assert spread(100, 3) == [0, 50, 99]
    assert spread(3, 3) == spread(3, 9) == [0, 1, 2]
    assert spread(5, 1) == [0]
    assert spread(0, 4) == spread(4, 0) == []
    for n in (7, 12, 60):
        for count in range(n + 1):
            assert len(set(spread(n, count))) == count


def test_overlay_shows_classes_background_and_ignored() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    got = overlay(image, np.array([[0, 2, 255]], np.uint8))[0].astype(float)
    assert got[0] == pytest.approx([45, 45, 45])
    assert got[1] == pytest.approx(0.35 * 100 + 0.65 * voc_palette()[2], abs=0.51)
    assert got[2] == pytest.approx(0.25 * 100 + 0.75 * voc_palette()[255], abs=0.51)


def test_heat_and_boundaries_have_the_size_of_the_image() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    warm = heat(image, np.array([[0.0, 1.0]], np.float16))
    assert warm.shape == image.shape
    grey = cv2.cvtColor(warm, cv2.COLOR_RGB2GRAY)
    assert (grey[:, -1] > grey[:, 0]).all()
    ink = boundaries(np.array([[0.0], [1.0]], np.float16), image.shape[:2])
    assert ink.shape == image.shape
    assert (ink[0] == 255).all()
    assert (ink[-1] == 0).all()


def test_masks_of_16_bits() -> None:
    image = np.full((1, 6, 3), 100, np.uint8)
    got = overlay(image, np.array([[0, 2, 254, 255, 300, 65535]], np.uint16))[0].astype(float)
    assert got[0] == pytest.approx([45, 45, 45])
    # The colours of 254 classes come again; the last one of the palette stays that of ignored pixels.
    for pixel, place in ((1, 2), (2, 254), (3, 1), (4, 46)):
        assert got[pixel] == pytest.approx(0.35 * 100 + 0.65 * voc_palette()[place], abs=0.51)
    assert got[5] == pytest.approx(0.25 * 100 + 0.75 * voc_palette()[255], abs=0.51)
    assert colour_of(300) == colour_of(46) != colour_of(2)
    assert IGNORED_COLOUR == "#e0e0c0"


def test_metrics_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    config = complete(tmp_path)
    path = tmp_path / "run" / "evaluate" / "metrics.json"
    old = json.loads(path.read_text())
    for split in old["splits"].values():
        del split["sweeps"]
    write_json(path, old)
    with pytest.raises(DataError, match="run `wsss-fast evaluate`") as caught:
        report(config)
    assert caught.value.file == str(path)
