"""No pickle is ever read: no line of the package does, and planted ones do nothing but end a command."""

from __future__ import annotations

import ast
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from tiny_run import tiny_config

import wsss_fast
from wsss_fast.cli import main
from wsss_fast.config import BackboneConfig, ConfigError
from wsss_fast.config_file import read_values, save
from wsss_fast.data.annotations import read_object_names
from wsss_fast.data.decode import read_image
from wsss_fast.data.index_file import IndexFile
from wsss_fast.data.labels_csv import read_labels
from wsss_fast.files import DataError, load_tensors, read_json, read_mask, read_npz, write_json
from wsss_fast.models.backbone import WeightsError, read_weights
from wsss_fast.steps._graph import graph, relevant_config

# --- the source ------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "read_pickle", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all"}
METHODS_OF_NETWORKS = {"eval"}
NEEDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
FORBIDDEN = {
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "yaml.load",
    "yaml.load_all",
}


def dangers(source: str) -> Iterator[str]:
    """Whatever in a module may read a pickle or run what it has read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: {of.name}" for of in node.names if of.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"{node.lineno}: {node.module}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN:
            yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            if last in CALLS and not ("." in name and last in METHODS_OF_NETWORKS):
                yield f"{node.lineno}: {name}"
            if name in NEEDS:
                key, value = NEEDS[name]
                given = {of.arg: of.value for of in node.keywords}.get(key)
                if not (isinstance(given, ast.Constant) and given.value is value):
                    yield f"{node.lineno}: {name} without {key}={value}"


def test_no_module_reads_pickles() -> None:
    (package,) = wsss_fast.__path__
    files = sorted(Path(package).rglob("*.py"))
    assert len(files) > 100
    found = {str(path): list(dangers(path.read_text(encoding="utf-8"))) for path in files}
    assert {path: of for path, of in found.items() if of} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import joblib.numpy_pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "load = yaml.load",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "torch.jit.load(path)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert len(list(dangers(f"def f():\n    {line}\n"))) == 1


def test_the_search_lets_pass() -> None:
    good = (
        "model.eval()\ntorch.load(p, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.safe_load(t)\n"
    )
    assert list(dangers(good)) == []


# --- planted ones ----------------------------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What must not be there at the end."""
    path = tmp_path / "it was read"
    yield path
    assert not path.exists()


def _plain(path: Path, bomb: Bomb) -> None:
    path.write_bytes(pickle.dumps({"weight": bomb}))


def _by_torch(path: Path, bomb: Bomb) -> None:
    torch.save({"weight": torch.ones(1), "more": bomb}, path)


def _by_old_torch(path: Path, bomb: Bomb) -> None:
    torch.save({"weight": torch.ones(1), "more": bomb}, path, _use_new_zipfile_serialization=False)


def _objects(path: Path, bomb: Bomb) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, classes=_array(bomb), full=_array(bomb), strided=_array(bomb))


def _array(bomb: Bomb) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = bomb
    return array


def _one_array(path: Path, bomb: Bomb) -> None:
    with path.open("wb") as file:
        np.save(file, _array(bomb), allow_pickle=True)


def _zipped(path: Path, bomb: Bomb) -> None:
    """A pickle where an array should be."""
    with zipfile.ZipFile(path, "w") as file:
        for name in ("classes", "full", "strided"):
            file.writestr(f"{name}.npy", pickle.dumps(bomb))


PLANTS = {
    "pickle": _plain,
    "torch": _by_torch,
    "old torch": _by_old_torch,
    "object arrays": _objects,
    "an object array": _one_array,
    "zipped": _zipped,
}


def test_the_bombs_go_off(tmp_path: Path) -> None:
    """Where they are read as they should not be."""
    readers: dict[str, Callable[[Path], object]] = {
        "pickle": lambda path: pickle.loads(path.read_bytes()),
        "torch": lambda path: torch.load(path, weights_only=False),
        "old torch": lambda path: torch.load(path, weights_only=False),
        "object arrays": lambda path: np.load(path, allow_pickle=True)["full"],
        "an object array": lambda path: np.load(path, allow_pickle=True),
        "zipped": lambda path: pickle.loads(zipfile.ZipFile(path).read("full.npy")),
    }
    for kind, plant in PLANTS.items():
        marker = tmp_path / kind
        plant(tmp_path / "file", Bomb(marker))
        readers[kind](tmp_path / "file")
        assert marker.is_dir(), kind


READERS: dict[str, Callable[[Path], object]] = {
    "JSON": read_json,
    "npz": read_npz,
    "mask": read_mask,
    "image": read_image,
    "tensors": load_tensors,
    "index": IndexFile,
    "labels": read_labels,
    "annotation": read_object_names,
    "config": read_values,
}


@pytest.mark.parametrize("kind", PLANTS)
def test_readers_refuse(tmp_path: Path, marker: Path, kind: str) -> None:
    path = tmp_path / "file"
    PLANTS[kind](path, Bomb(marker))
    for reader in READERS.values():
        with pytest.raises((DataError, ConfigError), match=r"file: expected "):
            reader(path)
        assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("kind", PLANTS)
def test_weights_refuse(tmp_path: Path, marker: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    PLANTS[kind](path, Bomb(marker))
    with pytest.raises(WeightsError, match=r"backbone\.weights: expected a "):
        read_weights(BackboneConfig(name="test_resnet", weights=str(path)))


@pytest.mark.parametrize(
    "line", ['output: !!python/object/apply:os.mkdir ["{}"]', 'seed: !!python/object/new:os.mkdir ["{}"]']
)
def test_a_config_refuses(
    tmp_path: Path, marker: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(line.format(marker))
    assert main(["make-cams", "--config", str(tmp_path / "run.yaml")]) == 2
    assert "run.yaml: expected YAML" in capsys.readouterr().err


COMMANDS = {  # the others read their files as these do
    "make-cams": "train-classifier/weights.safetensors",
    "make-ir-labels": "make-cams/train/train_00000.npz",
    "train-irnet": "make-ir-labels/train/train_00000.png",
    "make-pseudo-masks": "train-irnet/weights.safetensors",
    "train-segmenter": "make-pseudo-masks/train/0.25/train_00000.png",
    "retrain-segmenter": "train-segmenter/weights.safetensors",
    "evaluate": "make-cams/train/train_00000.npz",
    "report": "make-cams/val/val_00000.npz",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse(
    tmp_path: Path, marker: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with a pickle in place of a file of an earlier step."""
    config = tiny_config(tmp_path / "run", rounds=2)
    root = Path(config.output)
    for step in graph(config):
        if step == command:
            break
        write_json(
            root / step / "step.json",
            {
                "step": step,
                "config": relevant_config(config, step),
                "done": True,
                "seconds": 1.0,
                "items": 1,
                "skipped": [],
            },
        )
    planted = root / COMMANDS[command]
    planted.parent.mkdir(parents=True, exist_ok=True)
    (_objects if planted.suffix == ".npz" else _by_torch)(planted, Bomb(marker))
    save(config, tmp_path / "run.yaml")
    assert main([command, "--config", str(tmp_path / "run.yaml"), "--strict"]) == 1
    said = capsys.readouterr().err
    # Of a training, the first image that is drawn is named; all but one of the files are missing.
    name = str(planted.parent) if planted.suffix == ".png" else str(planted)
    assert f"wsss-fast {command}: error: {name}" in said
    assert "expected a" in said


def test_a_checkpoint_refuses(tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path / "run")
    folder = Path(config.output) / "train-classifier/checkpoints"
    folder.mkdir(parents=True)
    _by_torch(folder / "step-00000001.safetensors", Bomb(marker))
    save(config, tmp_path / "run.yaml")
    code = main(["train-classifier", "--config", str(tmp_path / "run.yaml")])
    said = capsys.readouterr()
    assert (code, "step-00000001.safetensors: expected a .safetensors file" in said.err + said.out) == (
        1,
        True,
    )
