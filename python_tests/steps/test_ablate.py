"""The ablation: what its cells share, that it goes on where it was, and what its table says."""

from __future__ import annotations

import csv
import importlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jsonargparse", reason="needs the pipeline extra")
pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.ablation.grid import Setting, cells_of, grid
from wsss_fast.ablation.sharing import link, stages_of
from wsss_fast.ablation.table import PUBLISHED, Row, as_csv, as_markdown, as_text, rows_of
from wsss_fast.cli import parse_config
from wsss_fast.config import AblateConfig, BackboneConfig, Config, ConfigError
from wsss_fast.data.shapes import Shapes
from wsss_fast.files import NoMasksError, read_json, write_json
from wsss_fast.models.backbone import WeightsError
from wsss_fast.steps import ablate as module
from wsss_fast.steps._graph import graph
from wsss_fast.steps._step import StepError, step
from wsss_fast.steps.ablate import ablate
from wsss_fast.steps.run import steps_of

PERSON = ["train-person-classifier", "make-person-cams"]


def with_grid(config: Config, merge: str = "none", **values: Any) -> Config:
    config = replace(config, ablate=AblateConfig(**values))
    if merge == "none":
        return config
    classifier = replace(config.classifier, exclude=["star"])
    person = replace(config.person, merge=merge, name="star")  # type: ignore[arg-type]
    return replace(config, classifier=classifier, person=person)


class StandIns:
    """Steps that only keep the books, by the bookkeeping of the real ones; they note who called."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        """Step and cell."""
        self.fail_at: tuple[str, str] | None = None
        self.error: BaseException = KeyboardInterrupt()

    def import_module(self, name: str) -> Any:
        command = name.removeprefix("wsss_fast.steps.").replace("_", "-")

        def run(config: Config) -> None:
            cell = Path(config.output).name
            if self.fail_at == (command, cell):
                raise self.error
            if command == "evaluate":
                self.evaluate(config)
                return
            with step(config, command) as this:
                assert not this.done, f"{command} was run again"
                (this.folder / "made-by.txt").write_text(cell)
            self.ran.append((command, cell))

        return type("Module", (), {command.replace("-", "_"): staticmethod(run)})

    def evaluate(self, config: Config) -> None:
        folder = Path(config.output) / "evaluate"
        threshold = config.segmenter.mask_threshold
        assert threshold is not None
        person = config.person.merge != "none"
        scores = {"segmenter": threshold + 0.2 * person, "segmenter_tta": threshold + 0.2 * person + 0.01234}
        if not config.predict.tta:
            scores.pop("segmenter_tta")
        write_json(
            folder / "metrics.json",
            {
                "splits": {
                    "train": {"stages": {"random_walk": {"mean_iou": threshold / 2}}},
                    "val": {"stages": {key: {"mean_iou": value} for key, value in scores.items()}},
                }
            },
        )
        state = {"step": "evaluate", "config": {}, "done": True, "seconds": 1000.0, "items": 1, "skipped": []}
        write_json(folder / "step.json", state)
        self.ran.append(("evaluate", Path(config.output).name))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    stand_ins = StandIns()
    monkeypatch.setattr(module, "importlib", stand_ins)
    return stand_ins


class TableOfPage(HTMLParser):
    """The cells of the table with the id ``ablation``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside = False
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.inside = ("id", "ablation") in attributes
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def written_tables(output: Path) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """The rows of the CSV, the Markdown and the HTML, without their headings."""
    with (output / "ablation.csv").open(newline="", encoding="utf-8") as file:
        from_csv = list(csv.reader(file))[1:]
    markdown = (output / "ablation.md").read_text(encoding="utf-8")
    lines = [line for line in markdown.splitlines() if line.startswith("|")][2:]
    from_markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    page = (output / "ablation.html").read_text(encoding="utf-8")
    return from_csv, from_markdown, TableOfPage(page).rows[1:]


# --- the grid ------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_the_published_table(tmp_path: Path) -> None:
    config = with_grid(
        Config(output=str(tmp_path)),
        merge="after",
        encoders=[BackboneConfig("resnet50"), BackboneConfig("resnet101")],
        thresholds=[0.3, 0.5],
        tta=[False, True],
        person=[False, True],
    )
    settings = grid(config)
    keys = [(s.cell.encoder, s.cell.threshold, s.tta, s.cell.person) for s in settings]
    assert len(keys) == len(set(keys)) == 16
    assert [key for key in keys if key in PUBLISHED] == list(PUBLISHED)
    assert keys[:5] == [
        ("resnet50", 0.3, False, False),
        ("resnet50", 0.3, False, True),
        ("resnet50", 0.3, True, False),
        ("resnet50", 0.3, True, True),
        ("resnet50", 0.5, False, False),
    ]
    for setting in settings:
        cell = setting.cell
        assert cell.config.segmenter.backbone.name == cell.encoder
        assert cell.config.segmenter.mask_threshold == cell.threshold
        assert cell.config.pseudo_masks.thresholds == [0.3, 0.5]
        assert cell.config.person.merge == ("after" if cell.person else "none")
        assert cell.config.output == str(tmp_path / "cells" / cell.name)
    assert [cell.name for cell in cells_of(settings)] == [
        f"{encoder}-{threshold}{person}"
        for encoder in ("resnet50", "resnet101")
        for threshold in (0.3, 0.5)
        for person in ("", "-person")
    ]


def test_the_published_figures() -> None:
    """Design notes, section 1."""
    assert PUBLISHED == {
        ("resnet50", 0.3, False, False): 36.65,
        ("resnet50", 0.3, True, False): 39.64,
        ("resnet50", 0.3, True, True): 39.80,
        ("resnet50", 0.5, False, False): 37.11,
        ("resnet50", 0.5, True, False): 39.58,
        ("resnet101", 0.5, False, False): 36.14,
        ("resnet101", 0.5, True, False): 37.15,
    }


def test_without_encoders_it_is_that_of_the_segmenter() -> None:
    config = Config()
    config.segmenter.backbone = BackboneConfig("hf_hub:timm/resnet18")
    (cell,) = cells_of(grid(with_grid(config, thresholds=[0.4])))
    assert cell.encoder == "hf_hub:timm/resnet18"
    assert cell.name == "hf_hub:timm_resnet18-0.4"


def test_encoders_of_one_name_are_told_apart() -> None:
    encoders = [
        BackboneConfig("resnet50", output_stride=8),
        BackboneConfig("resnet50", output_stride=16),
        BackboneConfig("resnet18"),
        BackboneConfig("resnet34"),
        BackboneConfig("resnet34", weights="mine.pth"),
    ]
    cells = cells_of(grid(with_grid(Config(), encoders=encoders, thresholds=[0.3])))
    names = ["resnet50-os8", "resnet50-os16", "resnet18", "resnet34#1", "resnet34#2"]
    assert [cell.name for cell in cells] == [f"{name}-0.3" for name in names]
    assert [cell.config.segmenter.backbone for cell in cells] == encoders


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoders": [BackboneConfig("a"), BackboneConfig("a")]}, "ablate.encoders: expected distinct ones"),
        ({"encoders": [BackboneConfig("a", output_stride=32)]}, "ablate.encoders: .* output stride 8 or 16"),
        ({"thresholds": []}, "ablate.thresholds: expected distinct numbers"),
        ({"tta": [True, True]}, "ablate.tta: expected .*both"),
        ({"person": []}, "ablate.person: expected .*both"),
    ],
)
def test_grids_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AblateConfig(**values)


def test_what_the_grid_needs_of_the_config(make_config: Callable[..., Config]) -> None:
    config = with_grid(make_config(), person=[False, True])
    with pytest.raises(ConfigError, match=r"ablate\.person: expected \[false\], since person\.merge is none"):
        ablate(config)
    config = with_grid(make_config())
    config.predict.splits = ["train"]
    with pytest.raises(ConfigError, match=r"predict\.splits: expected 'val' among them"):
        ablate(config)
    assert not Path(config.output).exists()


# --- what is shared ------------------------------------------------------------------------------------


def stage_counts(config: Config) -> dict[str, int]:
    """How many different outputs each step has in the ablation."""
    return Counter(stage.step for stage in stages_of(cells_of(grid(config)), Path(config.output)))


@pytest.mark.parametrize(
    ("merge", "twice"),
    [
        # Maps that join before the CRF change the regions and all that follows; after the walk, only masks.
        ("before", ["make-ir-labels", "train-irnet", "make-pseudo-masks"]),
        ("after", ["make-pseudo-masks"]),
    ],
)
def test_which_stages_there_are(make_config: Callable[..., Config], merge: str, twice: list[str]) -> None:
    config = with_grid(make_config(), merge, thresholds=[0.3, 0.5], person=[False, True])
    counts = stage_counts(config)
    once = ["train-classifier", "make-cams", *PERSON, "make-ir-labels", "train-irnet"]
    expected = {step: 1 for step in once} | {step: 2 for step in twice}
    assert counts == expected | {"train-segmenter": 4, "predict": 4, "evaluate": 4}


def test_the_order_of_the_stages(make_config: Callable[..., Config]) -> None:
    config = with_grid(make_config(), "before", thresholds=[0.3, 0.5], person=[False, True])
    cells = cells_of(grid(config))
    stages = stages_of(cells, Path(config.output))
    sizes = [len(stage.cells) > 1 for stage in stages]
    assert sizes == sorted(sizes, reverse=True)
    alone = [(stage.cells[0].name, stage.step) for stage in stages if len(stage.cells) == 1]
    assert alone == [(c.name, s) for c in cells for s in ("train-segmenter", "predict", "evaluate")]
    for cell in cells:
        places = [stage.step for stage in stages if cell in stage.cells]
        assert places == list(steps_of(cell.config))


def test_cells_look_like_runs(make_config: Callable[..., Config]) -> None:
    config = with_grid(make_config(), thresholds=[0.3, 0.5])
    cells = cells_of(grid(config))
    root = Path(config.output)
    stages = stages_of(cells, root)
    link(stages)
    link(stages)
    for cell in cells:
        folder = root / "cells" / cell.name
        assert {path.name for path in folder.iterdir()} == {*graph(cell.config), "evaluate", "config.yaml"}
        for name in graph(cell.config):
            assert (folder / name).is_symlink()
            assert (folder / name).resolve().parent == (root / "stages").resolve()
    first, second = (root / "cells" / cell.name for cell in cells)
    assert (first / "train-irnet").resolve() == (second / "train-irnet").resolve()
    assert (first / "train-segmenter").resolve() != (second / "train-segmenter").resolve()
    # The links are relative: the folder can be moved.
    moved = root.rename(root.with_name("moved"))
    assert (moved / "cells" / cells[0].name / "predict").is_dir()


def test_a_folder_in_the_place_of_a_link_is_kept(make_config: Callable[..., Config]) -> None:
    config = with_grid(make_config(), thresholds=[0.3])
    (cell,) = cells_of(grid(config))
    mine = Path(cell.config.output) / "make-cams"
    mine.mkdir(parents=True)
    with pytest.raises(StepError, match=f"expected {re.escape(str(mine))} to be a link"):
        ablate(config)
    assert mine.is_dir()
    assert not mine.is_symlink()


# --- running, with steps that only keep the books -------------------------------------------------------


def test_every_stage_is_made_once(
    make_config: Callable[..., Config], stand_ins: StandIns, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_grid(make_config(), "after", thresholds=[0.3, 0.5], tta=[False, True], person=[False, True])
    rows = ablate(config)
    assert Counter(name for name, _ in stand_ins.ran) == stage_counts(config)
    assert len(rows) == 8
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"train-classifier +\d+\.\d s  all 4 cells", lines[0])
    assert any(
        re.fullmatch(
            r"make-pseudo-masks +\d+\.\d s  2 of 4 cells: test_resnet-0.3-person, test_resnet-0.5-person", x
        )
        for x in lines
    )
    assert any(re.fullmatch(r"train-segmenter +\d+\.\d s  test_resnet-0.5", x) for x in lines)
    assert as_text(rows) in "\n".join(lines)

    ran = list(stand_ins.ran)
    assert ablate(config) == rows
    assert stand_ins.ran == ran
    assert re.fullmatch(r"train-classifier +done    all 4 cells", capsys.readouterr().out.splitlines()[0])


def test_a_grid_that_grows_costs_only_what_is_new(
    make_config: Callable[..., Config], stand_ins: StandIns
) -> None:
    config = with_grid(make_config(), thresholds=[0.3, 0.5])
    ablate(config)
    stand_ins.ran.clear()
    encoders = [config.segmenter.backbone, BackboneConfig("test_resnet", output_stride=8)]
    rows = ablate(with_grid(config, thresholds=[0.3, 0.5], encoders=encoders))
    assert Counter(name for name, _ in stand_ins.ran) == {"train-segmenter": 2, "predict": 2, "evaluate": 2}
    assert len(rows) == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StepError("the loss became nan"), ValueError("no")])
def test_a_stopped_ablation_goes_on(
    make_config: Callable[..., Config],
    stand_ins: StandIns,
    error: BaseException,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = with_grid(make_config(), thresholds=[0.3, 0.5])
    stand_ins.fail_at, stand_ins.error = ("train-segmenter", "test_resnet-0.5"), error
    with pytest.raises(type(error)) as caught:
        ablate(config)
    if isinstance(error, StepError):
        assert "stopped at test_resnet-0.5: the loss became nan" in str(caught.value)
    else:
        assert re.search(r"^train-segmenter +stopped +test_resnet-0.5$", capsys.readouterr().out, re.M)
    # The table has what there is so far.
    from_csv, _, _ = written_tables(Path(config.output))
    assert [row[4] for row in from_csv] == ["30.00", "31.23", "", ""]
    before = Counter(stand_ins.ran)
    stand_ins.fail_at = None
    rows = ablate(config)
    assert Counter(name for name, _ in stand_ins.ran) == stage_counts(config)
    assert set((Counter(stand_ins.ran) - before).elements()) == {
        (name, "test_resnet-0.5") for name in ("train-segmenter", "predict", "evaluate")
    }
    assert [row.mean_iou for row in rows] == pytest.approx([30, 31.234, 50, 51.234])


def test_the_table_says_what_was_measured(make_config: Callable[..., Config], stand_ins: StandIns) -> None:
    config = with_grid(make_config(), "after", thresholds=[0.3, 0.5], tta=[False, True], person=[False, True])
    ablate(config)
    output = Path(config.output)
    from_csv, from_markdown, from_page = written_tables(output)
    assert [[cell or "-" for cell in row] for row in from_csv] == from_markdown == from_page
    assert [row[1:5] + row[6:7] for row in from_csv] == [
        ["0.3", "no", "no", "30.00", "15.00"],
        ["0.3", "no", "yes", "50.00", "15.00"],
        ["0.3", "yes", "no", "31.23", "15.00"],
        ["0.3", "yes", "yes", "51.23", "15.00"],
        ["0.5", "no", "no", "50.00", "25.00"],
        ["0.5", "no", "yes", "70.00", "25.00"],
        ["0.5", "yes", "no", "51.23", "25.00"],
        ["0.5", "yes", "yes", "71.23", "25.00"],
    ]
    assert {row[5] for row in from_csv} == {""}  # nothing was published of this encoder
    page = (output / "ablation.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=", page)  # nothing from elsewhere
    assert "<script" not in page


def test_seconds_are_those_of_all_stages_of_a_row(
    make_config: Callable[..., Config], stand_ins: StandIns
) -> None:
    config = with_grid(make_config(), thresholds=[0.3], tta=[False])
    ablate(config)
    (cell,) = cells_of(grid(config))
    for number, name in enumerate(graph(cell.config)):
        path = Path(cell.config.output) / name / "step.json"
        write_json(path, {**read_json(path), "seconds": 10.0**number})
    (row,) = ablate(config)
    assert row.seconds == pytest.approx(1_111_111)  # seven steps, without the evaluation


def test_without_augmentation_none_is_made(make_config: Callable[..., Config], stand_ins: StandIns) -> None:
    config = with_grid(make_config(), thresholds=[0.3], tta=[False])
    assert [row.mean_iou for row in ablate(config)] == pytest.approx([30])


def test_no_true_masks_of_the_validation_images(
    make_config: Callable[..., Config], stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = Shapes.mask
    monkeypatch.setattr(Shapes, "mask", lambda self, i: None if self.split == "val" else mask(self, i))
    config = with_grid(make_config())
    with pytest.raises(NoMasksError, match="shapes: expected true masks of the validation images"):
        ablate(config)
    assert stand_ins.ran == []
    assert not (Path(config.output) / "stages").exists()


def test_an_encoder_that_is_not_there_is_found_out_at_once(
    make_config: Callable[..., Config], stand_ins: StandIns
) -> None:
    for encoder, error in (
        (BackboneConfig("no_such_net"), ConfigError),
        (BackboneConfig("test_resnet", weights="nowhere.pth"), WeightsError),
    ):
        with pytest.raises(error, match=r"no_such_net|nowhere\.pth"):
            ablate(with_grid(make_config(), encoders=[BackboneConfig("test_resnet"), encoder]))
    assert stand_ins.ran == []


def test_what_was_published_stands_beside_ours() -> None:
    (setting,) = grid(
        with_grid(Config(), encoders=[BackboneConfig("resnet50.a1_in1k")], thresholds=[0.5], tta=[True])
    )
    stages = stages_of([setting.cell], Path("nowhere"))
    (row,) = rows_of([setting], stages)
    assert row == Row("resnet50.a1_in1k", 0.5, True, False, None, 39.58, None, None)
    (row,) = rows_of([Setting(setting.cell, tta=False)], stages)
    assert row.published == 37.11


def test_tables_by_hand() -> None:
    rows = [
        Row("resnet50", 0.3, False, True, 36.651, 36.65, 40, 61.6),
        Row("a|b", 0.25, True, False, None, None, None, None),
    ]
    assert as_csv(rows) == (
        "encoder,threshold,tta,person,mean_iou,published,pseudo_masks,seconds\n"
        "resnet50,0.3,no,yes,36.65,36.65,40.00,62\n"
        "a|b,0.25,yes,no,,,,\n"
    )
    markdown = as_markdown(rows).splitlines()
    assert markdown[1] == "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |"
    assert markdown[2] == "| resnet50 | 0.3 | no | yes | 36.65 | 36.65 | 40.00 | 62 |"
    assert markdown[3] == r"| a\|b | 0.25 | yes | no | - | - | - | - |"
    assert "200 classes" in markdown[5]
    text = as_text(rows).splitlines()
    assert text[0].startswith(
        "encoder   IRNet threshold  TTA  person CAM  mean IoU (val)  published mean IoU"
    )
    assert text[1].split() == ["resnet50", "0.3", "no", "yes", "36.65", "36.65", "40.00", "62"]
    assert len({text[0].index("mean IoU (val)") + len("mean IoU (val)"), text[1].index("36.65") + 5}) == 1


# --- for real ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_ablation(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two thresholds, without and with augmentation, without and with the person's own classifier."""
    config = with_grid(make_config(), "after", thresholds=[0.3, 0.9], tta=[False, True], person=[False, True])
    config.classifier.epochs = 1
    config.person.classifier = replace(
        config.person.classifier, **{k: v for k, v in vars(config.classifier).items() if k != "exclude"}
    )
    config.pseudo_masks.exp_times = 0  # maps of an untrained network soon fill such small images
    config.predict.scales = [1.0]
    config.data.shapes = replace(config.data.shapes, train=6, val=3)
    ran: Counter[str] = Counter()
    for name in (*graph(replace(config)), "evaluate"):
        of = importlib.import_module(f"wsss_fast.steps.{name.replace('-', '_')}")
        function = getattr(of, name.replace("-", "_"))

        def counted(config: Config, name: str = name, function: Any = function) -> Any:
            ran[name] += 1
            return function(config)

        monkeypatch.setattr(of, name.replace("-", "_"), counted)
    rows = ablate(config)
    assert ran == stage_counts(config)
    output = Path(config.output)
    for row, setting in zip(rows, grid(config), strict=True):
        splits = read_json(output / "cells" / setting.cell.name / "evaluate" / "metrics.json")["splits"]
        key = "segmenter_tta" if setting.tta else "segmenter"
        assert row.mean_iou == 100 * splits["val"]["stages"][key]["mean_iou"]
        assert row.pseudo_masks == 100 * splits["train"]["stages"]["random_walk"]["mean_iou"]
    # One line a stage, and the table.
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(ran.values()) + len(["all", "headings", *rows, "table"])
    # The masks of one walk differ by threshold, and the networks are trained on their own.
    walks = output / "cells" / "test_resnet-0.3" / "make-pseudo-masks" / "train"
    assert {path.name for path in walks.iterdir() if path.is_dir()} == {"0.3", "0.9"}
    first, second = (
        (output / "cells" / f"test_resnet-{t}" / "train-segmenter" / "weights.safetensors").read_bytes()
        for t in ("0.3", "0.9")
    )
    assert first != second
    ran.clear()
    assert ablate(config) == rows
    assert not ran


def test_cells_are_plain_runs(make_config: Callable[..., Config]) -> None:
    """What is in a cell's config.yaml is the config of a run like any other."""
    config = with_grid(make_config(), "before", thresholds=[0.3, 0.5], person=[True])
    cells = cells_of(grid(config))
    link(stages_of(cells, Path(config.output)))
    for cell in cells:
        assert parse_config("run", ["--config", f"{cell.config.output}/config.yaml"]) == cell.config
