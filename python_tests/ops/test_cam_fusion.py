"""fuse_cams against plain torch, against sums written out, and against IRNet's own results."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, on_device, traced
from torch import Tensor

from wsss_fast import check_values, fuse_cams
from wsss_fast.reference.cam_fusion import fuse_cams as reference

pytestmark = pytest.mark.usefixtures("device")

RELU = ("sum", "each", "none")
NORMALIZE = ("class", "image", "none")

# N, K, input sizes, size, crop
SHAPES = [
    (1, 3, [(5, 7)], (11, 6), None),
    (2, 4, [(5, 7), (9, 3), (5, 7), (9, 3)], (13, 10), (12, 8)),
    (1, 1, [(1, 1), (2, 3)], (1, 1), None),
    (2, 2, [(1, 6), (6, 1)], (9, 1), (5, 1)),
    (1, 2, [(8, 8)], (1, 17), None),
    (1, 21, [(40, 50), (12, 9)], (8, 7), None),  # reduction
    (1, 201, [(3, 4), (6, 8)], (12, 16), (11, 15)),
    (3, 5, [(94, 125)], (94, 125), None),  # no change of size
    (1, 2, [(24, 32), (47, 63)], (384, 512), (375, 500)),  # several tiles
    (1, 2, [(64, 96), (37, 53)], (32, 48), (31, 47)),  # half, and no whole factor
    (2, 1, [(90, 130), (90, 131)], (41, 57), None),  # a third and less: each column has its own samples
    (1, 2, [(9, 1), (2, 31)], (23, 1), None),
    (0, 3, [(4, 4)], (8, 8), None),
    (2, 0, [(4, 4)], (8, 8), (3, 8)),
]


def random_cams(n: int, k: int, sizes: list[tuple[int, int]], dtype: torch.dtype) -> list[Tensor]:
    return [torch.randn(n, k, h, w, dtype=dtype) for h, w in sizes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("relu", "normalize"), list(itertools.product(RELU, NORMALIZE)))
@pytest.mark.parametrize(("n", "k", "sizes", "size", "crop"), SHAPES)
def test_matches_reference(n, k, sizes, size, crop, relu, normalize, dtype):
    cams = random_cams(n, k, sizes, dtype)
    options: dict[str, Any] = dict(
        crop=crop, flipped=[i % 2 == 1 for i in range(len(sizes))], relu=relu, normalize=normalize
    )
    ours = fuse_cams(cams, size, **options)
    assert ours.shape == (n, k, *(crop or size))
    assert ours.dtype == dtype
    # With a maximum near 0, division by (it + 1e-5) magnifies rounding: allow for the largest quotient.
    expected = reference(cams, size, **options)
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    close(ours / scale, expected / scale)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("relu", RELU)
def test_classes_match_reference(relu, normalize):
    cams = random_cams(3, 5, [(6, 7), (6, 7), (11, 9)], torch.float32)
    classes = torch.tensor([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    options: dict[str, Any] = dict(
        flipped=[False, True, True], classes=classes, relu=relu, normalize=normalize, crop=(20, 30)
    )
    ours = fuse_cams(cams, (22, 33), **options)
    expected = reference(cams, (22, 33), **options)
    assert [tuple(t.shape) for t in ours] == [(2, 20, 30), (0, 20, 30), (5, 20, 30)]
    for mine, theirs in zip(ours, expected, strict=True):
        close(mine, theirs)


def brute_force(cams: list[Tensor], size, crop, flipped, relu: str, normalize: str) -> list:
    """Pixel by pixel in Python floats, from the definition, for one image: [K][H'][W']."""

    def sample(plane: Tensor, flip: bool, y: int, x: int) -> float:
        h, w = plane.shape

        def at(v: int, u: int) -> float:
            value = plane[v, w - 1 - u if flip else u].item()
            return max(value, 0.0) if relu == "each" else value

        sy = min(max((y + 0.5) * h / size[0] - 0.5, 0.0), h - 1.0)
        sx = min(max((x + 0.5) * w / size[1] - 0.5, 0.0), w - 1.0)
        v, u = math.floor(sy), math.floor(sx)
        a, b = sy - v, sx - u
        v1, u1 = min(v + 1, h - 1), min(u + 1, w - 1)
        top = (1 - b) * at(v, u) + b * at(v, u1)
        return (1 - a) * top + a * ((1 - b) * at(v1, u) + b * at(v1, u1))

    fused = []
    for k in range(cams[0].shape[0]):
        rows = []
        for y in range(crop[0]):
            row = [
                sum(sample(c[k], f, y, x) for c, f in zip(cams, flipped, strict=True)) for x in range(crop[1])
            ]
            rows.append([max(v, 0.0) if relu == "sum" else v for v in row])
        fused.append(rows)
    peaks = [max(v for row in rows for v in row) for rows in fused]
    if normalize == "image":
        peaks = [max(peaks)] * len(peaks)
    if normalize == "none":
        return fused
    return [
        [[v / (max(peak, 0.0) + 1e-5) for v in row] for row in rows]
        for rows, peak in zip(fused, peaks, strict=True)
    ]


@pytest.mark.parametrize(("relu", "normalize"), list(itertools.product(RELU, NORMALIZE)))
def test_matches_brute_force(relu, normalize):
    cams = [torch.randn(3, h, w, dtype=torch.float64) for h, w in [(3, 5), (7, 2), (3, 5), (16, 9)]]
    flipped = [True, False, False, True]
    ours = fuse_cams(cams, (6, 7), crop=(5, 6), flipped=flipped, relu=relu, normalize=normalize)
    close(
        ours, torch.tensor(brute_force(cams, (6, 7), (5, 6), flipped, relu, normalize), dtype=torch.float64)
    )


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 50, 64, 65])
def test_any_width_with_any_other(width):
    """Widths beside and between the vector lengths, each resampled from each; negative to the right, so that
    what a vector holds beyond the row would be the maximum."""
    for source in (1, 2, 5, 16, 17, 33, 64, 100, 130):
        cams = [torch.rand(1, 2, 3, source) + 0.1, -torch.rand(1, 2, 3, source).cumsum(-1)]
        for relu in ("none", "sum"):
            options: dict[str, Any] = dict(flipped=[True, False], relu=relu, normalize="none")
            close(fuse_cams(cams, (4, width), **options), reference(cams, (4, width), **options))
            options["normalize"] = "class"
            ours, expected = fuse_cams(cams, (4, width), **options), reference(cams, (4, width), **options)
            scale = max(1.0, expected.abs().max().item())
            close(ours / scale, expected / scale)


def test_golden_both_results_from_one_call(golden):
    arrays, params = golden("cam_fusion_500x375_K20")
    raw = [torch.from_numpy(arrays[f"raw{i}"][j]) for i in range(len(params["scales"])) for j in (0, 1)]
    cams = on_device(raw)
    strided, full = fuse_cams(
        cams,
        [tuple(params["strided"]), tuple(params["up"])],
        crop=[None, tuple(params["size"])],
        flipped=[False, True] * len(params["scales"]),
        classes=on_device(torch.from_numpy(arrays["label"] > 0)),
    )
    close(strided.cpu(), torch.from_numpy(arrays["strided_cam"]))
    close(full.cpu(), torch.from_numpy(arrays["high_res"]))


def test_list_of_sizes_is_the_single_calls():
    cams = random_cams(2, 3, [(5, 6), (9, 11)], torch.float32)
    sizes, crops = [(7, 8), (30, 20), (7, 8)], [None, (29, 3), (7, 1)]
    together = fuse_cams(cams, sizes, crop=crops)
    assert isinstance(together, list)
    for one, size, crop in zip(together, sizes, crops, strict=True):
        assert torch.equal(one, fuse_cams(cams, size, crop=crop))
    (only,) = fuse_cams(cams, [(4, 4)])
    assert torch.equal(only, fuse_cams(cams, (4, 4)))


def test_list_of_sizes_with_classes():
    cams = random_cams(2, 3, [(5, 6)], torch.float32)
    classes = torch.tensor([[True, False, True], [False, True, False]])
    small, large = fuse_cams(cams, [(4, 4), (9, 8)], classes=classes)
    for result, size in ((small, (4, 4)), (large, (9, 8))):
        assert [tuple(t.shape) for t in result] == [(2, *size), (1, *size)]
        for mine, single in zip(result, fuse_cams(cams, size, classes=classes), strict=True):
            assert torch.equal(mine, single)


def test_unbatched_is_batched_with_one():
    cams = [torch.randn(4, 5, 6), torch.randn(4, 8, 3)]
    batched = [c.unsqueeze(0) for c in cams]
    classes = torch.tensor([True, False, False, True])
    assert torch.equal(fuse_cams(cams, (9, 9)), fuse_cams(batched, (9, 9))[0])
    single = fuse_cams(cams, (9, 9), classes=classes)
    assert torch.equal(single, fuse_cams(batched, (9, 9), classes=classes[None])[0])
    two = fuse_cams(cams, [(9, 9), (3, 4)], classes=classes)
    assert [tuple(t.shape) for t in two] == [(2, 9, 9), (2, 3, 4)]


def test_non_contiguous_input():
    cams = [torch.randn(2, 6, 5, 3).permute(0, 3, 2, 1), torch.randn(4, 6, 8, 9)[::2, ::2]]
    assert not any(c.is_contiguous() for c in cams)
    plain = [c.contiguous() for c in cams]
    assert torch.equal(fuse_cams(cams, (9, 7)), fuse_cams(plain, (9, 7)))


def test_inputs_are_left_alone():
    cams = random_cams(1, 3, [(5, 6), (5, 6)], torch.float32)
    before = [c.clone() for c in cams]
    fuse_cams(cams, (9, 7), relu="each", flipped=[True, False])
    assert all(torch.equal(c, b) for c, b in zip(cams, before, strict=True))


def test_absent_classes_are_not_read():
    cams = random_cams(2, 3, [(5, 6), (9, 11)], torch.float32)
    classes = torch.tensor([[True, False, True], [False, False, True]])
    expected = fuse_cams(cams, (20, 20), classes=classes, normalize="image")
    for cam in cams:
        cam[~classes] = math.nan
    got = fuse_cams(cams, (20, 20), classes=classes, normalize="image")
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("relu", RELU)
@pytest.mark.parametrize("size", [(40, 40), (2, 2)])  # (2, 2) leaves most input pixels unused
def test_values_that_are_not_finite(value, relu, size):
    cams = random_cams(2, 3, [(5, 6), (9, 11)], torch.float32)
    cams[1][1, 2, 4, 3] = value
    with (
        check_values(True),
        pytest.raises(ValueError, match=r"cams\[1\]: expected finite values, got .*\[1, 2, 4, 3\]"),
    ):
        fuse_cams(cams, size, relu=relu)


def test_values_whose_sum_could_overflow():
    cams = [torch.full((1, 4, 4), 2e38), torch.full((1, 4, 4), 2e38)]
    with (
        check_values(True),
        pytest.raises(ValueError, match=r"cams\[0\]: expected values small enough .* float32, got 2e\+38"),
    ):
        fuse_cams(cams, (8, 8))
    large = [torch.full((1, 4, 4), 1e38), torch.full((1, 4, 4), 1e38)]
    assert torch.isfinite(fuse_cams(large, (8, 8))).all()


def test_normalising_by_class_and_image():
    cam = torch.rand(1, 2, 6, 6) + 0.5
    cam[0, 1] *= 10
    by_class = fuse_cams([cam], (6, 6))
    peak = cam.amax((2, 3))
    close(by_class.amax((2, 3)), peak / (peak + 1e-5))
    by_image = fuse_cams([cam], (6, 6), normalize="image")
    close(by_image, cam / (cam.max() + 1e-5))


def test_maps_without_a_positive_value():
    negative = -torch.rand(1, 1, 5, 5) - 0.1
    assert torch.equal(fuse_cams([negative], (9, 9)), torch.zeros(1, 1, 9, 9))
    assert torch.equal(fuse_cams([negative * 0], (9, 9), relu="none"), torch.zeros(1, 1, 9, 9))
    kept = fuse_cams([negative], (5, 5), relu="none")
    assert (kept < 0).all()
    assert torch.equal(kept.flatten().argsort(), negative.flatten().argsort())
    close(kept, negative / 1e-5)


def test_relu_each_and_sum_differ_where_signs_cancel():
    up, down = torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), -3.0)
    assert fuse_cams([up, down], (2, 2), relu="each", normalize="none").eq(1).all()
    assert fuse_cams([up, down], (2, 2), relu="sum", normalize="none").eq(0).all()
    assert fuse_cams([up, down], (2, 2), relu="none", normalize="none").eq(-2).all()


def test_permuting_classes_permutes_the_result():
    cams = random_cams(2, 7, [(5, 6), (9, 11)], torch.float32)
    order = torch.randperm(7)
    for normalize in NORMALIZE:
        whole = fuse_cams(cams, (12, 13), normalize=normalize)
        assert torch.equal(
            fuse_cams([c[:, order] for c in cams], (12, 13), normalize=normalize), whole[:, order]
        )


def test_mirrored_inputs_mirror_the_result():
    cams = random_cams(1, 2, [(5, 6), (9, 11)], torch.float64)
    plain = fuse_cams(cams, (12, 13), flipped=[False, True])
    mirrored = fuse_cams([c.flip(-1) for c in cams], (12, 13), flipped=[False, True])
    close(mirrored, plain.flip(-1))
    assert torch.equal(fuse_cams([c.flip(-1) for c in cams], (12, 13), flipped=[True, False]), plain)


def test_threads_and_runs_agree_to_the_bit(threads):
    cams = random_cams(2, 5, [(24, 32), (24, 32), (47, 63), (12, 16)], torch.float32)
    results = []
    for n in (1, 2, 4, 4):
        threads(n)
        small, large = fuse_cams(cams, [(94, 125), (300, 400)], flipped=[False, True, False, True])
        results.append(torch.cat([small.flatten(), large.flatten()]))
    assert all(torch.equal(results[0], r) for r in results[1:])


# ---- torch.library ------------------------------------------------------------------------------------


@traced
@pytest.mark.parametrize("present", [None, [[True, False, True], [False, False, False]]])
def test_opcheck(present):
    cams = random_cams(2, 3, [(4, 5), (7, 6)], torch.float32)
    classes = None if present is None else torch.tensor(present)
    torch.library.opcheck(
        torch.ops.wsss_fast.cam_fusion,
        (cams, classes, [8, 9, 4, 4], [7, 9, 4, 2], [False, True], "sum", "class"),
    )


@traced
def test_compile_fullgraph():
    def call(cams):
        return fuse_cams(cams, [(8, 9), (5, 5)], crop=[None, (3, 3)], flipped=[False, True])

    cams = random_cams(2, 3, [(4, 5), (7, 6)], torch.float32)
    for mine, eager in zip(torch.compile(call, fullgraph=True)(cams), call(cams), strict=True):
        assert torch.equal(mine, eager)


@traced
def test_compile_fullgraph_with_classes():
    def call(cams, classes):
        return fuse_cams(cams, (8, 9), classes=classes)

    cams = random_cams(2, 3, [(4, 5)], torch.float32)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(call, fullgraph=True)
        for bits in ([[1, 0, 1], [0, 0, 0]], [[0, 0, 1], [1, 1, 1]]):
            classes = torch.tensor(bits, dtype=torch.bool)
            for mine, eager in zip(compiled(cams, classes), call(cams, classes), strict=True):
                assert torch.equal(mine, eager)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float32(half):
    cams = [torch.randn(1, 2, 5, 6).to(half)]
    with autocast():
        result = fuse_cams(cams, (9, 9))
    assert result.dtype == torch.float32
    assert torch.equal(result, fuse_cams([c.float() for c in cams], (9, 9)))


def test_gradients_are_refused_not_lost():
    cam = torch.randn(2, 5, 6, requires_grad=True)
    with pytest.raises(ValueError, match=r"cams\[0\]: expected a tensor that does not require grad"):
        fuse_cams([cam], (9, 9))
    with torch.no_grad():
        result = fuse_cams([cam], (9, 9))
    assert not result.requires_grad
    assert torch.equal(result, fuse_cams([cam.detach()], (9, 9)))
    with torch.inference_mode():
        assert torch.equal(fuse_cams([torch.ones(1, 2, 2)], (2, 2)), fuse_cams([torch.ones(1, 2, 2)], (2, 2)))


# ---- bad input ----------------------------------------------------------------------------------------

CAM = torch.zeros(2, 3, 4, 5)
BOOL = torch.zeros(2, 3, dtype=torch.bool)
BAD: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    (dict(cams=CAM), TypeError, ["cams: expected a list of tensors", "got [2,3,4,5] float32"]),
    (dict(cams=[]), ValueError, ["cams: expected a list of at least one", "an empty list"]),
    (dict(cams=[CAM.numpy()]), TypeError, ["cams[0]: expected a tensor [N,K,h,w] or [K,h,w]", "an array ["]),
    (dict(cams=[CAM.int()]), TypeError, ["cams[0]", "float32 or float64", "[2,3,4,5] int32"]),
    (dict(cams=[CAM[0, 0]]), ValueError, ["cams[0]", "[N,K,h,w] or [K,h,w]", "got [4,5] float32"]),
    (dict(cams=[CAM, CAM[0]]), ValueError, ["cams[1]: expected [2,3,h,w]", "got [3,4,5] float32"]),
    (dict(cams=[CAM, CAM[:1]]), ValueError, ["cams[1]: expected [2,3,h,w]", "got [1,3,4,5]"]),
    (dict(cams=[CAM, CAM[:, :2]]), ValueError, ["cams[1]: expected [2,3,h,w]", "got [2,2,4,5]"]),
    (dict(cams=[CAM, CAM.double()]), TypeError, ["cams[1]: expected float32", "got float64"]),
    (dict(cams=[CAM[..., :0]]), ValueError, ["cams[0]", "at least 1 x 1", "got [2,3,4,0]"]),
    (dict(cams=[CAM.to("meta")]), ValueError, ["cams[0]: expected a CPU", "on meta"]),
    (dict(size=7), TypeError, ["size: expected (H, W)", "got 7"]),
    (dict(size=(7,)), ValueError, ["size: expected (H, W)", "1 values"]),
    (dict(size=(7, 0)), ValueError, ["size[1]: expected an integer in [1, 2147483647]", "got 0"]),
    (dict(size=(7, 8.0)), TypeError, ["size[1]: expected an integer in [1, 2147483647]", "got 8.0"]),
    (dict(size=[]), ValueError, ["size: expected (H, W) or a list", "an empty list"]),
    (dict(size=[(7, 8), (1, 2, 3)]), ValueError, ["size[1]: expected (H, W)", "3 values"]),
    (
        dict(size=(7, 2**31)),
        ValueError,
        ["size[1]: expected an integer in [1, 2147483647]", "got 2147483648"],
    ),
    (dict(crop=(8, 8)), ValueError, ["crop: expected at most the size (7, 8)", "got (8, 8)"]),
    (dict(crop=(0, 8)), ValueError, ["crop[0]: expected an integer in [1, 2147483647]", "got 0"]),
    (dict(size=[(7, 8), (7, 8)], crop=(7, 8)), TypeError, ["crop[0]: expected (H, W)", "got 7"]),
    (dict(size=[(7, 8), (7, 8)], crop=[None]), ValueError, ["crop: expected a list of 2", "1 values"]),
    (dict(size=[(7, 8)], crop=[(7, 9)]), ValueError, ["crop[0]: expected at most", "(7, 9)"]),
    (dict(flipped=True), TypeError, ["flipped: expected a list of 1 booleans", "got True"]),
    (dict(flipped=[True, False]), ValueError, ["flipped: expected a list of 1", "2 values"]),
    (dict(flipped=[1]), TypeError, ["flipped[0]: expected True or False", "got 1"]),
    (dict(classes=[[True] * 3] * 2), TypeError, ["classes: expected a tensor [N,K] bool", "got a list"]),
    (dict(classes=BOOL.float()), TypeError, ["classes: expected [N,K] bool", "got [2,3] float32"]),
    (dict(classes=BOOL[0]), ValueError, ["classes: expected [N,K] bool", "got [3] bool"]),
    (dict(classes=BOOL[:, :2]), ValueError, ["classes: expected [2,3]", "got [2,2] bool"]),
    (dict(classes=BOOL.to("meta")), ValueError, ["classes: expected a CPU", "on meta"]),
    (dict(relu="all"), ValueError, ["relu: expected one of", "'each', 'none', 'sum'", "got 'all'"]),
    (dict(relu=True), TypeError, ["relu: expected one of", "got True"]),
    (dict(normalize="max"), ValueError, ["normalize: expected one of", "got 'max'"]),
    (dict(normalize=None), TypeError, ["normalize: expected one of", "got None"]),
]


@pytest.mark.parametrize(("change", "kind", "parts"), BAD, ids=[str(list(b[0])) + b[2][-1] for b in BAD])
def test_bad_input(change, kind, parts):
    arguments = on_device({"cams": [CAM], "size": (7, 8), **change})
    with pytest.raises(kind) as error:
        fuse_cams(arguments.pop("cams"), arguments.pop("size"), **arguments)
    assert type(error.value) is kind
    for part in parts:
        assert part in str(error.value)


@cpu_only(reason="CUDA kernels read it")
def test_half_precision_is_for_cuda():
    expected = r"cams\[0\]: expected .* float32 or float64, got \[2,3,4,5\] float16"
    with pytest.raises(TypeError, match=expected):
        fuse_cams([CAM.half()], (7, 8))
