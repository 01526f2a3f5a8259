"""Instance masks: centroids, clusters, components, COCO's run lengths, and the step that makes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close
from torch import Tensor

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")
pytest.importorskip("pycocotools", reason="needs the pipeline extra")

from pycocotools import mask as coco

from wsss_fast.config import Config, InstancesConfig, PseudoMasksConfig
from wsss_fast.data import open_images
from wsss_fast.files import read_json, write_json
from wsss_fast.nn import AffinityDisplacementLoss
from wsss_fast.steps._instances import (
    Instance,
    InstanceMaps,
    centroids,
    clusters,
    found_instances,
    instance_maps,
)
from wsss_fast.steps._maps import OwnThreshold
from wsss_fast.steps.make_instance_masks import (
    coco_result,
    image_id,
    instances_of,
    make_instance_masks,
    names_are_numbers,
)
from wsss_fast.steps.make_pseudo_masks import walked

HEIGHT, WIDTH = 40, 60
CENTRES = ((20, 15), (18, 44))


def _disc(centre: tuple[int, int], radius: float = 10) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def _field() -> Tensor:
    """Two discs whose cells point to their centres; the background does not move."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    field = np.zeros((2, HEIGHT, WIDTH), np.float32)
    for centre in CENTRES:
        disc = _disc(centre)
        field[0][disc] = (centre[0] - y)[disc]
        field[1][disc] = (centre[1] - x)[disc]
    return torch.from_numpy(field)


def _parts(field: Tensor, iterations: int = 100) -> np.ndarray:
    return clusters(centroids(field[None], iterations)[0].numpy(), field.numpy())


# --- following displacements ---------------------------------------------------------------------------


def test_cells_follow_the_displacements_to_where_one_by_one_they_come_to() -> None:
    height, width, iterations = 7, 9, 5
    field = 1.5 * torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(0))
    ends = centroids(field, iterations)
    compared = 0
    for image in range(2):
        values = field[image].double().numpy()
        for cell in range(height * width):
            y, x = map(float, divmod(cell, width))
            for _ in range(iterations):
                top, left = min(int(y), height - 2), min(int(x), width - 2)
                v, u = y - top, x - left
                corners = values[:, top : top + 2, left : left + 2]
                dy, dx = np.einsum("cij,i,j->c", corners, [1 - v, v], [1 - u, u])
                y, x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            if (
                max(abs(y % 1 - 0.5), abs(x % 1 - 0.5)) > 0.5
                or min(abs(y % 1 - 0.5), abs(x % 1 - 0.5)) < 1e-3
            ):
                continue  # rounding may go either way
            assert int(ends[image].flatten()[cell]) == round(y) * width + round(x)
            compared += 1
    assert compared > 110  # of 126


def test_maps_of_one_row_or_column_are_followed_too() -> None:
    field = torch.zeros(1, 2, 1, 5)
    field[0, 1] = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    assert centroids(field, 10).tolist() == [[[2] * 5]]
    assert centroids(field.flip(1).transpose(2, 3), 10).flatten().tolist() == [2] * 5
    assert centroids(torch.full((1, 2, 1, 1), 3.0), 2).tolist() == [[[0]]]


def test_two_objects_and_the_background_are_three_clusters() -> None:
    parts = _parts(_field())
    numbers = [int(parts[centre]) for centre in CENTRES]
    assert len(np.unique(parts)) == 3
    for centre, number in zip(CENTRES, numbers, strict=True):
        assert ((parts == number) == _disc(centre)).all()


def test_displacements_that_lead_to_the_centres_are_those_without_loss() -> None:
    labels = torch.from_numpy(_disc(CENTRES[0]) | _disc(CENTRES[1])).long()[None]
    losses = AffinityDisplacementLoss(4)(torch.zeros(1, 1, HEIGHT, WIDTH), _field()[None], labels)
    assert losses.displacement_foreground == losses.displacement_background == 0
    other = AffinityDisplacementLoss(4)(torch.zeros(1, 1, HEIGHT, WIDTH), -_field()[None], labels)
    assert other.displacement_foreground > 1


def test_centroids_a_cell_apart_are_one() -> None:
    field = torch.zeros(2, 5, 8)
    field[1] = torch.tensor([3.0, 2.0, 1.0, 0.0, 1.0, 0.0, -1.0, -2.0])
    assert np.unique(_parts(field)).tolist() == [0]


# --- instances of maps ---------------------------------------------------------------------------------


def test_maps_are_restricted_to_each_cluster_in_the_order_of_the_classes() -> None:
    maps = torch.tensor([[[0.5, 0.2, 0.0]], [[0.0, 0.0, 1.0]]])
    found = instance_maps(np.array([3, 8]), maps, np.array([[0, 1, 1]]))
    assert found.classes.tolist() == [3, 3, 8]
    close(found.maps, torch.tensor([[[0.5, 0.0, 0.0]], [[0.0, 0.2, 0.0]], [[0.0, 0.0, 1.0]]]))


def test_no_maps_no_instances() -> None:
    none = np.zeros(0, np.int64)
    maps = instance_maps(none, torch.zeros(0, 2, 3), np.zeros((2, 3), np.int64))
    assert maps.maps.shape == (0, 2, 3)
    assert instances_of(maps, (8, 12), InstancesConfig()) == []
    dark = instance_maps(np.array([4]), torch.zeros(1, 2, 3), np.zeros((2, 3), np.int64))
    assert instances_of(dark, (8, 12), InstancesConfig()) == []


def test_two_objects_of_one_class_are_two_instances() -> None:
    cam = torch.from_numpy(_disc(CENTRES[0]) + 0.5 * _disc(CENTRES[1])).float()[None]
    maps = instance_maps(np.array([7]), cam, _parts(_field()))
    found = found_instances(maps.classes, maps.maps, threshold=0.3, min_area=0.0)
    assert [x.class_id for x in found] == [7, 7]
    strong, weak = sorted(found, key=lambda x: -x.score)
    assert (strong.mask == _disc(CENTRES[0])).all()
    assert (weak.mask == _disc(CENTRES[1])).all()
    assert strong.mask.dtype == np.uint8
    assert (round(strong.score, 3), round(weak.score, 3)) == (1.0, 0.5)
    (one,) = found_instances(maps.classes, maps.maps, threshold=0.6, min_area=0.0)
    assert (one.mask == _disc(CENTRES[0])).all()


def test_instances_walk_each_within_its_boundary() -> None:
    ring = sum((_disc(c, 12).astype(np.float32) - _disc(c, 10) for c in CENTRES), np.float32(0))
    boundary = torch.from_numpy(ring)[None]
    seeds = np.zeros((HEIGHT, WIDTH), np.float32)
    for centre in CENTRES:
        seeds[centre] = 1
    maps = instance_maps(np.array([2]), torch.from_numpy(seeds)[None], _parts(_field()))
    (walk,) = walked([maps.maps], [boundary], PseudoMasksConfig())
    found = instances_of(InstanceMaps(maps.classes, walk), (4 * HEIGHT, 4 * WIDTH), InstancesConfig())
    assert len(found) == 2
    for centre in CENTRES:
        disc = np.kron(_disc(centre), np.ones((4, 4))).astype(bool)
        inside = max(found, key=lambda x: int(x.mask[disc].sum())).mask.astype(bool)
        assert (inside & disc).sum() / (inside | disc).sum() > 0.85


def test_maps_that_are_not_resampled_change_nothing() -> None:
    random = torch.Generator().manual_seed(1)
    maps = torch.rand(40, 6, 8, generator=random) * torch.rand(40, 1, 1, generator=random) ** 8
    classes = np.repeat(np.arange(1, 11), 4)
    for own in (None, *(OwnThreshold(tuple((classes == 4).tolist()), 0.1, apart) for apart in (False, True))):
        full = torch.nn.functional.interpolate(maps[None], (24, 30), mode="bilinear", align_corners=False)[0]
        expected = found_instances(classes, full, 0.25, 0.01, own)
        found = instances_of(InstanceMaps(classes, maps), (24, 30), InstancesConfig(), own)
        assert len(found) == len(expected) > 3
        for one, other in zip(found, expected, strict=True):
            assert (one.class_id, one.score) == (other.class_id, other.score)
            assert (one.mask == other.mask).all()


def test_two_classes_share_an_image_and_fragments_are_dropped() -> None:
    maps = torch.zeros(2, 6, 10)
    maps[0, :3, :4] = 1.0  # 12 pixels
    maps[0, 5, 0] = 0.9  # not connected
    maps[1, 2:, 6:] = 0.5  # 16 pixels
    maps[1, :, 3] = 0.4  # loses where the first is, and keeps the rows below
    classes = np.array([1, 300])
    all_ = found_instances(classes, maps, threshold=0.3, min_area=0.0)
    assert [(x.class_id, x.area, round(x.score, 4)) for x in all_] == [
        (1, 12, 1.0),
        (1, 1, 0.9),
        (300, 16, 0.5),
        (300, 3, 0.4),
    ]
    large = found_instances(classes, maps, threshold=0.3, min_area=0.1)  # of 16: at least 2
    assert [x.area for x in large] == [12, 16, 3]
    touching = found_instances(classes[:1], torch.eye(3)[None], threshold=0.5, min_area=0.0)
    assert [x.area for x in touching] == [1, 1, 1]  # corners do not connect


def test_a_class_with_its_own_threshold_keeps_it() -> None:
    maps = torch.zeros(2, 1, 4)
    maps[0, 0] = torch.tensor([1.0, 0.4, 0.0, 0.0])
    maps[1, 0] = torch.tensor([0.0, 0.7, 0.7, 0.2])
    for apart, second in ((False, [0, 1, 1, 0]), (True, [0, 1, 1, 1])):
        own = OwnThreshold((False, True), 0.25, apart)  # apart: 1, 1, 0.29; else 0.7, 0.7, 0.2
        first, person = found_instances(np.array([1, 2]), maps, 0.3, 0.0, own)
        assert first.mask.tolist() == [[1, 0, 0, 0]]
        assert person.mask.tolist() == [second]


# --- what is written -----------------------------------------------------------------------------------


def test_run_lengths_decode_to_the_mask() -> None:
    mask = np.zeros((5, 8), np.uint8)
    mask[1:4, 2:7] = 1
    mask[2, 4] = 0
    result = json.loads(json.dumps(coco_result(Instance(9, mask, 0.75), 139)))
    assert (coco.decode(result["segmentation"]) == mask).all()
    assert result["bbox"] == [2, 1, 5, 3]
    assert (result["area"], result["score"], result["category_id"], result["image_id"]) == (14, 0.75, 9, 139)


class _Named:
    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000000000139", "000000000285"), [139, 285]),
        (("2007_000032", "17"), ["2007_000032", "17"]),
        (("1", "01"), ["1", "01"]),
        (("²", "1"), ["²", "1"]),
        (("1" * 18, "2"), [int("1" * 18), 2]),
        (("1" * 19, "2"), ["1" * 19, "2"]),
    ],
)
def test_image_ids_are_numbers_where_all_names_are(names: tuple[str, ...], ids: list[object]) -> None:
    numbers = names_are_numbers(_Named(*names))  # type: ignore[arg-type]
    assert [image_id(name, numbers) for name in names] == ids


@pytest.mark.slow
def test_results_of_a_run_are_masks_of_the_classes_of_their_image(finished_run: Config) -> None:
    root = Path(finished_run.output) / "make-instance-masks"
    found = 0
    for role in finished_run.instances.splits:
        images = open_images(finished_run.data, role)
        merged = []
        for index in range(len(images)):
            results = read_json(root / role / f"{images.name(index)}.json")
            masks = [coco.decode(x["segmentation"]) for x in results]
            assert all(mask.shape == (64, 64) for mask in masks)
            assert np.sum(masks, axis=0, initial=0).max(initial=0) <= 1  # no pixel is of two
            assert {x["category_id"] for x in results} <= set(
                (np.flatnonzero(images.labels(index)) + 1).tolist()
            )
            assert [x["area"] for x in results] == [int(mask.sum()) for mask in masks]
            assert all(0 < x["score"] <= 1 for x in results)
            merged += results
        assert read_json(root / f"{role}.json") == merged
        found += len(merged)
    assert found >= 5  # or the rest says nothing


@pytest.mark.slow
def test_an_interrupted_step_makes_only_the_missing_instances(finished_run: Config, tmp_path: Path) -> None:
    for name in ("train-classifier", "make-cams", "train-irnet", "make-pseudo-masks", "make-instance-masks"):
        shutil.copytree(Path(finished_run.output) / name, tmp_path / name)
    config = Config(**{**vars(finished_run), "output": str(tmp_path)})
    folder = tmp_path / "make-instance-masks"
    write_json(folder / "step.json", {**read_json(folder / "step.json"), "done": False})
    images = open_images(config.data, "train")
    missing = [folder / "train" / f"{images.name(3)}.json", folder / "train.json"]
    expected = [path.read_bytes() for path in missing]
    for path in missing:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}
    make_instance_masks(config)
    assert [path.read_bytes() for path in missing] == expected
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert read_json(folder / "step.json")["done"] is True
