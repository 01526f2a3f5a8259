"""`wsss-fast prepare voc`, and what all data sets share: journal, worker processes, arguments."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

import trees
from damage import findings, prepare, report
from trees import SIZE, annotation, image, text

from wsss_fast.cli import main
from wsss_fast.config import DataConfig
from wsss_fast.data.prepared import Prepared
from wsss_fast.data.voc import VOC_CLASSES, Voc
from wsss_fast.files import write_image, write_mask
from wsss_fast.prepare import _examine

GOOD = ["2007_000001", "2007_000002", "2007_000003", "2007_000004"]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Six good images, two of them for validation, with masks."""
    return trees.voc(tmp_path / "VOC2012", GOOD, ["2008_000001", "2008_000002"])


def test_same_as_the_reader_voc(voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    prepare("voc", "--source", voc, "--destination", out)
    for split in ("train", "val"):
        ours, theirs = Prepared(out, split), Voc(voc, split)
        assert ours.classes == theirs.classes
        assert [ours.name(i) for i in range(len(ours))] == [theirs.name(i) for i in range(len(theirs))]
        np.testing.assert_array_equal(ours.label_matrix(), theirs.label_matrix())
        np.testing.assert_array_equal(ours.image(0), theirs.image(0))
    np.testing.assert_array_equal(Prepared(out, "val").mask(1), Voc(voc, "val").mask(1))
    assert Prepared(out, "train").mask(0) is None  # not asked for
    assert findings(out, "train") == findings(out, "val") == {}
    counts = report(out, "train")
    assert (counts["listed"], counts["written"], counts["with_mask"]) == (4, 4, 0)
    assert (counts["labels"]["person"], counts["labels"]["bird"], counts["labels"]["sofa"]) == (4, 1, 0)
    assert "| person | 4 | 2 |" in (out / "report.md").read_text()


def test_every_kind_of_damage(voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, notes = voc / "JPEGImages", voc / "Annotations"
    damaged = ["gone", "cut", "empty", "no_xml", "cut_xml", "newt", "nothing", "twin", "leak", "bad_mask"]
    for seed, name in enumerate(damaged):
        image(photos / f"{name}.jpg", 100 + seed)
        annotation(notes / f"{name}.xml", "dog")
        write_mask(voc / "aug" / f"{name}.png", np.full(SIZE, 12, np.uint8))
    (photos / "gone.jpg").unlink()
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:-40])
    (photos / "empty.jpg").write_bytes(b"")
    (notes / "no_xml.xml").unlink()
    (notes / "cut_xml.xml").write_text("<annotation><object>")
    annotation(notes / "newt.xml", "newt", "cat")
    annotation(notes / "nothing.xml")
    (photos / "twin.jpg").write_bytes((photos / "newt.jpg").read_bytes())
    (photos / "2008_000002.jpg").write_bytes((photos / "leak.jpg").read_bytes())
    write_mask(voc / "aug" / "bad_mask.png", np.full(SIZE, 21, np.uint8))
    write_mask(voc / "aug" / "nothing.png", np.zeros((3, 3), np.uint8))
    (voc / "aug" / "twin.png").unlink()
    names = text(tmp_path / "aug.txt", "".join(f"/JPEGImages/{n}.jpg /aug/{n}.png\n" for n in damaged))
    out = tmp_path / "prepared"
    arguments = [
        "voc",
        "--source",
        voc,
        "--destination",
        out,
        "--train-list",
        names,
        "--train-masks",
        voc / "aug",
    ]
    prepare(*arguments)
    assert findings(out, "train") == {
        "missing image": ["gone"],
        "corrupt image": ["cut", "empty"],
        "missing annotation": ["no_xml"],
        "corrupt annotation": ["cut_xml"],
        "unknown class": ["newt"],
        "unlabelled": ["nothing"],
        "duplicate": ["twin"],
        "missing mask": ["twin"],
        "corrupt mask": ["nothing", "bad_mask"],
    }
    assert findings(out, "val") == {"duplicate": ["2008_000002"]}
    printed = capsys.readouterr().out
    assert "train: 10 images, 4 usable, 2 with a mask; 1 corrupt annotation, 2 corrupt image" in printed
    assert f"report: {out / 'report.md'}" in printed
    images = Prepared(out, "train")
    assert [images.name(i) for i in range(len(images))] == ["newt", "twin", "leak", "bad_mask"]
    assert [images.mask_source(i) is not None for i in range(4)] == [True, False, True, False]
    assert [VOC_CLASSES[k] for k in np.flatnonzero(images.labels(0))] == ["cat"]
    prepare(*arguments, "--unlabelled", "keep", "--strict", code=1)
    assert "nothing" in [entry.name for entry in map(Prepared(out, "train").index.entry, range(5))]
    prepare(*arguments, "--check", "files")
    found = findings(out, "train")
    assert found["missing image"] == ["gone"]
    assert "corrupt image" not in found


def test_goes_on_where_it_was_stopped(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, undisturbed = tmp_path / "prepared", tmp_path / "undisturbed"
    prepare("voc", "--source", voc, "--destination", undisturbed)
    looked: list[str] = []
    real = _examine.examine_image

    def stops_at(stop: int) -> None:
        def examine(path: Path, *rest: object) -> object:
            if len(looked) == stop:
                raise KeyboardInterrupt
            looked.append(path.stem)
            return real(path, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(_examine, "examine_image", examine)

    stops_at(3)
    prepare("voc", "--source", voc, "--destination", out, code=130)
    assert not (out / "train.index").exists()
    with (out / "checks-train.jsonl").open("ab") as file:
        file.write(b"0123 [[1], ")  # a line that a kill cut off
    stops_at(-1)
    prepare("voc", "--source", voc, "--destination", out)
    assert sorted(looked) == sorted([*GOOD, "2008_000001", "2008_000002"])  # each once
    for name in ("train.index", "val.index", "report.json", "report.md"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    # What has changed since is looked at again, and nothing else.
    looked.clear()
    changed = voc / "JPEGImages" / f"{GOOD[1]}.jpg"
    os.truncate(changed, 100)
    prepare("voc", "--source", voc, "--destination", out)
    assert looked == [GOOD[1]]
    assert findings(out, "train") == {"corrupt image": [GOOD[1]]}


def test_worker_processes_find_the_same(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages" / f"{GOOD[0]}.jpg").write_bytes(b"\xff\xd8 no image")
    prepare("voc", "--source", voc, "--destination", tmp_path / "alone")
    arguments = ["--source", str(voc), "--destination", str(tmp_path / "two"), "--workers", "2"]
    assert main(["prepare", "voc", *arguments]) == 0
    for name in ("train.index", "val.index", "report.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_nothing_that_can_be_used(voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in GOOD:
        annotation(voc / "Annotations" / f"{name}.xml")
    prepare("voc", "--source", voc, "--destination", tmp_path / "out", code=1)
    assert "expected images that can be used, got none of 4" in capsys.readouterr().err
    assert findings(tmp_path / "out", "train") == {"unlabelled": GOOD}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voc", "--source", "."], "destination"),
        (
            ["voc", "--source", "nope", "--destination", "o"],
            "--source: expected the folder VOCdevkit/VOC2012, got",
        ),
        (["voc", "--source", ".", "--destination", "o"], "--source: expected a folder with JPEGImages"),
        (["lid", "--source", ".", "--destination", "o"], "--source: expected a folder with Annotations/DET"),
        (
            ["coco", "--source", ".", "--destination", "o"],
            "--source: expected a folder with annotations/instances",
        ),
        (["coco", "--source", ".", "--destination", "o", "--year", "2015"], "year"),
        (
            ["folder", "--source", ".", "--destination", "o"],
            "--source: expected a folder with images and labels.csv",
        ),
        (
            ["voc", "--source", ".", "--destination", "o", "--workers", "-1"],
            "--workers: expected a number >= 0",
        ),
        (["voc", "--source", ".", "--destination", "o", "--nope", "1"], "nope"),
        (["imagenet"], "expected one of lid, voc, coco, folder, check, got 'imagenet'"),
        (["check", "--destination", "o"], "data.reader: expected folder, voc or prepared, got 'shapes'"),
        (["check", "--destination", "o", "--data.reader", "voc"], "data.root: expected the folder"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wsss-fast prepare: error: ")
    assert message in error


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare"]) == 2
    assert main(["prepare", "--help"]) == 0
    assert "LID challenge" in capsys.readouterr().out
    for name, option in (
        ("lid", "--val-masks"),
        ("voc", "--train-list"),
        ("coco", "--year"),
        ("folder", "--val-split"),
        ("check", "--data.root"),
    ):
        assert main(["prepare", name, "--help"]) == 0
        text = capsys.readouterr().out
        assert option in text
        assert "--destination" in text


def test_check_of_other_readers(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages" / f"{GOOD[2]}.jpg").unlink()
    (voc / "Annotations" / f"{GOOD[3]}.xml").unlink()
    write_mask(voc / "SegmentationClass" / "2008_000001.png", np.zeros((2, 2), np.uint8))
    out = tmp_path / "checked"
    config = text(tmp_path / "run.yaml", f"data: {{reader: voc, root: {voc}}}\nseed: 3\n")
    prepare("check", "--config", config, "--destination", out)
    assert findings(out, "train") == {"missing image": [GOOD[2]], "missing annotation": [GOOD[3]]}
    assert findings(out, "val") == {"corrupt mask": ["2008_000001"]}
    assert report(out, "val")["with_mask"] == 1
    prepare("check", "--config", config, "--destination", out, "--strict", code=1)
    prepared = tmp_path / "prepared"
    prepare("voc", "--source", voc, "--destination", prepared)
    prepare("check", "--data.reader", "prepared", "--data.root", prepared, "--destination", out, "--strict")


def test_check_of_a_folder_without_splits(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        image(tmp_path / "images" / f"{name}.jpg", seed // 2)
    text(tmp_path / "labels.csv", "name,cat\na,1\nb,1\nc,0\n")
    arguments = ["--data.reader", "folder", "--data.root", tmp_path, "--destination", tmp_path / "out"]
    prepare("check", *arguments)
    for split in ("train", "val"):
        assert findings(tmp_path / "out", split) == {"duplicate": ["b"], "unlabelled": ["c"]}
    # Labels in the table are part of the question.
    text(tmp_path / "labels.csv", "name,cat\na,1\nb,1\nc,1\n")
    prepare("check", *arguments)
    assert findings(tmp_path / "out", "train") == {"duplicate": ["b"]}


def test_a_run_on_what_was_prepared(voc: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="needs the pipeline extra")
    from tiny_run import tiny_config

    from wsss_fast.steps.make_cams import make_cams
    from wsss_fast.steps.train_classifier import train_classifier

    for seed, name in enumerate([*GOOD, "2008_000001", "2008_000002"]):
        draws = np.random.default_rng(seed)
        write_image(voc / "JPEGImages" / f"{name}.jpg", draws.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    prepare("voc", "--source", voc, "--destination", tmp_path / "prepared")
    config = tiny_config(
        tmp_path / "run", DataConfig(reader="prepared", root=str(tmp_path / "prepared"), workers=1)
    )
    config.classifier.exclude = ["person"]
    config.classifier.balance = "both"
    train_classifier(config)
    make_cams(config)
    made = sorted(path.stem for path in (tmp_path / "run" / "make-cams" / "train").glob("*.npz"))
    assert made == GOOD


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="its workers are to have what the test replaced"
)
def test_killed_in_the_middle(voc: Path, tmp_path: Path) -> None:
    """`kill -9` leaves no process behind, and the same command then does the rest."""
    out = tmp_path / "out"
    code = (
        "import sys, time\n"
        "from wsss_fast.prepare import _examine\n"
        "from wsss_fast.prepare._examine import examine_image\n"
        "def slow(*arguments):\n"
        "    time.sleep(0.2)\n"
        "    return examine_image(*arguments)\n"
        "_examine.examine_image = slow\n"
        "from wsss_fast.prepare import _processes\n"
        "_processes._CHUNK = 1\n"
        "from wsss_fast.cli import main\n"
        "main(['prepare', 'voc', *sys.argv[1:]])\n"
    )
    arguments = ["--source", str(voc), "--destination", str(out), "--workers", "2"]
    root = str(Path(main.__code__.co_filename).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    journal = out / "checks-train.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    # The workers hold the pipe open until they have gone.
    process.communicate(timeout=30)
    assert not (out / "val.index").exists()
    prepare("voc", "--source", voc, "--destination", out)
    prepare("voc", "--source", voc, "--destination", tmp_path / "undisturbed")
    for name in ("train.index", "val.index", "report.json"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="its workers are to have what the test replaced"
)
def test_a_worker_that_dies(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_examine, "examine_image", lambda *_: os._exit(9))
    arguments = ["--source", str(voc), "--destination", str(tmp_path / "out"), "--workers", "1"]
    assert main(["prepare", "voc", *arguments]) == 1
    assert "--workers: expected 1 processes that stay, got one that died" in capsys.readouterr().err
