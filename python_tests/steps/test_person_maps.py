"""A class with a classifier of its own: how its maps join the others, and whose threshold holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import close

pytest.importorskip("timm", reason="needs the pipeline extra")
pytest.importorskip("segmentation_models_pytorch", reason="needs the pipeline extra")
pytest.importorskip("lightning_fabric", reason="needs the pipeline extra")

from wsss_fast.config import Config, ConfigError, PersonConfig
from wsss_fast.data import open_images
from wsss_fast.files import DataError, read_json, read_mask, read_npz, write_json, write_npz
from wsss_fast.steps._graph import graph, relevant_config
from wsss_fast.steps._maps import (
    Cams,
    OwnThreshold,
    local_labels,
    merged,
    own_threshold,
    person_id,
    read_merged_cams,
    relative,
    to_class_ids,
)
from wsss_fast.steps.make_instance_masks import make_instance_masks
from wsss_fast.steps.make_ir_labels import make_ir_labels
from wsss_fast.steps.make_pseudo_masks import WalkCams, joined, make_pseudo_masks, pseudo_labels
from wsss_fast.steps.train_irnet import train_irnet


def _cams(*classes: int, size: int = 2) -> Cams:
    """Maps that hold the ids of their classes."""
    strided = torch.tensor(classes, dtype=torch.float32).view(-1, 1, 1).expand(-1, size, size)
    return Cams(np.array(classes, np.int64), strided, strided.repeat_interleave(4, 1).repeat_interleave(4, 2))


# --- maps ----------------------------------------------------------------------------------------------


def test_merged_maps_are_in_the_order_of_their_classes() -> None:
    both = merged(_cams(2, 9), _cams(5))
    assert both.classes.tolist() == [2, 5, 9]
    assert both.strided[:, 0, 0].tolist() == both.full[:, 7, 7].tolist() == [2, 5, 9]
    assert merged(_cams(), _cams(5)).classes.tolist() == [5]
    assert merged(_cams(2), _cams()).classes.tolist() == [2]


def test_maps_that_do_not_go_together_are_not_merged() -> None:
    with pytest.raises(ValueError, match=r"others: .* got \[9\] too"):
        merged(_cams(2, 9), _cams(9))
    with pytest.raises(ValueError, match=r"others\.strided: expected maps of size \[2, 2\].* got \[3, 3\]"):
        merged(_cams(2), _cams(9, size=3))


def test_maps_join_the_walked_ones_resampled_and_as_they_are() -> None:
    walk = torch.tensor([[[1.0, 0.5], [0.25, 0.125]], [[0.0, 0.1], [0.2, 0.3]]])
    person = torch.rand(1, 5, 7)
    cams = WalkCams(_cams(2, 9), Cams(np.array([5]), person, person))
    maps = joined(walk, cams)
    assert cams.classes.tolist() == [2, 5, 9]
    assert torch.equal(maps[[0, 2]], walk)
    close(maps[1], F.interpolate(person[None], (2, 2), mode="bilinear", align_corners=False)[0, 0])
    nothing = WalkCams(_cams(2, 9), _cams())
    assert joined(walk, nothing) is walk
    alone = WalkCams(_cams(), _cams(5))
    assert joined(torch.zeros(0, 2, 2), alone).tolist() == [[[5, 5], [5, 5]]]


# --- thresholds ----------------------------------------------------------------------------------------


def test_a_pixel_has_the_class_that_exceeds_its_threshold_most() -> None:
    #                     units of 0.5: 0.8   1.2   1.2   1.8   1.2   0.0
    others = torch.tensor([[[0.4, 0.6, 0.6, 0.9, 0.6, 0.0]]])
    #                     units of 0.2: 0.5   0.5   1.5   1.5   1.2   1.0
    person = torch.tensor([[[0.1, 0.1, 0.3, 0.3, 0.24, 0.2]]])
    own = OwnThreshold((True, False), 0.2, apart=False)
    labels = local_labels(torch.cat([person, others]), 0.5, own)
    assert labels.tolist() == [[0, 2, 1, 2, 2, 0]]  # a tie goes to the others
    own = OwnThreshold((False, True), 0.2, apart=False)
    assert local_labels(torch.cat([others, person]), 0.5, own).tolist() == [[0, 1, 2, 1, 1, 0]]


def test_thresholds_of_any_kind_follow_the_rule() -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 12, 12, generator=random).double()
    maps[:, :4] *= 0.1
    own = OwnThreshold((False, True, False, True, False), 0.6, apart=False)
    for threshold in (0.05, 0.3, 0.6, 1.0):
        limits = torch.tensor([threshold, 0.6, threshold, 0.6, threshold], dtype=torch.float64)
        units = maps / limits.view(-1, 1, 1)
        expected = torch.where(units.amax(0) > 1, units.argmax(0) + 1, 0)
        assert torch.equal(local_labels(maps, threshold, own), expected)
    # At 0 the others have every pixel where they are not 0.
    maps[[0, 2, 4], 6:] = 0
    labels = local_labels(maps, 0.0, own)
    assert set(labels[:6].unique().tolist()) == {1, 3, 5}
    assert set(labels[6:].unique().tolist()) == {0, 2, 4}
    only = OwnThreshold((True,), 0.6, apart=False)
    assert torch.equal(local_labels(maps[:1], 0.1, only), (maps[0] > 0.6).long())


def test_equal_thresholds_are_one_threshold() -> None:
    maps = torch.rand(3, 9, 9)
    own = OwnThreshold((False, True, False), 0.25, apart=False)
    assert torch.equal(local_labels(maps, 0.25, own), local_labels(maps, 0.25))


def test_maps_that_stand_apart_have_their_own_maximum() -> None:
    maps = torch.tensor([[[0.5, 0.1]], [[0.0, 0.25]], [[0.2, 0.0]]])
    own = OwnThreshold((False, True, False), 0.3, apart=True)
    close(relative(maps, own), torch.tensor([[[1.0, 0.2]], [[0.0, 1.0]], [[0.4, 0.0]]]), atol=1e-4)
    together = OwnThreshold((False, True, False), 0.3, apart=False)
    assert torch.equal(relative(maps, together), maps / (maps.max() + 1e-5))
    only = OwnThreshold((True,), 0.3, apart=True)
    close(relative(maps[1:2], only), torch.tensor([[[0.0, 1.0]]]), atol=1e-4)


def test_pseudo_labels_keep_the_threshold_of_the_class_at_all_of_theirs() -> None:
    walk = torch.zeros(2, 2, 4)
    walk[0, 0] = torch.tensor([1.0, 0.4, 0.1, 0.0])
    walk[1, 1] = torch.tensor([0.3, 0.2, 0.1, 0.0])
    for apart, last in ((False, [0, 0, 0, 0]), (True, [2, 2, 0, 0])):  # 0.3 of 1, or the maximum itself
        own = OwnThreshold((False, True), 0.5, apart)
        labels = pseudo_labels(walk, (2, 4), [0.3, 0.6], own)
        assert labels.tolist() == [[[1, 1, 0, 0], last], [[1, 0, 0, 0], last]]


def test_who_has_a_threshold_of_its_own() -> None:
    config = Config()
    config.person = PersonConfig(merge="after", name="sofa", threshold=0.4)
    assert person_id(config, ("cat", "sofa")) == 2
    assert own_threshold(config, np.array([1, 2, 7]), 2) == OwnThreshold(
        (False, True, False), 0.4, apart=True
    )
    assert own_threshold(config, np.array([1, 7]), 2) is None
    with pytest.raises(ConfigError, match=r"person\.name: expected one of \['cat'\], got 'sofa'"):
        person_id(config, ("cat",))
    config.person = replace(config.person, merge="none")
    assert person_id(config, ("cat",)) is None
    assert own_threshold(config, np.array([1, 2]), None) is None


# --- class ids of 16 bits ------------------------------------------------------------------------------


def test_a_threshold_of_its_own_needs_no_classifier() -> None:
    config = Config(person=PersonConfig(merge="threshold", name="cat", threshold=0.8))
    assert graph(config).keys() == graph(Config()).keys()
    person = person_id(config, ["dog", "cat"])
    assert own_threshold(config, np.array([1, 2]), person) == OwnThreshold((False, True), 0.8, apart=False)
    masks = [relevant_config(c, "make-pseudo-masks") for c in (config, Config())]
    assert masks[0]["person"] == {"merge": "threshold", "name": "cat", "threshold": 0.8}
    assert "person" not in masks[1]


def test_class_ids_are_of_the_type_of_the_masks() -> None:
    labels = torch.tensor([[0, 1, 2, -1]], dtype=torch.int16)
    ids = to_class_ids(labels, np.array([255, 1000]), np.uint16)
    assert ids.dtype == np.uint16
    assert ids.tolist() == [[0, 255, 1000, 65535]]
    assert to_class_ids(labels, np.array([3, 254])).tolist() == [[0, 3, 254, 255]]
    with pytest.raises(ValueError, match=r"classes: expected ids below 255 \(uint8\), got 255"):
        to_class_ids(labels, np.array([3, 255]))


# --- whole steps ---------------------------------------------------------------------------------------


def _with_person(finished: Config, output: Path, merge: str) -> Config:
    """The run up to the CAMs, with its second class as the one that has its own classifier.

    Its maps are taken out of those of make-cams and put into make-person-cams.
    """
    name = open_images(finished.data, "train").classes[1]
    person = PersonConfig(merge=merge, name=name, threshold=0.4)  # type: ignore[arg-type]
    classifier = replace(finished.classifier, exclude=[person.name])
    config = Config(**{**vars(finished), "output": str(output), "person": person, "classifier": classifier})
    for role in ("train", "val"):
        for path in sorted((Path(finished.output) / "make-cams" / role).glob("*.npz")):
            arrays = read_npz(path)
            is_person = arrays["classes"] == 2
            for step, chosen in (("make-cams", ~is_person), ("make-person-cams", is_person)):
                part = {key: value[chosen] for key, value in arrays.items()}
                write_npz(output / step / role / path.name, **part)
    for step in ("train-classifier", "train-person-classifier", "make-cams", "make-person-cams"):
        values = {"config": relevant_config(config, step), "done": True, "seconds": 1.0, "items": 14}
        write_json(output / step / "step.json", {"step": step, **values, "skipped": []})
    return config


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["before", "after"])
def test_a_run_with_person_maps(finished_run: Config, tmp_path: Path, merge: str) -> None:
    config = _with_person(finished_run, tmp_path, merge)
    for step in (make_ir_labels, train_irnet, make_pseudo_masks, make_instance_masks):
        step(config)
    before = Path(finished_run.output)
    seen = 0
    for role in ("train", "val"):
        images = open_images(config.data, role)  # type: ignore[arg-type]
        for index in range(len(images)):
            name = images.name(index)
            present = (np.flatnonzero(images.labels(index)) + 1).tolist()
            seen += 2 in present
            regions = read_mask(tmp_path / "make-ir-labels" / role / f"{name}.png")
            allowed = set(present) - ({2} if merge == "after" else set())
            assert set(np.unique(regions).tolist()) <= {0, 255, *allowed}
            if merge == "before":  # the same maps as if one classifier had made them
                assert (regions == read_mask(before / "make-ir-labels" / role / f"{name}.png")).all()
            walk = read_npz(tmp_path / "make-pseudo-masks" / role / f"{name}.npz")
            assert walk["classes"].tolist() == present
            assert walk["walk"].shape == (len(present), 16, 16)
            if merge == "before":
                same = read_npz(before / "make-pseudo-masks" / role / f"{name}.npz")["walk"]
                assert (walk["walk"] == same).all()
            elif 2 in present:  # as it was
                strided = read_npz(tmp_path / "make-person-cams" / role / f"{name}.npz")["strided"]
                assert (walk["walk"][present.index(2)] == strided[0].astype(np.float16)).all()
            mask = read_mask(tmp_path / "make-pseudo-masks" / role / "0.25" / f"{name}.png")
            assert set(np.unique(mask).tolist()) <= {0, *present}
            results = read_json(tmp_path / "make-instance-masks" / role / f"{name}.json")
            assert {x["category_id"] for x in results} <= set(present)
    assert seen >= 3


def test_maps_of_another_size_are_the_files_fault(tmp_path: Path) -> None:
    config = Config(output=str(tmp_path))
    config.person = PersonConfig(merge="before")
    for step, cams in (("make-cams", _cams(1)), ("make-person-cams", _cams(3, size=3))):
        arrays = {"strided": cams.strided.numpy(), "full": cams.full.numpy()}
        write_npz(tmp_path / step / "train" / "a.npz", classes=cams.classes, **arrays)
    with pytest.raises(DataError, match=r"a\.npz: expected maps that fit those of 'person'"):
        read_merged_cams(config, "train", "a", classes=4)
