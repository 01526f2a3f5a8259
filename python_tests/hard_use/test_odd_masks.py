"""Masks that are not what they should be, wherever a mask is read: the file, what is in it, and how often."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from odd_images import PNG, chunk, png, rows_of
from tiny_run import tiny_config

from wsss_fast.cli import main
from wsss_fast.config import DataConfig
from wsss_fast.config_file import save
from wsss_fast.data.folder import Folder
from wsss_fast.data.image_set import ImageSet
from wsss_fast.data.index_file import write_index
from wsss_fast.data.prepared import Prepared
from wsss_fast.data.voc import Voc
from wsss_fast.files import DataError, read_json, write_image, write_json, write_mask
from wsss_fast.steps._graph import graph, relevant_config
from wsss_fast.steps._maps import MaskFolder, SureMaskFolder

HEIGHT, WIDTH = 24, 36
CLASSES = 2
GOOD = np.zeros((HEIGHT, WIDTH), np.uint8)
GOOD[4:9, 2:7] = 1
GOOD[10:12] = 2
GOOD[20] = 255
NO_IGNORED = np.where(GOOD == 255, np.uint8(0), GOOD)
DEEP = GOOD.astype(np.uint16)
DEEP[20] = 65535


def changed(*places: tuple[int, int, int]) -> np.ndarray:
    mask = GOOD.copy()
    for y, x, value in places:
        mask[y, x] = value
    return mask


def encoded(mask: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, format=form, **options)
    return file.getvalue()


def palette_png(mask: np.ndarray) -> bytes:
    """With a palette of its own, and transparency."""
    whole = png(mask.shape[1], mask.shape[0], 8, 3, rows_of(mask))
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(20)) + whole[at:]


GOOD_MASKS = {
    "grey": encoded(GOOD),
    "palette": palette_png(GOOD),
    "16 bits": png(WIDTH, HEIGHT, 16, 0, rows_of(DEEP)),
    "padded": encoded(GOOD) + bytes(100),
}


class Odd(NamedTuple):
    content: bytes
    reason: str
    """Of the message, as a part of it."""


pixels = HEIGHT * WIDTH
MASKS = {
    "an id too many": Odd(encoded(changed((0, 0, 3))), f"got [3] in 1 of {pixels} pixels"),
    "several": Odd(
        encoded(changed((0, 0, 254), (0, 1, 9), (1, 1, 9), (3, 3, 77))),
        f"got [9, 77, 254] in 4 of {pixels} pixels",
    ),
    "many": Odd(
        encoded(np.arange(pixels, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH)),
        "got [3, 4, 5, 6, 7] in ",
    ),
    "255 in 16 bits": Odd(
        png(WIDTH, HEIGHT, 16, 0, rows_of(GOOD.astype(np.uint16))),
        f"0 to 2 and 65535 (16 bits), got [255] in {WIDTH} of {pixels} pixels",
    ),
    "colours": Odd(PNG, "got PNG with mode RGB"),
    "colours with alpha": Odd(encoded(np.dstack([GOOD] * 4)), "got PNG with mode RGBA"),
    "grey with alpha": Odd(encoded(np.dstack([GOOD] * 2)), "got PNG with mode LA"),
    "another size": Odd(encoded(GOOD[:, :-1]), f"its image, {WIDTH}x{HEIGHT}, got {WIDTH - 1}x{HEIGHT}"),
    "turned": Odd(encoded(GOOD.T.copy()), f"got {HEIGHT}x{WIDTH}"),
    "a JPEG": Odd(encoded(np.where(GOOD > 0, 200, 0).astype(np.uint8), "JPEG", quality=60), " pixels"),
    "floats": Odd(encoded(GOOD.astype(np.float32), "TIFF"), "got TIFF with mode F"),
    "cut off": Odd(encoded(GOOD)[:60], "expected a palette or grey PNG"),
    "damaged": Odd(encoded(GOOD)[:50] + b"\x5a" * 6 + encoded(GOOD)[56:], "expected a palette or grey PNG"),
    "empty": Odd(b"", "got an empty file"),
    "text": Odd(b"a mask", "got something that is not an image"),
    "bomb": Odd(png(60_000, 60_000, 8, 0, bytes(1000)), "pixels"),
}


# --- the true masks, by every reader, by prepare and by evaluate ------------------------------------------


def _folder(root: Path) -> tuple[ImageSet, Path]:
    write_image(root / "images/a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "labels.csv").write_text("name,cat,dog\na,1,0\n")
    (root / "masks").mkdir()
    return Folder(root, "val"), root / "masks/a.png"


def _voc(root: Path) -> tuple[ImageSet, Path]:
    write_image(root / "JPEGImages/a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "labels.csv").write_text("name,cat,dog\na,1,0\n")
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/val.txt").write_text("a\n")
    (root / "SegmentationClass").mkdir()
    return Voc(root, "val"), root / "SegmentationClass/a.png"


def _prepared(root: Path) -> tuple[ImageSet, Path]:
    write_image(root / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with write_index(root / "val.index", classes=["cat", "dog"], images_root=".", masks_root="m") as index:
        index.add("a", "a.png", "a.png", np.array([True, False]))
    (root / "m").mkdir()
    return Prepared(root, "val"), root / "m/a.png"


READERS: dict[str, Callable[[Path], tuple[ImageSet, Path]]] = {
    "folder": _folder,
    "voc": _voc,
    "prepared": _prepared,
}


@pytest.mark.parametrize("kind", GOOD_MASKS)
@pytest.mark.parametrize("reader", READERS)
def test_good_masks(tmp_path: Path, reader: str, kind: str) -> None:
    images, path = READERS[reader](tmp_path)
    path.write_bytes(GOOD_MASKS[kind])
    mask = images.mask(0)
    assert mask is not None
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, GOOD)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("reader", READERS)
def test_odd_masks(tmp_path: Path, reader: str, kind: str) -> None:
    images, path = READERS[reader](tmp_path)
    path.write_bytes(MASKS[kind].content)
    with pytest.raises(DataError) as caught:
        images.mask(0)
    assert caught.value.file == str(path)
    assert MASKS[kind].reason in caught.value.reason


def test_by_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them at once: each is told, and its image stays, without a mask."""
    root, names = tmp_path / "data", [kind.replace(" ", "-") for kind in (*MASKS, *GOOD_MASKS)]
    for i, (name, kind) in enumerate(zip(names, (*MASKS, *GOOD_MASKS), strict=True)):
        write_image(root / f"images/{name}.png", np.full((HEIGHT, WIDTH, 3), i, np.uint8))
        (root / "masks").mkdir(exist_ok=True)
        content = MASKS[kind].content if kind in MASKS else GOOD_MASKS[kind]
        (root / f"masks/{name}.png").write_bytes(content)
    (root / "labels.csv").write_text("name,cat,dog\n" + "".join(f"{name},1,0\n" for name in names))
    out = tmp_path / "out"
    assert main(["prepare", "folder", f"--source={root}", f"--destination={out}", "--workers=0"]) == 0
    report = read_json(out / "report.json")["splits"]["val"]
    found = {entry["name"]: entry["reason"] for entry in report["findings"]["corrupt mask"]}
    assert sorted(found) == sorted(names[: len(MASKS)])
    for name, odd in zip(names, MASKS.values(), strict=False):
        assert odd.reason in found[name]
    assert (report["written"], report["with_mask"]) == (len(names), len(GOOD_MASKS))


@pytest.mark.parametrize("kind", ["several", "colours", "another size", "255 in 16 bits"])
@pytest.mark.parametrize("strict", [False, True])
def test_true_masks_by_evaluate(
    tmp_path: Path, kind: str, strict: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other images are counted; with ``--strict`` it stops."""
    root = tmp_path / "data"
    for name in ("a", "b"):
        write_image(root / f"images/{name}.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        write_mask(root / f"masks/{name}.png", GOOD)
    (root / "labels.csv").write_text("name,cat,dog\na,1,0\nb,1,0\n")
    (root / "masks/a.png").write_bytes(MASKS[kind].content)
    config = tiny_config(
        tmp_path / "run", DataConfig(reader="folder", root=str(root), workers=0, strict=strict)
    )
    done = {"done": True, "seconds": 1.0, "items": 2, "skipped": []}
    for step in graph(config):
        entry = {"step": step, "config": relevant_config(config, step), **done}
        write_json(tmp_path / "run" / step / "step.json", entry)
    for name in ("a", "b"):
        write_mask(
            tmp_path / f"run/predict/val/tta/{name}.png", np.where(GOOD == 255, 0, GOOD).astype(np.uint8)
        )
    save(config, tmp_path / "run.yaml")
    code = main(["evaluate", "--config", str(tmp_path / "run.yaml")])
    if strict:
        assert code == 1
        said = capsys.readouterr().err
        assert f"wsss-fast evaluate: error: {root / 'masks/a.png'}: " in said
        assert MASKS[kind].reason in said
        return
    assert code == 0
    val = read_json(tmp_path / "run/evaluate/metrics.json")["splits"]["val"]
    assert (val["images"], val["stages"]["segmenter_tta"]["mean_iou"]) == (1, 1.0)
    skipped = {
        entry["file"]: entry["reason"] for entry in read_json(tmp_path / "run/evaluate/step.json")["skipped"]
    }
    assert list(skipped) == [str(root / "masks/a.png")]
    assert MASKS[kind].reason in skipped[str(root / "masks/a.png")]


# --- the masks of a run -----------------------------------------------------------------------------------


def test_a_label_of_a_run_that_no_class_has(tmp_path: Path) -> None:
    """It would be out of a network's range: a crash on a CPU, the end of the process on a GPU."""
    folder = MaskFolder(tmp_path, CLASSES)
    for kind, content in GOOD_MASKS.items():
        (tmp_path / "a.png").write_bytes(content)
        assert folder("a").shape == GOOD.shape, kind
    for kind, odd in MASKS.items():
        (tmp_path / "a.png").write_bytes(odd.content)
        if kind in ("another size", "turned"):  # that is the loader's to see, which has the image
            assert folder("a").shape != GOOD.shape
            continue
        with pytest.raises(DataError) as caught:
            folder("a")
        assert odd.reason in caught.value.reason
        assert caught.value.file == str(tmp_path / "a.png")


def test_two_thresholds_of_two_sizes(tmp_path: Path) -> None:
    write_mask(tmp_path / "0.6/a.png", GOOD)
    write_mask(tmp_path / "0.3/a.png", GOOD[:, :-1])
    folder = SureMaskFolder(MaskFolder(tmp_path / "0.6", CLASSES), MaskFolder(tmp_path / "0.3", CLASSES))
    with pytest.raises(DataError, match=r"0\.3/a\.png: expected a mask as .*\[24, 36\], got \[24, 35\]"):
        folder("a")


COMMANDS = {
    "train-irnet": "make-ir-labels/train",
    "train-segmenter": "make-pseudo-masks/train/0.25",
    "retrain-segmenter": "refine-pseudo-masks/train",
}


@pytest.mark.parametrize(
    ("command", "kind"),
    [*((command, "several") for command in COMMANDS), ("train-segmenter", "another size")],
)
def test_a_training_on_such_masks(
    tmp_path: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path / "run", rounds=2)
    done = {"done": True, "seconds": 1.0, "items": 2, "skipped": []}
    for step in graph(config):
        if step == command:
            break
        entry = {"step": step, "config": relevant_config(config, step), **done}
        write_json(tmp_path / "run" / step / "step.json", entry)
    if command == "retrain-segmenter":
        from wsss_fast.files import save_tensors
        from wsss_fast.models.segmenter import segmenter

        network = segmenter(config.segmenter.backbone, 7)
        save_tensors(tmp_path / "run/train-segmenter/weights.safetensors", network.state_dict())
    folder = tmp_path / "run" / COMMANDS[command]
    folder.mkdir(parents=True)
    mask = np.full((64, 64), 9, np.uint8) if kind == "several" else np.zeros((64, 63), np.uint8)
    for i in range(config.data.shapes.train):
        write_mask(folder / f"train_{i:05}.png", mask)
    save(config, tmp_path / "run.yaml")
    assert main([command, "--config", str(tmp_path / "run.yaml")]) == 1
    said = capsys.readouterr().err
    assert f"wsss-fast {command}: error: " in said
    reason = "got [9] in 4096 of 4096 pixels" if kind == "several" else "got [64, 63]"
    assert reason in said
    assert "none of the 10 images can be read" in said
