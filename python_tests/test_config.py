"""The config as YAML, and the recipes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")

from wsss_fast.cli import parse_config
from wsss_fast.config import (
    BackboneConfig,
    Config,
    ConfigError,
    CrfConfig,
    DataConfig,
    ShapesConfig,
)
from wsss_fast.config_file import build, flat, key_types, read_values, recipe, save, to_yaml

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert "demo.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses(path: Path) -> None:
    config = parse_config("run", ["--config", str(path)])
    assert config is not None
    # Every key of the file got there.
    written = dict(flat(dataclasses.asdict(config)))
    for key, value in flat(read_values(path)):
        if key == "ablate.encoders":  # sections, which may leave keys out
            value = [dataclasses.asdict(BackboneConfig(**encoder)) for encoder in value]
        assert written[key] == value


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_found_by_name(path: Path) -> None:
    assert recipe(path.stem).read_text() == path.read_text()


def test_unknown_recipe() -> None:
    with pytest.raises(FileNotFoundError, match=r"nonesuch\.yaml"):
        recipe("nonesuch")


def test_round_trip(tmp_path: Path) -> None:
    config = Config(
        output="runs/ä",
        seed=3,
        data=DataConfig(reader="voc", root="some where", classes=["yes", "12", "a: b"], strict=True),
        crf=CrfConfig(gaussian_compat=1e-05, bilateral_compat=0),
    )
    config.classifier.backbone.sha256 = "0123" * 16
    config.cams.scales = [1.0, 0.1 + 0.2]
    path = tmp_path / "new" / "config.yaml"
    save(config, path)
    assert parse_config("run", ["--config", str(path)]) == config
    assert parse_config("run", []) == Config()


def test_yaml_keeps_the_order_of_the_dataclass() -> None:
    lines = [line for line in to_yaml(Config()).splitlines() if line and line[0].isalpha()]
    assert [line.partition(":")[0] for line in lines] == [f.name for f in dataclasses.fields(Config)]


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert parse_config("run", ["--config", str(path)]) == Config()


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 4\nclassifier:\n  epochs: 7\n  lr_head: 1e-3\ncams: {hflip: false}\n")
    config = parse_config("run", ["--classifier.epochs", "3", "--config", str(path), "--cams.scales=[2, 1]"])
    assert config is not None
    assert (config.seed, config.classifier.epochs, config.classifier.lr_head) == (4, 3, 1e-3)
    assert config.cams.scales == [2.0, 1.0]
    assert config.cams.hflip is False


def test_flags_can_be_turned_on_and_off(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {strict: true}\npredict: {tta: true}\n")
    for arguments, expected in (
        (["--config", str(path)], True),
        (["--config", str(path), "--no-strict"], False),
        (["--config", str(path), "--data.strict", "false"], False),
        (["--strict"], True),
        (["--strict", "--config", str(path)], True),
        ([], False),
    ):
        config = parse_config("run", arguments)
        assert config is not None
        assert config.data.strict is expected, arguments
    config = parse_config("run", ["--config", str(path), "--predict.tta", "false"])
    assert config is not None
    assert config.predict.tta is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "crff: {iterations: 3}",
            "crff: expected a key of the config, got an unknown one; did you mean crf?",
        ),
        ("crf: {iteration: 3}", r"crf\.iteration: .* did you mean iterations\?"),
        ("data: {shapes: {nope: 3}}", r"data\.shapes\.nope: .* one of train, val, size, classes, seed"),
        ("cams: 3", "cams: expected a section of keys and values, got 3"),
        ("cams:", "cams: expected a section of keys and values, got None"),
        ("- 1", r"expected a section of keys and values, got \[1\]"),
        ("cams: [1, 2", "expected YAML, got: .* line 1"),
        ("crf: {iterations: many}", r"crf\.iterations: expected an integer, got 'many'"),
        ("crf: {iterations: 2.5}", r"crf\.iterations: expected an integer, got '2\.5'"),
        ("data: {reader: coco}", r"data\.reader: expected one of folder, voc, prepared, shapes, got 'coco'"),
        ("cams: {scales: [1, a]}", r"cams\.scales: expected a list of numbers .* got 'a'"),
        ("cams: {hflip: 3}", r"cams\.hflip: expected true or false, got '3'"),
        ("segmenter: {backbone: {output_stride: 7}}", r"backbone\.output_stride: expected one of 8, 16, 32"),
        ("seed: null", "seed: expected an integer, got null"),
        ("cams: {scales: [1, null]}", r"cams\.scales: expected a list of numbers"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config("run", ["--config", str(path)])
    assert str(caught.value).startswith(f"{path}: ")


def test_checks_of_nested_sections_speak(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("data: {shapes: {size: 3}}")
    with pytest.raises(ConfigError, match=r"^data\.shapes\.size: expected .* >= 32 and <= 4096, got 3$"):
        parse_config("run", ["--config", str(path)])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: expected a config file, got no such file"):
        read_values(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="expected a config file, got a folder"):
        read_values(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"output: \xff")
    with pytest.raises(ConfigError, match=r"latin\.yaml: expected a config file"):
        read_values(tmp_path / "latin.yaml")


def test_build_fills_in_defaults() -> None:
    assert build(DataConfig, {"shapes": {"size": 64}}) == DataConfig(shapes=ShapesConfig(size=64))


def test_every_key_has_a_type() -> None:
    assert set(key_types()) == {key for key, _ in flat(dataclasses.asdict(Config()))}
