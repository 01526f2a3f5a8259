"""The bytes that the GPU's benchmarks hold its passes to, against arrays of a small lattice."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from conftest import ROOT

IMAGES, HEIGHT, WIDTH, CLASSES, ITERATIONS = 3, 6, 7, 4, 5
POINTS = IMAGES * HEIGHT * WIDTH
DIMS, VERTICES = 5, 40


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("_cuda_work")


def _bytes(*arrays: torch.Tensor) -> int:
    return sum(array.nbytes for array in arrays)


def test_passes_read_and_write_each_array_once(work: ModuleType) -> None:
    values, rows = torch.empty(CLASSES, POINTS), torch.empty(CLASSES, VERTICES)
    index, weight = torch.empty(POINTS, DIMS + 1, dtype=torch.int32), torch.empty(POINTS, DIMS + 1)
    neighbours = torch.empty(2, VERTICES, dtype=torch.int32)
    lattice = work.Lattice(DIMS, POINTS, VERTICES)
    splat = _bytes(index, weight, values, rows)
    blur = (DIMS + 1) * _bytes(neighbours) + (DIMS + 2) // 2 * _bytes(rows, rows)
    gather = _bytes(index, weight, rows)
    assert work.splat(lattice, CLASSES) == splat
    assert work.blur(lattice, CLASSES) == blur
    assert work.gather(lattice, CLASSES) == gather
    assert work.lattice_filter(lattice, CLASSES) == splat + blur + gather + values.nbytes
    norm = torch.empty(POINTS)
    q = unary = values
    update = splat + blur + gather + _bytes(norm, norm, unary, q)
    assert work.update([lattice], POINTS, CLASSES) == update
    assert work.crf([(lattice, 0)], POINTS, CLASSES, ITERATIONS) == (
        work.construction(lattice, 0)
        + work.normalisation(lattice)
        + _bytes(unary, unary, q)
        + ITERATIONS * update
    )


def test_construction_makes_a_pair_of_each_corner_and_two_neighbours_an_axis(work: ModuleType) -> None:
    image = torch.empty(IMAGES, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    keys, numbers = torch.empty(POINTS, DIMS + 1, dtype=torch.int64), torch.empty(POINTS, DIMS + 1)
    index = weight = listed = listed_weight = numbers
    vertex_keys = torch.empty(VERTICES, dtype=torch.int64)
    neighbours = torch.empty(2, DIMS + 1, VERTICES, dtype=torch.int32)
    made = _bytes(image, keys, numbers)
    sort = 2 * _bytes(keys, numbers)
    numbered = _bytes(keys, numbers, index, weight, listed, listed_weight)
    expected = made + sort + numbered + _bytes(vertex_keys, neighbours)
    assert work.construction(work.Lattice(DIMS, POINTS, VERTICES), image.nbytes) == expected


def test_images_that_share_a_lattice_read_its_indices_once(work: ModuleType) -> None:
    alone = work.Lattice(2, HEIGHT * WIDTH, VERTICES)
    shared = work.Lattice(2, HEIGHT * WIDTH, VERTICES, shared_by=IMAGES)
    for moved in (work.splat, work.blur, work.gather):
        indices = moved(alone, 0)
        assert moved(shared, CLASSES) - indices == IMAGES * (moved(alone, CLASSES) - indices)
    assert work.construction(shared, 0) == work.construction(alone, 0)
    assert work.normalisation(shared) == work.normalisation(alone)


def test_ops_read_inputs_and_write_outputs_once(work: ModuleType) -> None:
    path, ops = (importlib.import_module(name) for name in ("_path", "_work"))
    boundary, grad = path.inputs(0, batch=2)
    assert ops.path_affinity(2).bytes == _bytes(boundary, grad, boundary, grad, boundary)
    logits, displacement, labels = path.loss_inputs(0, batch=2)
    read = _bytes(logits, displacement, labels)
    assert ops.affinity_loss_bytes(2) == 2 * read + _bytes(logits, displacement)
    fusion = importlib.import_module("_fusion")
    cams, _ = fusion.inputs(0, classes=3, present=3, images=2)
    assert 2 * ops.fuse_cams(3).bytes == _bytes(*cams, torch.empty(2, 3, *fusion.SIZE))


def test_values_differ_by_their_bits(work: ModuleType) -> None:
    compare = importlib.import_module("_compare")
    values = torch.tensor([0.0, 1.0, torch.nan])
    assert compare.differing([values], [values.clone()]) == 0
    assert compare.differing([values, values], [torch.tensor([-0.0, 1.0, 2.0]), values]) == 2
