"""The examples of all docstrings run, and nothing public is without one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from prepare import trees
from tiny_run import tiny_config

import wsss_fast
from wsss_fast.cli import COMMANDS
from wsss_fast.config import AblateConfig, Config, DataConfig, PersonConfig, ShapesConfig
from wsss_fast.steps import _graph

sys.path.insert(0, str(ROOT / "docs" / "tools"))
from public_api import PUBLIC, names_of, public_objects

_FLAGS = doctest.ELLIPSIS
_PARSER = doctest.DocTestParser()


def _modules() -> Iterator[str]:
    yield "wsss_fast"
    for found in pkgutil.walk_packages(wsss_fast.__path__, "wsss_fast."):
        if not found.name.endswith("_C"):
            yield found.name


def _examples(module: str) -> list[doctest.DocTest]:
    """The examples of a module's own docstrings. Nothing is imported for them: a reader can paste them."""
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module), globs={})
    return [example for example in found if example.examples]


def _run(examples: list[doctest.DocTest], **names: object) -> None:
    for example in examples:
        example.globs.update(names)
        report: list[str] = []
        runner = doctest.DocTestRunner(verbose=False, optionflags=_FLAGS)
        assert runner.run(example, out=report.append).failed == 0, "".join(report)


ALL = {module: examples for module in _modules() if (examples := _examples(module))}
OF_STEPS = {module for module in ALL if module.startswith("wsss_fast.steps.") or module == "wsss_fast.report"}


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the data sets, tiny ones, under the names that the examples have for them."""
    trees.voc(tmp_path / "VOCdevkit/VOC2012", ["a", "b"], ["c"])
    trees.lid(tmp_path / "ILSVRC", {"lions/a": [trees.LION], "zebras/b": [trees.ZEBRA]}, ["c"])
    car = trees.annotated(100, 1, trees.box(2, 2, 8, 8))
    trees.coco(tmp_path / "coco", ["a.jpg"], [car], ["b.jpg"], [car])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", sorted(set(ALL) - OF_STEPS))
@pytest.mark.usefixtures("ground", "no_pydensecrf")
def test_examples_run(module: str) -> None:
    _run(ALL[module])


def test_examples_of_the_steps_run(tmp_path: Path) -> None:
    """In the order of the method, in one folder."""
    config = tiny_config(tmp_path / "run", rounds=2)
    _with_a_class_of_its_own(config)
    grid_config = tiny_config(tmp_path / "grid")
    grid_config.instances.splits = []
    grid_config.ablate = AblateConfig(thresholds=[0.3], tta=[True])
    steps = [f"wsss_fast.steps.{step.replace('-', '_')}" for step in _graph.graph(config)]
    order = [*steps, "wsss_fast.steps.evaluate", "wsss_fast.report", "wsss_fast.steps.run"]
    for module in [*order, *sorted(OF_STEPS.difference(order))]:
        _run(ALL.get(module, []), config=config, grid_config=grid_config)


def _with_a_class_of_its_own(config: Config) -> None:
    config.data = DataConfig(workers=0, shapes=ShapesConfig(train=8, val=2, size=64))
    config.person = PersonConfig(merge="before", name="pebble")
    config.person.classifier.backbone = config.classifier.backbone
    config.person.classifier.epochs = 1
    config.person.classifier.batch_size = 4
    config.person.classifier.image_size = 64
    config.classifier.exclude = ["pebble"]


# --- nothing is left out ---------------------------------------------------------------------------------


def _lacks_example(value: object) -> list[str]:
    """What of a public function or class no example shows; a method's may be that of its class."""
    text = value.__doc__ or ""
    if not inspect.isclass(value):
        return [] if ">>>" in text else ["itself"]
    classes = [kind for kind in value.__mro__ if kind.__module__.startswith("wsss_fast.")]
    source = "\n".join(
        example.source for kind in classes for example in _PARSER.get_examples(_docstrings_of(kind))
    )
    lacking = [] if ">>>" in text else ["itself"]
    for name, member in vars(value).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        called = r"\w\(" if name == "forward" else rf"\.{name}\b"  # a network's is called as the network
        if (
            name != "extra_repr"
            and ">>>" not in (inspect.getdoc(member) or "")
            and not re.search(called, source)
        ):
            lacking.append(name)
    return lacking


def _docstrings_of(kind: type) -> str:
    members = [member for member in vars(kind).values() if inspect.isfunction(member)]
    return "\n\n".join(inspect.getdoc(value) or "" for value in (kind, *members))


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_everything_public_has_an_example(name: str) -> None:
    lacking = _lacks_example(public_objects()[name])
    assert not lacking, f"{name}: expected an example in its docstring, got none for {', '.join(lacking)}"


def test_an_object_without_an_example_is_noticed() -> None:
    class Half:
        """Half.

        >>> Half().shown()
        """

        def shown(self) -> None: ...

        def hidden(self) -> None: ...

    Half.__module__ = "wsss_fast.made_up"
    assert _lacks_example(Half) == ["hidden"]
    assert _lacks_example(_run) == ["itself"]


def test_the_list_of_public_names_is_whole() -> None:
    for module in _modules():
        parts = module.split(".")[1:]
        if hasattr(importlib.import_module(module), "__all__") and not any(p.startswith("_") for p in parts):
            assert module in PUBLIC, f"{module} has public names that docs/tools/public_api.py lacks"
    for name, command in COMMANDS.items():
        module = f"wsss_fast.{command.module}"
        assert command.function in names_of(module), f"the function of `wsss-fast {name}`"


# What the text of an op says, by a word that none can do without.
_SAID = {
    "shapes": r"\[N,",
    "dtypes": r"float32",
    "devices": r"CUDA|GPU",
    "errors": r"Raises",
    "gradient": r"[Dd]ifferentiable|Gradient|no_grad",
    "determinism": r"same bits|deterministic|Determinism",
    "cost": r"\bCost|\bcosts?\b",
    "source": r"\b(19|20)\d\d\b",
    "example": r">>> ",
}
_OPS = [
    "wsss_fast.crf",
    "wsss_fast.PermutohedralLattice",
    "wsss_fast.random_walk",
    "wsss_fast.path_affinity",
    "wsss_fast.fuse_cams",
    "wsss_fast.tta_merge",
    "wsss_fast.nn.AffinityDisplacementLoss",
    "wsss_fast.nn.DenseCRF",
    "wsss_fast.nn.DenseCRFLoss",
    "wsss_fast.nn.TTA",
]


@pytest.mark.parametrize("name", _OPS)
def test_the_text_of_an_op_says_all(name: str) -> None:
    value = public_objects()[name]
    text = _docstrings_of(value) if inspect.isclass(value) else value.__doc__ or ""
    lacking = [what for what, word in _SAID.items() if not re.search(word, text)]
    assert not lacking, f"{name}: expected its docstring to tell of {', '.join(lacking)}"


@pytest.mark.parametrize("name", sorted(name for name in public_objects() if name.count(".") == 1))
def test_arguments_are_described(name: str) -> None:
    """Each argument of what the package exports at its top stands under ``Args``."""
    value = public_objects()[name]
    arguments = inspect.signature(value).parameters
    text = value.__doc__ or ""
    lacking = [argument for argument in arguments if not re.search(rf"^ +{argument}: ", text, re.MULTILINE)]
    assert not lacking, f"{name}: expected a line for {', '.join(lacking)}"
