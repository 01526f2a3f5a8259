"""evaluate on a run folder made by hand, whose IoUs can be counted on fingers."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

pytest.importorskip("wsss_fast.steps", reason="needs the pipeline extra")

from made_up_run import SIZE, MadeUpImages, half, made_up_config, make_up_run
from PIL import Image

from wsss_fast.config import CrfConfig, EvaluateConfig
from wsss_fast.files import DataError, read_mask, read_npz, write_json, write_mask, write_npz
from wsss_fast.metrics import ConfusionMatrix
from wsss_fast.steps import _split_evaluation
from wsss_fast.steps import evaluate as module
from wsss_fast.steps._graph import graph
from wsss_fast.steps._step import StepError
from wsss_fast.steps.evaluate import evaluate, stage_table


class Calls:
    """A CRF that gives each pixel left of column 6 the foreground; it counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(
        self, image: np.ndarray, labels: torch.Tensor, classes: int, config: CrfConfig
    ) -> torch.Tensor:
        assert image.shape == (*SIZE, 3)
        assert labels.shape == (1, *SIZE)
        assert int(labels.max()) < classes == 2
        self.count += 1
        return torch.from_numpy(half(1, 6))[None].long()


@pytest.fixture
def crf(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(_split_evaluation, "crf_labels", calls)
    return calls


@pytest.fixture(autouse=True)
def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_images", lambda config, split: MadeUpImages(split))


def ious(columns: int) -> tuple[float, list[float | None]]:
    """Mean and per-class IoU where objects 8 columns wide are taken to be so many wide, on 16 columns."""
    background = (16 - max(8, columns)) / (16 - min(8, columns))
    object_ = min(8, columns) / max(8, columns)
    return (background + 2 * object_) / 3, [background, object_, object_, None]


def boundary_ious(columns: int) -> list[float]:
    """Boundary IoU of the classes where bands are a pixel wide: the outline of what each class fills."""

    def outline(left: int, right: int) -> set[tuple[int, int]]:
        height = SIZE[0]
        return {
            (y, x)
            for y in range(height)
            for x in range(left, right)
            if y in (0, height - 1) or x in (left, right - 1)
        }

    sides = (outline(columns, 16), outline(8, 16)), (outline(0, columns), outline(0, 8))
    background, object_ = (len(a & b) / len(a | b) for a, b in sides)
    return [background, object_, object_]


@pytest.mark.usefixtures("crf")
def test_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    metrics = evaluate(config)
    assert metrics == json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    assert metrics["classes"] == ["background", "cat", "dog", "sofa"]
    assert list(metrics["splits"]) == ["train", "val"]
    for split, result in metrics["splits"].items():
        assert (result["images"], result["without_mask"]) == (5, 1)
        assert result["notes"] == []
        widths = {"cam": 8, "cam_crf": 6, "random_walk": 7, "segmenter": 10, "segmenter_tta": 8}
        assert list(result["stages"]) == list(widths)
        for stage, columns in widths.items():
            mean, classes = ious(columns)
            got = result["stages"][stage]
            assert got["mean_iou"] == pytest.approx(mean), stage
            assert got["iou"][:3] == pytest.approx(classes[:3]), stage
            assert got["iou"][3] is None
            assert got["images"] == 5
            assert got["pixel_accuracy"] == pytest.approx(1 - abs(columns - 8) / 16)
            # Three of the four classes are in the truth, background for half of it.
            iou = np.array(classes[:3], float)
            assert got["mean_iou_present"] == got["mean_iou"]
            assert got["mean_iou_all"] == pytest.approx(iou.sum() / 4)
            assert got["frequency_weighted_iou"] == pytest.approx((iou[0] + iou[1]) / 2)
            background, object_ = min(16 - columns, 8) / 8, min(columns, 8) / 8
            assert got["class_accuracy"][:3] == pytest.approx([background, object_, object_])
            assert got["mean_class_accuracy"] == pytest.approx((background + 2 * object_) / 3)
            assert got["combined"] == pytest.approx((2 + iou.prod() ** (1 / 3)) / 3)
            assert got["skipped"] == []
            assert got.get("threshold") == {"cam": 0.3, "cam_crf": 0.3, "random_walk": 0.25}.get(stage)
            band = boundary_ious(columns)
            assert got["class_boundary_iou"][:3] == pytest.approx(band)
            assert got["class_accuracy"][3] is got["class_boundary_iou"][3] is None
            assert got["boundary_iou"] == pytest.approx(sum(band) / 3)
        assert result["sweeps"] == {
            "cam": {
                "title": "CAM",
                "values": [0.1, 0.3, 0.6],
                "mean_iou": pytest.approx([ious(9)[0], 1, ious(7)[0]]),
                "best": 0.3,
            },
            "random_walk": {
                "title": "random walk",
                "values": [0.1, 0.3, 0.6],
                "mean_iou": pytest.approx([ious(10)[0], ious(9)[0], 1]),
                "best": 0.6,
            },
        }
        # Class 2 is the first of its image, and has to come back as 2.
        assert (read_mask(tmp_path / "evaluate" / split / "cam" / f"{split}_3.png") == half(2)).all()
        assert (read_mask(tmp_path / "evaluate" / split / "cam-crf" / f"{split}_3.png") == half(2, 6)).all()
        assert not (tmp_path / "evaluate" / split / "cam" / f"{split}_1.png").exists()
    assert capsys.readouterr().out.splitlines() == [
        "mean IoU (%)         train     val",
        "CAM                 100.00  100.00",
        f"CAM + CRF         {100 * ious(6)[0]:8.2f}{100 * ious(6)[0]:8.2f}",
        f"random walk       {100 * ious(7)[0]:8.2f}{100 * ious(7)[0]:8.2f}",
        f"segmenter         {100 * ious(10)[0]:8.2f}{100 * ious(10)[0]:8.2f}",
        "segmenter + TTA     100.00  100.00",
        "train: 5 images, best threshold: CAM 0.3, random walk 0.6",
        "val: 5 images, best threshold: CAM 0.3, random walk 0.6",
    ]


def test_the_real_crf(tmp_path: Path) -> None:
    config = made_up_config(tmp_path, evaluate=EvaluateConfig(thresholds=[0.1]))
    make_up_run(config, ("make-cams",))
    stages = evaluate(config)["splits"]["val"]["stages"]
    # The edge of the image is where the truth is; the CAM at 0.1 is a column too wide.
    assert stages["cam"]["mean_iou"] == pytest.approx(ious(9)[0])
    assert stages["cam_crf"]["mean_iou"] == pytest.approx(1)


@pytest.mark.usefixtures("crf")
def test_stages_that_were_not_run_are_left_out(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config, ("predict",))
    result = evaluate(config)["splits"]["val"]
    assert list(result["stages"]) == ["segmenter", "segmenter_tta"]
    assert result["sweeps"] == {}
    assert not (tmp_path / "evaluate" / "thresholds.png").exists()
    assert result["notes"] == [
        "CAM and CAM + CRF left out: `wsss-fast make-cams` was not run",
        "random walk left out: `wsss-fast make-pseudo-masks` was not run",
    ]


def test_a_step_that_was_not_finished_is_left_out(tmp_path: Path, crf: Calls) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    state = json.loads((tmp_path / "make-cams" / "step.json").read_text())
    write_json(tmp_path / "make-cams" / "step.json", {**state, "done": False})
    result = evaluate(config)["splits"]["val"]
    assert list(result["stages"]) == ["random_walk", "segmenter", "segmenter_tta"]
    assert "CAM and CAM + CRF left out: `wsss-fast make-cams` was not finished" in result["notes"]
    assert crf.count == 0


@pytest.mark.usefixtures("crf")
def test_without_augmentation(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    config.predict = dataclasses.replace(config.predict, tta=False)
    make_up_run(config)
    result = evaluate(config)["splits"]["val"]
    assert "segmenter_tta" not in result["stages"]
    assert result["notes"] == ["segmenter + TTA left out: predict.tta is off"]


@pytest.mark.usefixtures("crf")
def test_a_split_that_was_not_to_be_predicted(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    config.predict = dataclasses.replace(config.predict, splits=["val"])
    make_up_run(config)
    splits = evaluate(config)["splits"]
    assert list(splits["train"]["stages"]) == ["cam", "cam_crf", "random_walk"]
    assert splits["train"]["notes"] == []
    assert list(splits["val"]["stages"])[3:] == ["segmenter", "segmenter_tta"]


@pytest.mark.usefixtures("crf")
def test_an_image_without_output_is_noted(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    (tmp_path / "predict" / "val" / "tta" / "val_4.png").unlink()
    (tmp_path / "make-cams" / "val" / "val_4.npz").unlink()
    result = evaluate(config)["splits"]["val"]
    assert result["stages"]["segmenter_tta"]["images"] == result["stages"]["cam"]["images"] == 4
    assert "segmenter + TTA, val: 1 of 5 images have no output" in result["notes"]
    assert "CAM + CRF, val: 1 of 5 images have no output" in result["notes"]


def test_nothing_was_run(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="run `wsss-fast make-cams`"):
        evaluate(made_up_config(tmp_path))


def test_outputs_of_another_config(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    config.cams = dataclasses.replace(config.cams, scales=[1.0])
    with pytest.raises(StepError, match=r"make-cams.*another config:\n  cams\.scales: "):
        evaluate(config)


def test_an_output_of_another_size_is_named(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    path = tmp_path / "predict" / "train" / "single" / "train_2.png"
    write_mask(path, half(1)[:5])
    with pytest.raises(DataError, match="expected 12 x 16 pixels as the truth has, got 5 x 16") as caught:
        evaluate(config)
    assert caught.value.file == str(path)


def test_an_output_with_unknown_classes_is_named(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    path = tmp_path / "make-pseudo-masks" / "train" / "0.25" / "train_2.png"
    write_mask(path, half(200))
    with pytest.raises(DataError, match="expected class ids 0 to 3, got 200") as caught:
        evaluate(config)
    assert caught.value.file == str(path)


def with_bad_mask(split_index: int) -> Callable[..., Any]:
    class Images(MadeUpImages):
        def mask(self, index: int) -> np.ndarray | None:
            if index == split_index:
                raise DataError(self.source(index), "expected a mask, got rubbish")
            return super().mask(index)

    return lambda config, split: Images(split)


@pytest.mark.usefixtures("crf")
def test_a_true_mask_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_images", with_bad_mask(2))
    config = made_up_config(tmp_path)
    make_up_run(config)
    assert evaluate(config)["splits"]["val"]["images"] == 4
    state = json.loads((tmp_path / "evaluate" / "step.json").read_text())
    assert [entry["file"] for entry in state["skipped"]] == ["/made/up/train_2.jpg", "/made/up/val_2.jpg"]
    assert state["done"]
    config.data.strict = True
    with pytest.raises(DataError, match="rubbish"):
        evaluate(config)


def test_no_true_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeUpImages, "mask", lambda self, index: None)
    config = made_up_config(tmp_path)
    make_up_run(config)
    with pytest.raises(DataError, match="expected true masks to evaluate with, got none"):
        evaluate(config)


def test_the_crf_is_kept_while_nothing_changes(tmp_path: Path, crf: Calls) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    first = evaluate(config)
    assert crf.count == 10
    assert evaluate(config) == first
    assert crf.count == 10
    # One image's CAMs are made anew.
    cams = tmp_path / "make-cams" / "val" / "val_0.npz"
    later = (tmp_path / "evaluate" / "val" / "cam-crf" / "val_0.png").stat().st_mtime + 5
    os.utime(cams, (later, later))
    evaluate(config)
    assert crf.count == 11
    # Another threshold is the best one.
    os.utime(cams, (0, 0))
    config.evaluate = EvaluateConfig(thresholds=[0.1])
    evaluate(config)
    assert crf.count == 21


def test_an_image_without_classes(tmp_path: Path, crf: Calls) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config, ("make-cams",))
    for split in ("train", "val"):
        write_npz(
            tmp_path / "make-cams" / split / f"{split}_0.npz",
            classes=np.zeros(0, np.int16),
            strided=np.zeros((0, 3, 4), np.float32),
            full=np.zeros((0, *SIZE), np.float16),
        )
    evaluate(config)
    assert (read_mask(tmp_path / "evaluate" / "val" / "cam-crf" / "val_0.png") == 0).all()
    assert crf.count == 8


def test_table_of_an_incomplete_split() -> None:
    split = {"images": 2, "sweeps": {}, "notes": ["a note"]}
    cam = {"title": "CAM", "mean_iou": 0.5, "skipped": []}
    segmenter = {
        "title": "segmenter + TTA + CRF",
        "mean_iou": None,
        "skipped": [1, 3],
        "class_accuracy": [0.5, 0.0, None, 0.0],
    }
    train, val = {**split, "stages": {"cam": cam}}, {**split, "stages": {"segmenter_crf": segmenter}}
    assert stage_table({"splits": {"train": train, "val": val}}).splitlines() == [
        "mean IoU (%)              train     val",
        "CAM                       50.00       -",
        "segmenter + TTA + CRF         -       -",
        "train: 2 images",
        "val: 2 images",
        "val: segmenter + TTA + CRF skips 2 of 3 classes",
        "note: a note",
    ]


@pytest.mark.usefixtures("crf")
def test_other_thresholds_and_the_crf_are_stages(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    config.pseudo_masks = dataclasses.replace(config.pseudo_masks, thresholds=[0.5, 0.25, 0.3])
    config.segmenter = dataclasses.replace(config.segmenter, mask_threshold=0.3)
    config.predict = dataclasses.replace(config.predict, crf=True)
    make_up_run(config)
    stages = evaluate(config)["splits"]["val"]["stages"]
    walks = {key: stage for key, stage in stages.items() if key.startswith("random_walk")}
    assert [(key, stage["title"], stage["threshold"]) for key, stage in walks.items()] == [
        ("random_walk", "random walk, 0.3", 0.3),
        ("random_walk_0.5", "random walk, 0.5", 0.5),
        ("random_walk_0.25", "random walk, 0.25", 0.25),
    ]
    assert [s["mean_iou"] for s in walks.values()] == pytest.approx([ious(7)[0], ious(5)[0], ious(5)[0]])
    assert list(stages)[-1] == "segmenter_crf"
    assert stages["segmenter_crf"]["title"] == "segmenter + TTA + CRF"
    assert stages["segmenter_crf"]["mean_iou"] == pytest.approx(ious(9)[0])


@pytest.mark.usefixtures("crf")
def test_the_maps_after_the_walk_are_labelled_as_the_pseudo_masks(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="needs the pipeline extra")
    from wsss_fast.steps.make_pseudo_masks import pseudo_labels

    config = made_up_config(tmp_path)
    make_up_run(config, ("make-pseudo-masks",))
    thresholds = config.evaluate.thresholds
    expected = [ConfusionMatrix(4) for _ in thresholds]
    generator = np.random.default_rng(3)
    images = MadeUpImages("val")
    for index in (0, 2, 3, 4, 5):
        classes = np.array([(), (3,), (1, 2), (1, 3), (1, 2, 3)][index - (index > 0)], np.int16)
        walk = generator.random((len(classes), 3, 5), np.float32).astype(np.float16)
        path = tmp_path / "make-pseudo-masks" / "val" / f"val_{index}.npz"
        write_npz(path, classes=classes, walk=walk, boundary=np.zeros((3, 5), np.float16))
        labels = pseudo_labels(torch.from_numpy(walk).float(), SIZE, thresholds).long().numpy()
        truth = images.mask(index)
        assert truth is not None
        for confusion, mask in zip(expected, np.array([0, *classes], np.uint8)[labels], strict=True):
            confusion.update(mask, truth)
    sweep = evaluate(config)["splits"]["val"]["sweeps"]["random_walk"]
    assert sweep["values"] == thresholds
    assert sweep["mean_iou"] == [confusion.scores().mean_iou for confusion in expected]


def test_ids_above_255(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(mask: np.ndarray) -> np.ndarray:
        wide = np.where(mask > 0, mask.astype(np.uint16) + 297, np.uint16(0))  # classes 298 and 299
        wide[:2] = 65535
        return wide

    class Images(MadeUpImages):
        classes = tuple(f"class {k}" for k in range(1, 301))  # type: ignore[assignment]

        def mask(self, index: int) -> np.ndarray | None:
            mask = super().mask(index)
            return None if mask is None else wide(mask)

    monkeypatch.setattr(module, "open_images", lambda config, split: Images(split))
    config = made_up_config(tmp_path, evaluate=EvaluateConfig(thresholds=[0.3]))
    make_up_run(config)
    for path in tmp_path.glob("make-*/*/*.npz"):
        arrays = read_npz(path)
        write_npz(path, **{**arrays, "classes": arrays["classes"] + 297})
    for path in [*tmp_path.glob("predict/*/*/*.png"), *tmp_path.glob("make-pseudo-masks/*/*/*.png")]:
        mask = wide(read_mask(path))
        mask[:2] = 0
        write_mask(path, mask)
    result = evaluate(config)["splits"]["val"]
    for key, columns in (("cam", 8), ("random_walk", 7), ("segmenter", 10)):
        iou = result["stages"][key]["iou"]
        assert iou[0] == pytest.approx(ious(columns)[1][0]), key
        assert iou[298:300] == pytest.approx(ious(columns)[1][1:3]), key
        assert [k for k, value in enumerate(iou) if value is not None] == [0, 298, 299]
    assert result["sweeps"]["random_walk"]["mean_iou"] == pytest.approx([ious(9)[0]])
    written = read_mask(tmp_path / "evaluate" / "val" / "cam" / "val_3.png")
    assert written.dtype == np.uint16
    assert (written == wide(half(2)))[2:].all()
    refined = read_mask(tmp_path / "evaluate" / "val" / "cam-crf" / "val_3.png")
    assert refined.dtype == np.uint16
    assert set(np.unique(refined)) == {0, 299}


@pytest.mark.usefixtures("crf")
def test_classes_that_are_never_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    for path in (tmp_path / "predict" / "val" / "tta").glob("*.png"):
        write_mask(path, np.where(read_mask(path) == 2, 0, read_mask(path)).astype(np.uint8))
    stage = evaluate(config)["splits"]["val"]["stages"]["segmenter_tta"]
    assert stage["skipped"] == [2]
    assert stage["iou"][2] == 0
    assert "val: segmenter + TTA skips 1 of 3 classes" in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("crf")
def test_the_sweep_is_drawn(tmp_path: Path) -> None:
    config = made_up_config(tmp_path)
    make_up_run(config)
    evaluate(config)
    with Image.open(tmp_path / "evaluate" / "thresholds.png") as image:
        assert image.format == "PNG"
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x1F, 0x5F, 0xA6), (0xC2, 0x51, 0x2F)} <= colours  # those of the two kinds of maps


@pytest.mark.parametrize("merge", ["before", "after"])
def test_a_class_with_a_threshold_of_its_own(tmp_path: Path, merge: Literal["before", "after"]) -> None:
    pytest.importorskip("timm", reason="needs the pipeline extra")
    from wsss_fast.steps._maps import OwnThreshold
    from wsss_fast.steps.make_pseudo_masks import pseudo_labels

    config = made_up_config(tmp_path)
    config.person = dataclasses.replace(config.person, name="dog", merge=merge, threshold=0.45)
    config.classifier = dataclasses.replace(config.classifier, exclude=["dog"])
    make_up_run(config, tuple(graph(config)))
    images, none = MadeUpImages("val"), np.zeros(0, np.int16)
    expected = [ConfusionMatrix(4) for _ in config.evaluate.thresholds]
    generator = np.random.default_rng(4)
    for index in range(6):
        name, classes = f"val_{index}.npz", np.array([1, 2, 3], np.int16)
        full = generator.random((1, *SIZE), np.float32).astype(np.float16)
        write_npz(
            tmp_path / "make-person-cams" / "val" / name,
            classes=classes[1:2] if index == 3 else none,
            strided=full[:, ::4, ::4] if index == 3 else full[:0, ::4, ::4],
            full=full if index == 3 else full[:0],
        )
        if index == 3:  # in the other files dog is a class as any other
            write_npz(
                tmp_path / "make-cams" / "val" / name,
                classes=classes[:1],
                strided=full[:, ::4, ::4] / 2,
                full=full / 2,
            )
        walk = generator.random((3, 3, 4), np.float32).astype(np.float16)
        write_npz(tmp_path / "make-pseudo-masks" / "val" / name, classes=classes, walk=walk, boundary=walk[0])
        truth = images.mask(index)
        if truth is None:
            continue
        own = OwnThreshold((False, True, False), 0.45, apart=merge == "after")
        labels = pseudo_labels(torch.from_numpy(walk).float(), SIZE, config.evaluate.thresholds, own)
        for confusion, mask in zip(expected, labels.numpy(), strict=True):
            confusion.update(mask.astype(np.uint8), truth)  # places are ids here
    shutil.copytree(tmp_path / "make-person-cams" / "val", tmp_path / "make-person-cams" / "train")
    for path in (tmp_path / "make-person-cams" / "train").iterdir():
        write_npz(
            path.with_name(path.name.replace("val", "train")),
            classes=none,
            strided=np.zeros((0, 3, 4), np.float16),
            full=np.zeros((0, *SIZE), np.float16),
        )
    result = evaluate(config)["splits"]["val"]
    sweep = result["sweeps"]["random_walk"]
    assert sweep["mean_iou"] == [confusion.scores().mean_iou for confusion in expected]
    # The CAMs are those that the CRF and the walk take.
    cam = read_mask(tmp_path / "evaluate" / "val" / "cam" / "val_3.png")
    assert set(np.unique(cam)) == ({0, 2} if merge == "before" else {0, 1})
