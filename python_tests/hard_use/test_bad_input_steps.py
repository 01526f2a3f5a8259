"""Bad input to the steps, metrics and networks: what is wrong has a name, nothing goes on with it.

The outputs of earlier steps are damaged in every way of `damage_cases`, and read by what the steps read them
with; one damage of each kind goes through the command.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from hard_use import counted
from hard_use.damage_cases import (
    OF_ANY,
    OF_CLASSES,
    OF_HISTORY,
    OF_JSON,
    OF_METRICS,
    OF_STATE,
    Damage,
    of_maps,
    of_mask,
)

import wsss_fast.config
import wsss_fast.config_file
import wsss_fast.data
import wsss_fast.metrics
from wsss_fast.cli import COMMANDS, main
from wsss_fast.config import BackboneConfig, CamsConfig, Config, ConfigError, DataConfig, ShapesConfig
from wsss_fast.config_file import read_values, recipe, save, to_yaml
from wsss_fast.data import open_images
from wsss_fast.files import DataError
from wsss_fast.metrics import BoundaryIou, ConfusionMatrix, ThresholdSweep, check_masks, scores
from wsss_fast.models.activation_maps import activation_maps
from wsss_fast.models.classifier import Classifier
from wsss_fast.models.irnet import IRNet, boundary_map
from wsss_fast.models.segmenter import segmenter
from wsss_fast.report import _read_history as read_history
from wsss_fast.steps._map_files import read_boundary
from wsss_fast.steps._maps import MaskFolder, read_cams
from wsss_fast.steps._metrics_file import mean_ious, read_metrics
from wsss_fast.steps._soft_labels import SoftLabelFolder
from wsss_fast.steps._states import read_state_file

CLASSES = 6
SIZE = (64, 64)

CAMS, WALK = "make-cams/val/val_00002.npz", "make-pseudo-masks/val/val_00002.npz"
MASK, STATE = "make-ir-labels/val/val_00002.png", "make-cams/step.json"
METRICS, HISTORY = "evaluate/metrics.json", "train-irnet/history.csv"

READERS: dict[str, tuple[str, Callable[[Path], object], dict[str, Damage]]] = {
    "read_cams": (
        CAMS,
        lambda path: read_cams(path, CLASSES, SIZE),
        {**OF_ANY, **OF_CLASSES, **of_maps("strided"), **of_maps("full")},
    ),
    "SoftLabelFolder": (
        WALK,
        lambda path: SoftLabelFolder(path.parent, 0.25, {}, False, CLASSES)(path.stem),
        {**OF_ANY, **OF_CLASSES, **of_maps("walk")},
    ),
    "read_boundary": (WALK, read_boundary, {**OF_ANY, **of_maps("boundary")}),
    "MaskFolder": (
        MASK,
        lambda path: MaskFolder(path.parent, CLASSES)(path.stem),
        {**OF_ANY, **{k: v for k, v in of_mask(SIZE).items() if k != "another size"}},
    ),
    "read_state_file": (STATE, read_state_file, {**OF_ANY, **OF_STATE}),
    "read_metrics": (METRICS, read_metrics, {**OF_ANY, **OF_METRICS}),
    "mean_ious": (METRICS, mean_ious, {**OF_ANY, **OF_JSON}),
    "read_history": (HISTORY, read_history, OF_HISTORY),
}


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(finished_run: Config, reader: str, tmp_path: Path) -> None:
    source, read, damages = READERS[reader]
    good = Path(finished_run.output) / source
    path = tmp_path / good.name
    shutil.copy(good, path)
    read(path)
    for kind, damage in damages.items():
        if reader == "read_boundary" and kind == "boundary too many":
            continue  # it is one map, and of any size
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            path.rmdir()
        shutil.copy(good, path)
        damage(path)
        with pytest.raises(DataError, match="expected") as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: "), kind
        assert "\n" not in str(caught.value), kind
        counted.tried("files of earlier steps")


# --- through the command -------------------------------------------------------------------------------

# Which command reads which file (with `data.strict`), and one damage of it.
THROUGH: dict[str, tuple[str, str, Damage]] = {
    "CAMs of another size": ("make-ir-labels", CAMS, of_maps("full")["full of no row"]),
    "CAMs of NaN": ("make-pseudo-masks", CAMS, of_maps("strided")["strided of NaN"]),
    "CAMs cut off": ("evaluate", CAMS, OF_ANY["cut off"]),
    "CAMs of unknown classes": ("report", CAMS, OF_CLASSES["unknown classes"]),
    "walk of another rank": ("evaluate", WALK, of_maps("walk")["walk of another rank"]),
    "regions of unknown labels": (
        "train-irnet",
        MASK.replace("val", "train"),
        of_mask(SIZE)["unknown labels"],
    ),
    "pseudo-masks of unknown labels": (
        "train-segmenter",
        "make-pseudo-masks/train/0.25/train_00002.png",
        of_mask(SIZE)["unknown labels"],
    ),
    "pseudo-masks of another size": (
        "evaluate",
        "make-pseudo-masks/val/0.25/val_00002.png",
        of_mask(SIZE)["another size"],
    ),
    "state of an earlier step": ("make-cams", "train-classifier/step.json", OF_STATE["nothing"]),
    "own state": ("predict", "predict/step.json", OF_STATE["seconds 'x'"]),
    "state of a step for the report": ("report", "train-irnet/step.json", OF_STATE["skipped [3]"]),
    "metrics": ("report", METRICS, OF_METRICS["a sweep of text"]),
    "history": ("report", HISTORY, OF_HISTORY["no numbers"]),
    "weights": ("predict", "retrain-segmenter/weights.safetensors", OF_ANY["cut off"]),
    "weights of another network": (
        "make-pseudo-masks",
        "train-irnet/weights.safetensors",
        lambda path: shutil.copy(path.parents[1] / "train-classifier/weights.safetensors", path),
    ),
    "record of the CRF": ("evaluate", "evaluate/val/cam-crf/settings.json", OF_ANY["junk"]),
    "instances": ("make-instance-masks", "make-instance-masks/val/val_00002.json", OF_JSON["number"]),
}


@pytest.mark.parametrize("case", THROUGH)
def test_damaged_outputs_of_earlier_steps(
    finished_run: Config, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, source, damage = THROUGH[case]
    root = tmp_path / "run"
    shutil.copytree(finished_run.output, root)
    if source.partition("/")[0] == name:
        state = root / name / "step.json"
        state.write_text(state.read_text().replace('"done": true', '"done": false'))
    elif name != "report":
        shutil.rmtree(root / name)
    path = root / source
    damage(path)
    save(
        replace(finished_run, output=str(root), data=replace(finished_run.data, strict=True)), tmp_path / "c"
    )
    capsys.readouterr()
    assert main([name, "--config", str(tmp_path / "c")]) == 1
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "error:" in line]
    assert line.partition("wsss-fast")[2].startswith(f" {name}: error: {path}: "), said
    assert "expected" in line
    assert "Traceback" not in said
    counted.tried("the command")


def test_commands_out_of_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ("train-classifier", "train-person-classifier", "run", "demo", "ablate")
    person = ["--person.merge=after", "--classifier.exclude=[circle]", "--person.name=circle"]
    more = ["--instances.splits=[val]", "--segmenter.rounds=2", *person]
    for name in COMMANDS:
        if name in first:
            continue
        root = tmp_path / name
        assert main([name, "--output", str(root), *more]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"wsss-fast {name}: error: "), said
        assert said.count("\n") == 1, said
        assert sorted(path.name for path in root.rglob("*")) == ["config.yaml", "run.json"], name
        counted.tried("the command")


def test_damaged_config_of_the_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is written anew by each command, so that only one that cannot be replaced stops it."""
    (tmp_path / "config.yaml").mkdir()
    assert main(["make-cams", "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "output: expected a folder that can be written" in said
    assert said.count("\n") == 2


# --- from Python ---------------------------------------------------------------------------------------

Case = tuple[Callable[[], object], type[Exception] | tuple[type[Exception], ...], str]


def tried(table: str, cases: Sequence[Case]) -> None:
    """Each call raises that error, and the message begins with the argument and says what was expected."""
    for number, (call, kind, name) in enumerate(cases):
        with pytest.raises(kind) as caught:
            call()
        message = str(caught.value)
        assert re.match(rf"{name}\b.*: expected ", message, re.DOTALL), (number, message)
        counted.tried(table)


WRONG_CONFIGS: list[Any] = [None, 3, "demo.yaml", {}, {"output": "x"}, Config, DataConfig(), Path("x")]


def test_steps_take_a_config() -> None:
    for command in COMMANDS.values():
        function = getattr(importlib.import_module(f"wsss_fast.{command.module}"), command.function)
        tried("steps", [(lambda c=c, f=function: f(c), TypeError, "config") for c in WRONG_CONFIGS])


NOT_ARRAYS: list[Any] = [None, 3, "x", [[0, 1]], torch.zeros(2, 2, dtype=torch.uint8), object()]
WRONG_MASKS: list[np.ndarray] = [
    np.zeros(4, np.uint8),
    np.zeros((1, 2, 2), np.uint8),
    np.array(3, np.uint8),
    *(
        np.zeros((2, 2), kind)
        for kind in (np.int64, np.int8, np.float32, np.float64, bool, complex, object, "U1")
    ),
    np.full((2, 2), 77, np.uint8),
    np.full((2, 2), 300, np.uint16),
]
GOOD = np.uint8([[0, 1], [2, 2]])
COUNTS: list[tuple[Any, type[Exception]]] = [
    (0, ValueError),
    (-1, ValueError),
    (10**30, ValueError),
    (65_536, ValueError),
    (2.5, TypeError),
    (float("nan"), TypeError),
    ("x", TypeError),
    (None, TypeError),
    (True, TypeError),
    ([3], TypeError),
]


def test_metrics() -> None:
    makers: list[Callable[[Any], Any]] = [
        ConfusionMatrix,
        lambda n: BoundaryIou(n, 0.1),
        lambda n: ThresholdSweep(n, [0.5]),
        lambda n: check_masks(GOOD, GOOD, n),
    ]
    cases: list[Case] = [(lambda m=m, n=n: m(n), kind, "n_classes") for m in makers for n, kind in COUNTS]
    updates: list[Callable[[Any, Any], object]] = [
        ConfusionMatrix(3).update,
        BoundaryIou(3, 0.1).update,
        lambda p, t: check_masks(p, t, 3),
    ]
    for update in updates:
        for value in NOT_ARRAYS:
            cases += [(lambda u=update, v=value: u(v, GOOD), TypeError, "prediction")]
            cases += [(lambda u=update, v=value: u(GOOD, v), TypeError, "truth")]
        for mask in WRONG_MASKS:
            cases += [(lambda u=update, v=mask: u(v, GOOD), ValueError, "prediction")]
            cases += [(lambda u=update, v=mask: u(GOOD, v), ValueError, "truth")]
        cases += [(lambda u=update: u(np.full((2, 2), 255, np.uint8), GOOD), ValueError, "prediction")]
        cases += [(lambda u=update: u(np.zeros((0, 2), np.uint8), GOOD), ValueError, "prediction")]
        cases += [(lambda u=update: u(np.zeros((3, 2), np.uint8), GOOD), ValueError, "prediction")]
    cases += [(lambda w=w: BoundaryIou(3, w), TypeError, "width") for w in (None, "x", True, [0.1], 1j)]
    cases += [
        (lambda w=w: BoundaryIou(3, w), ValueError, "width")
        for w in (0, 1, -0.1, float("nan"), float("inf"), 10**30)
    ]
    tried("metrics", cases)


def test_sweeps_and_scores() -> None:
    def sweep(maps: Any, classes: Any = (1, 2), truth: Any = GOOD) -> None:
        ThresholdSweep(3, [0.5]).update(maps, classes, truth)

    maps = np.zeros((2, 2, 2), np.float32)
    nan = float("nan")
    cases: list[Case] = [
        *(
            (lambda t=t: ThresholdSweep(3, t), TypeError, "thresholds")
            for t in (["x"], [None], [[0.5]], [True])
        ),
        *(
            (lambda t=t: ThresholdSweep(3, t), ValueError, "thresholds")
            for t in ([], [nan], [0.5, float("inf")])
        ),
        *((lambda v=v: sweep(v), TypeError, "maps") for v in NOT_ARRAYS),
        *((lambda k=k: sweep(maps.astype(k)), TypeError, "maps") for k in (complex, bool, object, "U1")),
        *((lambda v=v: sweep(v), ValueError, "maps") for v in (maps[0], maps[None], maps[:1], maps[:, :1])),
        *((lambda v=v: sweep(maps + v), ValueError, "maps") for v in (np.float32(nan), np.float32(np.inf))),
        *(
            (lambda c=c: sweep(maps, c), ValueError, "classes")
            for c in ((0, 1), (1, 3), (-1, 1), (1, 1), 1, [[1, 2]])
        ),
        *((lambda c=c: sweep(maps, c), TypeError, "classes") for c in ((1.0, 2.0), ("a", "b"), (None, None))),
        *((lambda v=v: sweep(maps, truth=v), TypeError, "truth") for v in NOT_ARRAYS),
        *((lambda v=v: sweep(maps, truth=v), ValueError, "truth") for v in WRONG_MASKS),
        *(
            (lambda v=v: ThresholdSweep(3, [0.5]).update_labels(v, GOOD), TypeError, "labels")
            for v in (None, GOOD, 3)
        ),
        *(
            (lambda v=v: ThresholdSweep(3, [0.5]).update_labels(v, GOOD), ValueError, "labels")
            for v in ([], [GOOD] * 2)
        ),
        *(
            (lambda v=v: ThresholdSweep(3, [0.5]).update_labels([v], GOOD), ValueError, "prediction")
            for v in WRONG_MASKS
        ),
        *(
            (lambda v=v: scores(v), TypeError, "matrix")
            for v in (None, "x", [["a"]], [[True]], [[1j]], object())
        ),
        *(
            (lambda v=v: scores(v), ValueError, "matrix")
            for v in (np.zeros(3), np.zeros((2, 3)), np.zeros((0, 0)), [[-1.0]], [[nan]], [[np.inf]], 3)
        ),
    ]
    tried("metrics", cases)


def test_metrics_of_unusual_arrays() -> None:
    """They may be read-only, not contiguous and empty."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (8, 6)).astype(np.uint8)
    prediction = rng.integers(0, 3, (8, 6)).astype(np.uint8)
    maps = rng.random((2, 8, 6)).astype(np.float32)

    def results(arrange: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        confusion, boundary, sweep = ConfusionMatrix(3), BoundaryIou(3, 0.1), ThresholdSweep(3, [0.3, 0.6])
        confusion.update(arrange(prediction), arrange(truth))
        boundary.update(arrange(prediction), arrange(truth))
        sweep.update(arrange(maps), np.array([1, 2]), arrange(truth))
        return [confusion.counts, boundary.intersection, boundary.union, sweep.counts]

    def read_only(array: np.ndarray) -> np.ndarray:
        copy = array.copy()
        copy.flags.writeable = False
        return copy

    arrangements: list[Callable[[np.ndarray], np.ndarray]] = [
        read_only,
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        lambda array: array[..., ::-1].copy()[..., ::-1],
    ]
    for arrange in arrangements:
        for got, expected in zip(results(arrange), results(np.copy), strict=True):
            np.testing.assert_array_equal(got, expected)
        counted.tried("metrics", 3)
    for shape in ((0, 5), (5, 0), (0, 0)):
        empty = np.zeros(shape, np.uint8)
        for counts in (ConfusionMatrix(3), BoundaryIou(3, 0.1)):
            counts.update(empty, empty)
            assert counts.images == 1
            counted.tried("metrics")
        sweep = ThresholdSweep(3, [0.5])
        sweep.update(np.zeros((1, *shape), np.float32), np.array([1]), empty)
        assert sweep.counts.sum() == 0
        counted.tried("metrics")
    assert np.isnan(ConfusionMatrix(201).scores().mean_iou)  # nothing was counted
    many = np.arange(201, dtype=np.uint8).reshape(3, 67)
    confusion = ConfusionMatrix(201)
    confusion.update(many, many)
    assert confusion.scores().mean_iou == 1


BACKBONE = BackboneConfig(name="test_resnet")


def test_networks() -> None:
    wrong: list[Any] = [None, 3, "test_resnet", {}, Config(), BackboneConfig]
    cases: list[Case] = [
        *((lambda v=v: Classifier(v, 2), TypeError, "config") for v in wrong),
        *((lambda v=v: segmenter(v, 2), TypeError, "config") for v in wrong),
        *((lambda v=v: IRNet(v), TypeError, "config") for v in wrong),
        *((lambda n=n: Classifier(BACKBONE, n), kind, "classes") for n, kind in COUNTS),
        *((lambda n=n: segmenter(BACKBONE, n), kind, "classes") for n, kind in COUNTS),
        *(
            (lambda v=v, key=key: Classifier(BACKBONE, 2, **{key: v}), kind, key)
            for key in ("dropout", "drop_path")
            for kind, values in (
                (ValueError, (-0.1, 1.1, float("nan"), float("inf"))),
                (TypeError, ("x", None, True, [0.5])),
            )
            for v in values
        ),
    ]
    for name in ("nope", "resnet50.nope", "vit_tiny_patch16_224", "../test_resnet", "hf-hub:x/y"):
        config = BackboneConfig(name=name)
        cases += [(lambda c=config: Classifier(c, 2), ConfigError, r"backbone\.(name|output_stride)")]
        cases += [(lambda c=config: IRNet(c), ConfigError, r"backbone\.(name|output_stride)")]
        cases += [(lambda c=config: segmenter(c, 2), ConfigError, r"segmenter\.backbone\.name")]
    for weights in ("nope.pth", "/dev/null/x.pth", str(Path(__file__)), "x" * 5000):
        config = replace(BACKBONE, weights=weights)
        cases += [(lambda c=config: Classifier(c, 2), ConfigError, r"backbone\.weights")]
        cases += [(lambda c=config: IRNet(c), ConfigError, r"backbone\.weights")]
        cases += [(lambda c=config: segmenter(c, 2), ConfigError, r"backbone\.weights")]
    tried("networks", cases)


def test_activation_maps() -> None:
    model = Classifier(BACKBONE, 3).eval()
    irnet = IRNet(BACKBONE).eval()
    images, present = torch.zeros(2, 3, 64, 64), torch.ones(2, 3, dtype=torch.bool)

    def maps(**changes: Any) -> object:
        of = {"model": model, "images": images, "present": present, "config": CamsConfig(), **changes}
        return activation_maps(**of)

    cases: list[Case] = [
        *((lambda v=v: maps(model=v), TypeError, "model") for v in (None, 3, torch.nn.Identity())),
        *((lambda v=v: maps(config=v), TypeError, "config") for v in (None, "gradcam", Config())),
        *(
            (lambda v=v: maps(present=v), TypeError, "present")
            for v in (None, [[True]], present.int(), present.float())
        ),
        *(
            (lambda v=v: maps(present=v), ValueError, "present")
            for v in (present[:1], present[:, :2], present[0], present[None])
        ),
        *(
            (lambda v=v: maps(config=CamsConfig(layer=v)), ConfigError, r"cams\.layer")
            for v in ("nope", "layer", "layer4.0.nope")
        ),
        (lambda: maps(config=CamsConfig(layer="layer4", method="cam")), ConfigError, r"cams\.layer"),
    ]
    calls: list[Callable[[Any], object]] = [lambda v: maps(images=v), lambda v: boundary_map(irnet, v)]
    for call in calls:
        cases += [
            (lambda c=call, v=v: c(v), TypeError, "images")
            for v in (None, images.numpy(), images.byte(), images.bool())
        ]
        cases += [
            (lambda c=call, v=v: c(v), ValueError, "images")
            for v in (images[0], images[None], images[:, :2], images[:, :, :0], torch.zeros(()))
        ]
    tried("networks", cases)
    # Without an image there is no map, and without a class they are zero.
    with torch.no_grad():
        assert activation_maps(model, images, ~present, CamsConfig()).abs().sum() == 0
    strided = images.repeat(1, 1, 1, 2)[..., ::2]
    torch.testing.assert_close(maps(images=strided), maps())
    counted.tried("networks", 2)


def test_data_and_files_of_configs(tmp_path: Path) -> None:
    shapes = DataConfig(shapes=ShapesConfig(train=1, val=1))
    cases: list[Case] = [
        *((lambda v=v: open_images(v, "train"), TypeError, "config") for v in (None, 3, "x", {}, Config())),
        *(
            (lambda v=v: open_images(shapes, v), ValueError, "split")
            for v in ("test", "", None, 3, "Train", ["val"])
        ),
        *((lambda v=v: to_yaml(v), TypeError, "config") for v in WRONG_CONFIGS),
        *((lambda v=v: save(v, tmp_path / "c.yaml"), TypeError, "config") for v in WRONG_CONFIGS),
        *((lambda v=v: read_values(v), TypeError, "path") for v in (None, 0, 3, 1.5, [], object())),
        *(
            (lambda v=v: read_values(v), ConfigError, ".*")
            for v in ("", "nope", tmp_path, "a\0b", "x" * 5000)
        ),
        *((lambda v=v: recipe(v), FileNotFoundError, ".*") for v in ("nope", "", "../pyproject", "x" * 300)),
    ]
    tried("data and config files", cases)
    assert list(tmp_path.iterdir()) == []


def test_the_tables_have_every_public_name() -> None:
    """A new name belongs into a table above, and then here."""
    assert set(wsss_fast.metrics.__all__) == {
        "BoundaryIou",
        "ConfusionMatrix",
        "Scores",  # a result
        "ThresholdSweep",
        "check_masks",
        "scores",
    }
    assert set(wsss_fast.data.__all__) == {"DataError", "ImageSet", "open_images"}
    sections = {type(value).__name__ for value in vars(Config()).values()}
    others = {name for name in wsss_fast.config.__all__ if not name.endswith("Config")}
    assert others == {"ConfigError", "Split", "check_config"}
    assert sections >= {"DataConfig", "CamsConfig", "ReportConfig"}
    public = {
        name
        for name, value in vars(wsss_fast.config_file).items()
        if callable(value) and getattr(value, "__module__", "") == "wsss_fast.config_file" and name[0] != "_"
    }
    tested = {"build", "read_values", "recipe", "save", "to_yaml"}
    plain = {"check_null", "did_you_mean", "flat", "key_types"}  # of values that the others have checked
    assert public == tested | plain
