"""fuse_cams by CUDA kernels: against the CPU's to the bit, and what only they have (half precision, NaN)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from devices import by_cpu, only_on
from test_cam_fusion import NORMALIZE, RELU, SHAPES, random_cams
from torch import Tensor

from wsss_fast import check_values, fuse_cams

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]


def is_the_cpus(cams: list[Tensor], size: Any, **options: Any) -> None:
    found, expected = fuse_cams(cams, size, **options), by_cpu(fuse_cams, cams, size, **options)
    for ours, theirs in zip(flat(found), flat(expected), strict=True):
        assert (ours.shape, ours.dtype, ours.device) == (theirs.shape, theirs.dtype, cams[0].device)
        assert ours.is_contiguous()
        assert torch.equal(ours.cpu(), theirs)


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "k", "sizes", "size", "crop"), SHAPES)
def test_shapes(n: int, k: int, sizes: Any, size: Any, crop: Any, dtype: torch.dtype) -> None:
    flipped = [i % 2 == 1 for i in range(len(sizes))]
    is_the_cpus(random_cams(n, k, sizes, dtype), size, crop=crop, flipped=flipped)


@pytest.mark.parametrize(("relu", "normalize"), list(itertools.product(RELU, NORMALIZE)))
def test_options(relu: Any, normalize: Any) -> None:
    cams = random_cams(3, 5, [(6, 7), (11, 9), (6, 7), (11, 9)], torch.float32)
    options: dict[str, Any] = {"relu": relu, "normalize": normalize, "flipped": [False, True, True, False]}
    is_the_cpus(cams, (22, 33), crop=(20, 30), **options)
    classes = torch.rand(3, 5) > 0.5
    is_the_cpus(cams, [(22, 33), (5, 4)], crop=[(20, 30), None], classes=classes, **options)


# Beside the columns of a warp, of two, and of a block; rows of a warp, and of a block.
@pytest.mark.parametrize("width", [1, 31, 32, 33, 127, 128, 129, 257, 1024, 1025])
@pytest.mark.parametrize("height", [1, 7, 8, 9, 17, 65])
def test_sizes_beside_those_of_tiles(width: int, height: int) -> None:
    is_the_cpus(random_cams(1, 1, [(3, 5), (9, 40)], torch.float32), (height, width), flipped=[False, True])


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_more_maps_than_one_launch_makes(normalize: Any) -> None:
    cams = random_cams(3, 150, [(3, 2), (5, 4)], torch.float32)
    is_the_cpus(cams, (6, 7), normalize=normalize)
    is_the_cpus(cams, (6, 7), normalize=normalize, classes=torch.rand(3, 150) > 0.3)


@pytest.mark.parametrize("sizes", [[(3, 2), (5, 4)], [(3, 2), (5, 4), (2, 3), (4, 4), (6, 5)]])
def test_so_many_maps_that_a_block_makes_two(sizes: Any) -> None:
    # Of an odd number, in three tiles each; a block keeps where samples lie for no more than four sizes.
    is_the_cpus(random_cams(3, 149, sizes, torch.float32), (129, 7))


# Source rows of a tile all at once, of its half and so on, and those of each row by themselves.
@pytest.mark.parametrize("rows", [20, 80, 160, 260, 390])
def test_sources_beside_the_room_for_them(rows: int) -> None:
    is_the_cpus(random_cams(1, 1, [(rows, 3), (2, 2)], torch.float32), (130, 5))


@pytest.mark.parametrize("present", [False, True])
def test_masks_of_nothing_and_of_all(present: bool) -> None:
    cams = random_cams(2, 3, [(4, 5)], torch.float32)
    is_the_cpus(cams, [(7, 8), (3, 3)], classes=torch.full((2, 3), present))
    assert fuse_cams([c[:0] for c in cams], (7, 8), classes=torch.full((0, 3), present)) == []


def test_a_mask_on_the_cpu_is_as_good_as_one_on_the_device() -> None:
    cams = random_cams(3, 5, [(6, 7)], torch.float32)
    classes = torch.rand(3, 5) > 0.5
    for ours, theirs in zip(
        fuse_cams(cams, (9, 9), classes=classes),
        fuse_cams(cams, (9, 9), classes=classes.cpu()),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_results_can_be_written_to() -> None:
    cams = random_cams(2, 3, [(4, 5)], torch.float32)
    first, second = fuse_cams(cams, (7, 8), classes=torch.ones(2, 3, dtype=torch.bool))
    before = second.clone()
    first.fill_(-1)
    assert torch.equal(second, before)


def test_as_many_inputs_as_there_is_room_for() -> None:
    sizes = [(3 + i % 7, 2 + i % 5) for i in range(32)]
    cams = random_cams(1, 2, sizes, torch.float32)
    is_the_cpus(cams, (9, 11), flipped=[i % 3 == 0 for i in range(32)])
    is_the_cpus([c.double() for c in cams], (9, 11))
    with pytest.raises(ValueError, match=r"cams: expected at most 32 tensors \(on CUDA\), got 33 of them"):
        fuse_cams([*cams, cams[0]], (9, 11))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("normalize", NORMALIZE)
def test_half_precision_is_rounded_once(normalize: Any, dtype: torch.dtype) -> None:
    cams = [c.to(dtype) for c in random_cams(2, 3, [(6, 7), (11, 9), (6, 7)], torch.float32)]
    options: dict[str, Any] = {"normalize": normalize, "relu": "each", "flipped": [True, False, False]}
    found = fuse_cams(cams, [(22, 33), (5, 3)], **options)
    expected = fuse_cams([c.float() for c in cams], [(22, 33), (5, 3)], **options)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs.to(dtype))


def test_an_image_does_not_depend_on_its_batch() -> None:
    cams = random_cams(5, 4, [(6, 7), (11, 9)], torch.float32)
    for normalize in NORMALIZE:
        whole = fuse_cams(cams, (40, 33), normalize=normalize)
        assert torch.equal(whole, fuse_cams(cams, (40, 33), normalize=normalize))
        for n in range(5):
            alone = fuse_cams([c[n : n + 1] for c in cams], (40, 33), normalize=normalize)
            assert torch.equal(alone[0], whole[n])


# --- bad values ------------------------------------------------------------------------------------------


def with_bad(value: float) -> tuple[list[Tensor], list[Tensor]]:
    """Maps without and with a bad value, in image 1, map 2; 3e38 overflows in the sum alone."""
    good = [torch.rand(3, 4, 8, 8) + 0.1 for _ in range(2)]
    bad = [c.clone() for c in good]
    for c in bad:
        c[1, 2, 5, 6] = value
    return good, bad


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("relu", RELU)
def test_a_bad_value_stays_in_the_pixels_that_it_touches(relu: Any, value: float) -> None:
    good, bad = with_bad(value)
    expected = fuse_cams(good, (24, 24), relu=relu, normalize="none")
    found = fuse_cams(bad, (24, 24), relu=relu, normalize="none")
    touched = torch.zeros(3, 4, 24, 24, dtype=torch.bool)
    # 5 and 6 are of rows 16 and columns 19 in their middle: what they weigh in lies within 3 pixels.
    touched[1, 2, 14:20, 17:23] = True
    assert torch.equal(found[~touched], expected[~touched])
    assert found[1, 2, 16, 19].isnan()
    assert (found[1, 2, 14:20, 17:23].isnan() | found[1, 2, 14:20, 17:23].isfinite()).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("relu", RELU)
@pytest.mark.parametrize("normalize", ["class", "image"])
def test_what_is_divided_by_a_bad_maximum_is_nan(normalize: Any, relu: Any, value: float) -> None:
    good, bad = with_bad(value)
    options: dict[str, Any] = {"relu": relu, "normalize": normalize}
    expected, found = fuse_cams(good, (24, 24), **options), fuse_cams(bad, (24, 24), **options)
    wrong = torch.zeros(3, 4, dtype=torch.bool)
    wrong[1, 2 if normalize == "class" else slice(None)] = True
    assert found[wrong].isnan().all()
    assert torch.equal(found[~wrong], expected[~wrong])


def test_a_bad_value_outside_the_crop_is_not_noticed() -> None:
    good, bad = with_bad(torch.nan)
    assert torch.equal(fuse_cams(bad, (24, 24), crop=(12, 24)), fuse_cams(good, (24, 24), crop=(12, 24)))
    with check_values(True), pytest.raises(ValueError, match=r"cams\[0\]: expected finite .*\[1, 2, 5, 6\]"):
        fuse_cams(bad, (24, 24), crop=(12, 24))


def test_looking_leaves_absent_maps_out() -> None:
    _, bad = with_bad(torch.nan)
    classes = torch.ones(3, 4, dtype=torch.bool)
    classes[1, 2] = False
    with check_values(True):
        assert all(t.isfinite().all() for t in fuse_cams(bad, (24, 24), classes=classes))
