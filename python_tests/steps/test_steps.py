"""The steps: what they write, that they go on where they were, what they refuse and what they survive."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import close

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

import wsss_fast
from wsss_fast.config import (
    CamsConfig,
    Config,
    ConfigError,
    CrfConfig,
    DataConfig,
    IrLabelsConfig,
    PseudoMasksConfig,
    SegmenterConfig,
)
from wsss_fast.data import DataError, open_images
from wsss_fast.files import read_json, read_mask, read_npz, write_mask
from wsss_fast.models.activation_maps import activation_maps
from wsss_fast.models.classifier import Classifier
from wsss_fast.steps import _device
from wsss_fast.steps._graph import graph
from wsss_fast.steps._maps import (
    UNSURE,
    Cams,
    MaskFolder,
    SureMaskFolder,
    crf_labels,
    local_labels,
    to_class_ids,
)
from wsss_fast.steps._step import StepError, step
from wsss_fast.steps.make_cams import make_cams, multiscale_cams
from wsss_fast.steps.make_ir_labels import activations_at, confident_regions, make_ir_labels
from wsss_fast.steps.make_pseudo_masks import pseudo_labels, walked
from wsss_fast.steps.train_classifier import train_classifier
from wsss_fast.steps.train_irnet import to_cells

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def _names(config: Config, role: str) -> list[str]:
    images = open_images(config.data, role)  # type: ignore[arg-type]
    return [images.name(i) for i in range(len(images))]


# --- what a finished run holds -------------------------------------------------------------------------


def test_every_step_is_done_and_timed(finished_run: Config) -> None:
    for name in graph(finished_run):
        state = read_json(Path(finished_run.output) / name / "step.json")
        assert state["done"] is True
        assert state["seconds"] > 0
        assert state["skipped"] == []


def test_cams_have_the_sizes_and_maxima_they_promise(finished_run: Config) -> None:
    images = open_images(finished_run.data, "train")
    for i in range(len(images)):
        arrays = read_npz(Path(finished_run.output) / "make-cams/train" / f"{images.name(i)}.npz")
        present = np.flatnonzero(images.labels(i)) + 1
        assert arrays["classes"].tolist() == present.tolist()
        assert arrays["strided"].shape == (len(present), 16, 16)
        assert arrays["full"].shape == (len(present), 64, 64)
        for maps in (arrays["strided"], arrays["full"]):
            assert maps.min() >= 0
            maxima = maps.max(axis=(1, 2)) if len(present) else np.zeros(0)
            assert ((maxima <= 1) & ((maxima > 0.9) | (maxima == 0))).all()


@pytest.mark.parametrize("folder", ["make-ir-labels/{role}", "make-pseudo-masks/{role}/0.25"])
@pytest.mark.parametrize("role", ["train", "val"])
def test_masks_hold_only_classes_of_their_image(finished_run: Config, folder: str, role: str) -> None:
    images = open_images(finished_run.data, role)  # type: ignore[arg-type]
    for i in range(len(images)):
        mask = read_mask(Path(finished_run.output) / folder.format(role=role) / f"{images.name(i)}.png")
        allowed = {0, *(np.flatnonzero(images.labels(i)) + 1).tolist()}
        if folder.startswith("make-ir-labels"):
            allowed.add(255)
        assert set(np.unique(mask).tolist()) <= allowed


@pytest.mark.parametrize("mode", ["single", "tta"])
def test_predictions_have_the_size_of_the_image(finished_run: Config, mode: str) -> None:
    for name in _names(finished_run, "val"):
        mask = read_mask(Path(finished_run.output) / "predict/val" / mode / f"{name}.png")
        assert mask.shape == (64, 64)
        assert mask.max() <= 6


def test_no_file_of_a_run_is_a_pickle_or_left_over(finished_run: Config) -> None:
    files = [path for path in Path(finished_run.output).rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in files}
    assert suffixes <= {".json", ".yaml", ".csv", ".npz", ".png", ".safetensors", ".html"}
    assert not [path for path in files if path.name.startswith(".tmp") or path.name.startswith("checkpoint")]


# --- going on, starting over, refusing -----------------------------------------------------------------


def test_a_finished_step_does_nothing_when_called_again(finished_run: Config) -> None:
    root = Path(finished_run.output)
    before = {p: p.stat().st_mtime_ns for p in (root / "make-cams").rglob("*") if p.is_file()}
    make_cams(finished_run)
    assert before == {p: p.stat().st_mtime_ns for p in (root / "make-cams").rglob("*") if p.is_file()}


def _copy(config: Config, to: Path, *steps: str) -> Config:
    for name in steps:
        shutil.copytree(Path(config.output) / name, to / name)
    return Config(**{**vars(config), "output": str(to)})


def test_an_interrupted_step_makes_only_what_is_missing(finished_run: Config, tmp_path: Path) -> None:
    config = _copy(finished_run, tmp_path, "train-classifier", "make-cams", "make-ir-labels")
    folder = tmp_path / "make-ir-labels"
    state = read_json(folder / "step.json")
    state["done"] = False
    from wsss_fast.files import write_json

    write_json(folder / "step.json", state)
    missing = folder / "train" / f"{_names(config, 'train')[3]}.png"
    expected = missing.read_bytes()
    missing.unlink()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}
    make_ir_labels(config)
    assert missing.read_bytes() == expected
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*.png") if p != missing}
    after = read_json(folder / "step.json")
    assert after["done"]
    assert after["seconds"] > state["seconds"]


def test_a_step_names_the_step_it_needs(make_config: Callable[..., Config]) -> None:
    with pytest.raises(StepError, match="make-cams: needs the step train-classifier first"):
        make_cams(make_config())


def test_another_config_for_the_same_folder_is_refused(finished_run: Config) -> None:
    other = Config(**{**vars(finished_run), "cams": CamsConfig(scales=[1.0])})
    with pytest.raises(StepError, match=r"cams.scales: \[1.0, 0.5\] then, \[1.0\] now"):
        make_cams(other)
    with pytest.raises(StepError, match="make-cams"):  # and so is going on from it
        make_ir_labels(other)


def test_settings_that_change_no_result_may_change(finished_run: Config) -> None:
    data = DataConfig(**{**vars(finished_run.data), "workers": 1, "strict": True})
    make_cams(Config(**{**vars(finished_run), "data": data}))


def test_a_step_that_raises_is_not_done(tmp_path: Path) -> None:
    config = Config(output=str(tmp_path))
    with pytest.raises(RuntimeError, match="broke"), step(config, "train-classifier"):
        raise RuntimeError("broke")
    assert read_json(tmp_path / "train-classifier/step.json")["done"] is False


# --- unreadable images ---------------------------------------------------------------------------------


def _folder_with_a_corrupt_image(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    lines = ["name,red,blue,split"]
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 255, (48, 56, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"images/i{i}.png"), pixels)
        lines.append(f"i{i},{i % 2},{1 - i % 2},{'train' if i < 6 else 'val'}")
    (root / "images/i2.png").write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def test_a_corrupt_image_is_listed_and_skipped_by_every_step(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    from wsss_fast.steps.run import run

    _folder_with_a_corrupt_image(tmp_path / "data")
    config = make_config(DataConfig(reader="folder", root=str(tmp_path / "data"), workers=0))
    config.predict.splits = ["train", "val"]
    run(config)
    for name in graph(config):
        state = read_json(Path(config.output) / name / "step.json")
        assert state["done"]
        assert [entry["name"] for entry in state["skipped"]] == ["i2"], name
        assert "i2.png" in state["skipped"][0]["file"]
    assert not (Path(config.output) / "make-pseudo-masks/train/0.25/i2.png").exists()
    assert (Path(config.output) / "make-pseudo-masks/train/0.25/i1.png").exists()


def test_strict_stops_at_a_corrupt_image(make_config: Callable[..., Config], tmp_path: Path) -> None:
    _folder_with_a_corrupt_image(tmp_path / "data")
    data = DataConfig(reader="folder", root=str(tmp_path / "data"), workers=0, strict=True)
    with pytest.raises(DataError, match=r"i2\.png"):
        train_classifier(make_config(data))


def test_a_broken_file_of_an_earlier_step_skips_its_image(finished_run: Config, tmp_path: Path) -> None:
    config = _copy(finished_run, tmp_path, "train-classifier", "make-cams")
    name = _names(config, "train")[1]
    (tmp_path / "make-cams/train" / f"{name}.npz").write_bytes(b"PK half a file")
    make_ir_labels(config)
    skipped = read_json(tmp_path / "make-ir-labels/step.json")["skipped"]
    assert [entry["name"] for entry in skipped] == [name]


# --- the rules between the ops -------------------------------------------------------------------------


def test_local_labels_and_class_ids() -> None:
    maps = torch.tensor([[[0.1, 0.9, 0.3]], [[0.2, 0.5, 0.3]]])
    labels = local_labels(maps, 0.25)
    assert labels.tolist() == [[0, 1, 1]]  # a tie goes to the lower class
    assert to_class_ids(labels, np.array([7, 9])).tolist() == [[0, 7, 7]]
    assert to_class_ids(torch.tensor([[2, UNSURE]]), np.array([7, 9])).tolist() == [[9, 255]]


def test_images_of_a_batch_walk_as_they_do_alone() -> None:
    cams = [torch.rand(k, 9, 12) for k in (2, 0, 1)]
    boundaries = list(torch.rand(3, 1, 10, 11))
    together = walked(cams, boundaries, PseudoMasksConfig())
    for maps, boundary, walk in zip(cams, boundaries, together, strict=True):
        (alone,) = walked([maps], [boundary], PseudoMasksConfig())
        assert torch.equal(walk, alone)
    assert walked([], [], PseudoMasksConfig()) == []


def test_confident_regions_follow_both_thresholds() -> None:
    # An image of two flat halves: the CRF can only keep or flip whole halves, which the maps make plain.
    image = np.zeros((24, 24, 3), np.uint8)
    image[:, 12:] = 250
    sure = torch.zeros(1, 24, 24)
    sure[:, :, 12:] = 0.9
    cams = Cams(classes=np.array([5]), strided=sure, full=sure)
    regions = confident_regions(image, cams, IrLabelsConfig(), CrfConfig(), CPU)
    assert (regions[:, :11] == 0).all()
    assert (regions[:, 13:] == 1).all()
    unsure = Cams(classes=np.array([5]), strided=sure / 9, full=sure / 9)  # 0.1: between the thresholds
    regions = confident_regions(image, unsure, IrLabelsConfig(), CrfConfig(), CPU)
    assert (regions[:, 13:] == UNSURE).all()
    assert (regions[:, :11] == 0).all()


def test_ranks_do_not_mind_how_narrow_a_peak_is() -> None:
    maps = torch.linspace(0, 1, 100).reshape(1, 10, 10)
    narrow = activations_at(maps**8, (0.65, 0.3))
    assert [int((maps**8 > t).sum()) for t in narrow] == [34, 69]
    assert activations_at(torch.cat([maps, 1 - maps]), (1.0, 0.0)) == (1.0, float(maps.flatten()[50]))
    image = np.zeros((24, 24, 3), np.uint8)
    image[:, 12:] = 250
    peak = torch.zeros(1, 24, 24)
    peak[:, :, 12:] = torch.linspace(0.01, 0.02, 12)
    peak[0, 12, 18] = 1.0
    cams = Cams(classes=np.array([5]), strided=peak, full=peak)
    by_rank = IrLabelsConfig(foreground_threshold=0.6, background_threshold=0.4, unit="rank")
    regions = confident_regions(image, cams, by_rank, CrfConfig(), CPU)
    assert (regions[:, 13:] == 1).all()
    assert (regions[:, :11] == 0).all()


def test_both_thresholds_share_one_call_of_the_crf(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    maps = 0.1 * torch.from_numpy(random.random((2, 20, 30), dtype=np.float32))
    maps[0, :, :8] += 0.9
    maps[0, :, 8:14] += 0.2  # between the thresholds
    maps[1, :, 22:] += 0.8
    shapes: list[torch.Size] = []
    crf = wsss_fast.crf

    def counted(pixels: torch.Tensor, unary: torch.Tensor, **options: object) -> object:
        shapes.append(unary.shape)
        return crf(pixels, unary, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(wsss_fast, "crf", counted)
    cams = Cams(classes=np.array([5, 9]), strided=maps, full=maps)
    config = CrfConfig(gaussian_compat=1, bilateral_compat=1)
    regions = confident_regions(image, cams, IrLabelsConfig(0.4, 0.1), config, CPU)
    assert shapes == [(1, 2, 3, 20, 30)]
    high, low = (crf_labels(image, local_labels(maps, t)[None], 3, config)[0] for t in (0.4, 0.1))
    expected = torch.where((high == 0) & (low != 0), UNSURE, high)
    assert torch.equal(regions.long(), expected)
    assert len(expected.unique()) == 4


def test_an_image_without_classes_is_background() -> None:
    empty = Cams(classes=np.zeros(0, np.int64), strided=torch.zeros(0, 2, 2), full=torch.zeros(0, 8, 8))
    regions = confident_regions(np.zeros((8, 8, 3), np.uint8), empty, IrLabelsConfig(), CrfConfig(), CPU)
    assert (regions == 0).all()
    (walk,) = walked([empty.strided], [torch.zeros(1, 3, 3)], PseudoMasksConfig())
    assert walk.shape == (0, 3, 3)
    assert torch.equal(pseudo_labels(walk, (8, 8), [0.2, 0.3]), torch.zeros(2, 8, 8, dtype=torch.int16))


def test_the_walk_does_not_cross_a_boundary() -> None:
    cams = torch.zeros(1, 16, 16)
    cams[0, 8, 2] = 1
    boundary = torch.zeros(1, 16, 16)
    boundary[0, :, 8] = 1
    (walk,) = walked([cams], [boundary], PseudoMasksConfig())
    close(walk.max(), torch.tensor(1.0), atol=1e-3)
    assert walk[0, :, :7].min() > 0.01
    assert walk[0, :, 9:].max() < 1e-3


def test_multiscale_cams_of_one_scale_are_grad_cams_resampled() -> None:
    from wsss_fast.config import BackboneConfig

    model = Classifier(BackboneConfig(name="test_resnet", output_stride=16), 3).eval()
    images = torch.randn(2, 3, 64, 48)
    present = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.bool)
    config = CamsConfig(scales=[1.0], hflip=False)
    strided, full = multiscale_cams(model, images, present, config)
    maps = activation_maps(model, images, present, config)
    for i in range(2):
        up = torch.nn.functional.interpolate(maps[i : i + 1], (64, 48), mode="bilinear", align_corners=False)
        expected = up[0][present[i]].relu()
        expected = expected / (expected.amax((1, 2), keepdim=True) + 1e-5)
        close(full[i], expected)
        assert strided[i].shape == (int(present[i].sum()), 16, 12)


def test_multiscale_cams_are_mirrored_back() -> None:
    from wsss_fast.config import BackboneConfig

    model = Classifier(BackboneConfig(name="test_resnet", output_stride=16), 2).eval()
    images = torch.randn(1, 3, 64, 64)
    present = torch.ones(1, 2, dtype=torch.bool)
    config = CamsConfig(scales=[1.0, 0.5], hflip=True)
    _, straight = multiscale_cams(model, images, present, config)
    _, mirrored = multiscale_cams(model, images.flip(-1), present, config)
    close(mirrored[0], straight[0].flip(-1), atol=1e-4)


def test_labels_at_cells_are_those_of_the_nearest_pixel() -> None:
    labels = torch.arange(64).reshape(1, 8, 8)
    assert to_cells(labels, (2, 2)).tolist() == [[[18, 22], [50, 54]]]


def test_labels_for_the_loss_keep_classes_apart_from_what_takes_no_part() -> None:
    labels = torch.tensor([[[-1, 0, 1], [254, 255, 256], [1000, 65534, 2]]])
    cells = to_cells(labels, (3, 3))
    assert (cells == 255).tolist() == (labels == -1).tolist()
    assert (cells == 0).tolist() == (labels == 0).tolist()
    assert len(cells.unique()) == 9
    assert cells[0, 1, 0] == 254  # ids of 8 bits stay what they are


def test_the_loss_is_the_same_whatever_the_ids_of_the_classes() -> None:
    from wsss_fast.nn import AffinityDisplacementLoss

    few = torch.randint(-1, 3, (2, 12, 12), generator=torch.Generator().manual_seed(0))
    many = torch.tensor([0, 255, 1000, -1])[few]
    logits, displacement = torch.randn(2, 1, 12, 12), torch.randn(2, 2, 12, 12)
    losses = [AffinityDisplacementLoss(4)(logits, displacement, to_cells(x, (12, 12))) for x in (few, many)]
    assert losses[0] == losses[1]
    assert losses[0].negative > 0


def test_a_mask_of_a_pseudo_mask_folder_that_is_missing_skips_its_image(
    finished_run: Config, tmp_path: Path
) -> None:
    from wsss_fast.steps.train_segmenter import train_segmenter

    config = _copy(finished_run, tmp_path, "make-pseudo-masks")
    name = _names(config, "train")[2]
    (tmp_path / "make-pseudo-masks/train/0.25" / f"{name}.png").unlink()
    write_mask(tmp_path / "make-pseudo-masks/train/0.25/unused.png", np.zeros((4, 4), np.uint8))
    train_segmenter(config)
    skipped = read_json(tmp_path / "train-segmenter/step.json")["skipped"]
    assert [entry["name"] for entry in skipped] == [name]


@pytest.mark.parametrize("kernels", ["none", "host", "device"])
def test_the_ops_get_their_inputs_where_they_have_kernels(
    monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    monkeypatch.setattr(_device, "cuda_kernels", lambda: kernels)
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert _device.op_device(cpu) == cpu
    assert _device.op_device(gpu) == (gpu if kernels == "device" else cpu)


def test_background_of_the_higher_threshold_alone_takes_no_part(tmp_path: Path) -> None:
    write_mask(tmp_path / "0.6" / "a.png", np.uint8([[0, 0, 2]]))
    write_mask(tmp_path / "0.3" / "a.png", np.uint8([[0, 2, 2]]))
    folder = SureMaskFolder(MaskFolder(tmp_path / "0.6", 2), MaskFolder(tmp_path / "0.3", 2))
    assert folder("a").tolist() == [[0, 255, 2]]
    thresholds = PseudoMasksConfig(thresholds=[0.6, 0.3])
    for unsure, labels in ((0.6, "hard"), (0.2, "hard"), (0.3, "soft")):
        segmenter = SegmenterConfig(unsure_below=unsure, labels=labels)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"segmenter\.unsure_below: expected one of .*\[0\.3\]"):
            Config(pseudo_masks=thresholds, segmenter=segmenter)
    Config(pseudo_masks=thresholds, segmenter=SegmenterConfig(unsure_below=0.3))
