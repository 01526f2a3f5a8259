"""crf: against golden data, the reference, an explicit dense CRF and pydensecrf; and its properties."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, not_on_host, on_device, traced
from test_lattice import dense_filter
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, crf
from wsss_fast.reference.crf import crf as reference

pytestmark = pytest.mark.usefixtures("device")

GOLDEN = [
    "crf_61x47_C3",
    "crf_64x48_C5_soft",
    pytest.param("crf_125x94_C21", marks=not_on_host),
    pytest.param("crf_500x375_C2", marks=not_on_host),
    pytest.param("crf_500x375_C4", marks=not_on_host),
    pytest.param("crf_500x375_C21", marks=not_on_host),
]


def picture(*shape: int) -> Tensor:
    """Images of a few flat colours with grain, so that kernels find something to agree on."""
    coarse = torch.rand(*shape[:-2], shape[-2] // 6 + 1, shape[-1] // 7 + 1) * 200
    image = coarse.repeat_interleave(6, -2).repeat_interleave(7, -1)[..., : shape[-2], : shape[-1]]
    return (image + torch.rand(shape) * 20).clamp(0, 255).to(torch.uint8)


def brute_force(
    image: Tensor, unary: Tensor, kernels: list[Any], iterations: int, normalization: str
) -> Tensor:
    """Mean field of one tiny image with every filter as a dense matrix, in float64."""
    classes, height, width = unary.shape
    grid = torch.tensor([(x, y) for y in range(height) for x in range(width)], dtype=torch.float64).T
    terms = []
    for kernel in kernels:
        if isinstance(kernel, Features):
            features = kernel.features.double().flatten(1)
        else:
            planes = [*grid, *image.double().flatten(1)]
            features = torch.stack([p / s for p, s in zip(planes, kernel.scales, strict=False)])
        f = dense_filter(features)
        norm = f.sum(1) + 1e-20
        f = {
            "symmetric": f / norm.sqrt() / norm.sqrt().unsqueeze(1),
            "before": f / norm,
            "after": f / norm.unsqueeze(1),
            "none": f,
        }[normalization]
        compat = torch.as_tensor(kernel.compat, dtype=torch.float64)
        if compat.dim() == 0:
            compat = -compat * torch.eye(classes, dtype=torch.float64)
        elif compat.dim() == 1:
            compat = torch.diag(compat)
        terms.append((f, compat))
    energy = unary.double().flatten(1)
    q = torch.softmax(-energy, 0)
    for _ in range(iterations):
        total = energy.clone()
        for f, compat in terms:
            for c in range(classes):
                for other in range(classes):
                    total[c] += compat[c, other] * (f @ q[other])
        q = torch.softmax(-total, 0)
    return q.reshape(unary.shape)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, golden: Callable[[str], tuple[dict[str, np.ndarray], dict[str, Any]]]) -> None:
    given, p = golden(name)
    arrays = {key: on_device(torch.from_numpy(array)) for key, array in given.items()}
    image = arrays["image"].permute(2, 0, 1)
    if "labels" in arrays:
        unary = wsss_fast.unary_from_labels(arrays["labels"], p["C"], gt_prob=p["gt_prob"])
    else:
        unary = arrays["unary"]
    options: dict[str, Any] = {
        "iterations": p["t"],
        "gaussian": Gaussian(p["gauss_sxy"], p["gauss_compat"]),
        "bilateral": Bilateral(p["bilat_sxy"], p["bilat_srgb"], p["bilat_compat"]),
    }
    q = crf(image, unary, **options)
    found = crf(image, unary, output="labels", **options)
    agreement = (found == arrays["map"]).double().mean()
    assert agreement >= 0.9999
    if "Q" in arrays:
        difference = (q - arrays["Q"]).abs()
    else:
        difference = (q.flatten(1)[:, arrays["pixels"].long()] - arrays["Q_pixels"]).abs()
    assert difference.double().mean() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("images", "classes", "height", "width"),
    [
        (1, 3, 47, 61),
        (2, 21, 20, 33),
        (1, 1, 9, 7),
        (3, 2, 1, 1),
        (1, 4, 1, 40),
        (1, 5, 40, 1),
        (1, 201, 8, 11),
        (2, 2, 33, 8),
        (1, 9, 12, 12),
    ],
)
def test_reference(images: int, classes: int, height: int, width: int, dtype: torch.dtype) -> None:
    image = picture(images, 3, height, width)
    unary = torch.rand(images, classes, height, width, dtype=dtype) * 3
    q = crf(image, unary)
    assert q.shape == unary.shape
    assert q.dtype == dtype
    assert q.is_contiguous()
    close(q, reference(image, unary), atol=1e-4 if dtype == torch.float32 else 1e-10)
    assert torch.equal(crf(image, unary, output="labels").long(), q.argmax(1))


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("form", ["scalar", "vector", "matrix"])
def test_brute_force(form: str, normalization: str) -> None:
    image = picture(3, 6, 9)
    unary = torch.rand(3, 6, 9, dtype=torch.float64) * 2
    scale = 0.05 if normalization == "none" else 1.0
    compats: list[Any] = {
        "scalar": [3.0 * scale, 10.0 * scale, 0.5],
        "vector": [-torch.rand(3) * scale, -torch.rand(3) * 4 * scale, torch.rand(3)],
        "matrix": [torch.randn(3, 3) * scale, torch.randn(3, 3) * scale, torch.randn(3, 3)],
    }[form]
    # Widths that put no pixel on the edge of a simplex, where the last bit decides on which side it is.
    kernels = [
        Gaussian((2.1, 3.7), compats[0]),
        Bilateral((8.1, 5.3), (31.0, 41.0, 53.0), compats[1]),
        Features(torch.randn(4, 6, 9, dtype=torch.float64), compats[2]),
    ]
    for iterations in (0, 1, 5):
        options: dict[str, Any] = {"iterations": iterations, "normalization": normalization}
        expected = brute_force(image, unary, kernels, **options)
        close(crf(image, unary, kernels=kernels, **options), expected)
        batched = [*kernels[:2], Features(kernels[2].features.unsqueeze(0), kernels[2].compat)]
        close(reference(image[None], unary[None], kernels=batched, **options)[0], expected)


def peer(
    image: Tensor, unary: Tensor, kernels: list[Any], iterations: int, normalization: str = "symmetric"
) -> Tensor:
    """The same by pydensecrf, one image, everything on the CPU."""
    dcrf = pytest.importorskip("pydensecrf.densecrf")
    constants = {"symmetric": 3, "before": 1, "after": 2, "none": 0}
    classes, height, width = unary.shape
    model = dcrf.DenseCRF2D(width, height, classes)
    model.setUnaryEnergy(unary.flatten(1).numpy().copy())
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    for kernel in kernels:
        compat = kernel.compat.numpy() if isinstance(kernel.compat, Tensor) else kernel.compat
        options = {
            "compat": compat,
            "kernel": dcrf.DIAG_KERNEL,
            "normalization": constants[normalization],
        }
        if isinstance(kernel, Gaussian):
            model.addPairwiseGaussian(sxy=kernel.sxy, **options)
        elif isinstance(kernel, Bilateral):
            model.addPairwiseBilateral(sxy=kernel.sxy, srgb=kernel.srgb, rgbim=pixels, **options)
        else:
            features = kernel.features.flatten(1).numpy().copy()
            model.addPairwiseEnergy(features, **options)
    return torch.from_numpy(np.array(model.inference(iterations))).reshape(unary.shape)


SYMMETRIC = torch.tensor([[-4.0, 1.0, 0.5], [1.0, -3.0, 0.0], [0.5, 0.0, -5.0]])


@pytest.mark.parametrize(
    ("kernels", "normalization"),
    [
        ([Gaussian(3, 3), Bilateral(50, 5, 10)], "symmetric"),
        ([Gaussian(3, 3), Bilateral(80, 13, 10)], "before"),
        ([Gaussian(3, 3), Bilateral(80, 13, 10)], "after"),
        ([Gaussian(3, 0.05), Bilateral(20, 13, 0.1)], "none"),
        ([Gaussian((2, 5), 3), Bilateral((30, 60), (5, 9, 13), 4)], "symmetric"),
        ([Gaussian(3, torch.tensor([-1.0, -2.0, -4.0])), Bilateral(40, 9, 5)], "symmetric"),
        ([Gaussian(3, SYMMETRIC), Bilateral(40, 9, 2 * SYMMETRIC)], "symmetric"),
        ([Bilateral(40, 9, SYMMETRIC)], "after"),
        ([Features(torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1)) * 5, 6)], "symmetric"),
    ],
)
def test_pydensecrf(kernels: list[Any], normalization: str) -> None:
    # H * W is a multiple of 4: elsewhere the other implementation adds vertices of its own.
    image, unary = picture(3, 48, 64), torch.rand(3, 48, 64) * 3
    expected = on_device(peer(image.cpu(), unary.cpu(), kernels, 10, normalization))
    q = crf(image, unary, kernels=on_device(kernels), normalization=normalization)
    assert (q - expected).abs().double().mean() <= 1e-5
    assert (q.argmax(0) == expected.argmax(0)).double().mean() >= 0.999


def test_a_normalisation_for_each_kernel() -> None:
    image, unary = picture(1, 3, 15, 22), torch.rand(1, 3, 15, 22, dtype=torch.float64) * 3
    options: dict[str, Any] = {
        "kernels": [Gaussian(3, 3), Bilateral(20, 13, 4), Gaussian(9, 0.01)],
        "normalization": ["after", "symmetric", "none"],
    }
    close(crf(image, unary, **options), reference(image, unary, **options))
    for bad, error in ((["after"], ValueError), (["after", "none", 3], TypeError)):
        with pytest.raises(error, match="normalization"):
            crf(image, unary, **{**options, "normalization": bad})


@not_on_host
def test_several_bands_agree_with_the_reference() -> None:
    # More pixels than one band of the lattice holds.
    image, unary = picture(1, 3, 200, 260), torch.rand(1, 3, 200, 260, dtype=torch.float64) * 3
    close(crf(image, unary, iterations=3), reference(image, unary, iterations=3))


def test_unaries_that_share_an_image(device: str) -> None:
    height, width = (20, 30) if device != "cuda-host" else (5, 9)
    image = picture(2, 3, height, width)
    for classes in (1, 2, 3, 21):
        for sets in (1, 2, 3, 40):
            unary = torch.rand(2, sets, classes, height, width)
            q = crf(image, unary, iterations=3)
            assert q.shape == unary.shape
            labels = crf(image, unary, iterations=3, output="labels")
            assert labels.shape == (2, sets, height, width)
            for m in (0, sets - 1):
                alone = crf(image, unary[:, m], iterations=3)
                close(q[:, m], alone)
                assert torch.equal(labels[:, m].long(), q[:, m].argmax(1))
    assert crf(image, torch.rand(2, 0, 3, height, width)).shape == (2, 0, 3, height, width)


@pytest.mark.parametrize("classes", [3, 5, 6, 17, 21])
@pytest.mark.parametrize("sets", [1, 2, 3])
def test_the_last_class_of_potts_models(classes: int, sets: int) -> None:
    # Its messages may be what those of the others leave of the filter of ones.
    image, unary = picture(1, 3, 7, 30), torch.rand(1, sets, classes, 7, 30, dtype=torch.float64) * 3
    for normalization in ("symmetric", "before", "after"):
        options: dict[str, Any] = {"normalization": normalization, "iterations": 3}
        close(crf(image, unary, **options), reference(image, unary, **options))


@cpu_only(reason="memory is kept by the CPU's kernels")
def test_calls_leave_nothing_to_each_other() -> None:
    # Large arrays are kept for the next call, of any size, after any end, from any thread.
    problems = [(picture(3, *size), torch.rand(c, *size)) for c in (2, 5, 21) for size in ((9, 130), (60, 7))]
    expected = [crf(image, unary, iterations=2) for image, unary in problems]
    bad = torch.full((3, 4, 5), torch.nan)
    for k, (image, unary) in enumerate(problems):
        with pytest.raises(ValueError, match="image"):
            crf(bad, UNARY[0, :, :4, :5])
        assert torch.equal(crf(image, unary, iterations=2), expected[k])
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            results = list(threads.map(lambda p: crf(*p, iterations=2), problems))
            assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


def test_a_bad_image_is_an_error_without_an_iteration_too() -> None:
    image = picture(3, 9, 11).float()
    image[1, 2, 3] = 256
    message = r"image: expected values in \[0,255\], got 256 .* channel 1, y 2, x 3"
    with wsss_fast.check_values(True), pytest.raises(ValueError, match=message):
        crf(image, torch.rand(2, 9, 11), iterations=0)


def test_single_image_equals_a_batch_of_one() -> None:
    image, unary = picture(3, 13, 17), torch.rand(4, 13, 17)
    batch = crf(image[None], unary[None])
    assert torch.equal(crf(image, unary), batch[0])
    assert torch.equal(crf(image, unary[None]), batch)
    assert torch.equal(crf(image, unary, output="labels"), batch[0].argmax(0).to(torch.uint8))


def test_images_of_a_batch_do_not_mix() -> None:
    image, unary = picture(3, 3, 19, 23), torch.rand(3, 4, 19, 23)
    q = crf(image, unary)
    for n in range(3):
        assert torch.equal(q[n], crf(image[n], unary[n]))


def test_list() -> None:
    sizes = [(20, 30), (31, 17), (1, 1)]
    images = [picture(3, *s) for s in sizes]
    unaries = [torch.rand(2 + k, *s) for k, s in enumerate(sizes)]
    guides = [torch.randn(3, *s) for s in sizes]
    results = crf(images, unaries)
    assert isinstance(results, list)
    for q, i, u in zip(results, images, unaries, strict=True):
        assert torch.equal(q, crf(i, u))
    results = crf(images, unaries, kernels=[Gaussian(), Features(guides, 4)], output="labels")
    for labels, i, u, g in zip(results, images, unaries, guides, strict=True):
        assert torch.equal(labels, crf(i, u, kernels=[Gaussian(), Features(g, 4)], output="labels"))
    assert crf([], []) == []


@pytest.mark.parametrize("output", ["probs", "labels"])
def test_empty_batch(output: str) -> None:
    image, unary = torch.zeros(0, 3, 9, 8), torch.zeros(0, 5, 9, 8)
    assert crf(image, unary, output=output).shape == ((0, 5, 9, 8) if output == "probs" else (0, 9, 8))


@pytest.mark.parametrize(("classes", "dtype"), [(256, torch.uint8), (257, torch.int16), (32769, torch.int32)])
def test_label_dtype(classes: int, dtype: torch.dtype) -> None:
    unary = torch.full((classes, 2, 2), 9.0)
    unary[-1, 0], unary[0, 1] = 0.0, 0.0
    labels = crf(
        picture(3, 2, 2), unary, output="labels", iterations=1, gaussian=Gaussian(0.1, 1), bilateral=None
    )
    assert labels.dtype == dtype
    assert labels.tolist() == [[classes - 1] * 2, [0] * 2]


def test_image_dtypes_agree() -> None:
    image, unary = picture(3, 21, 18), torch.rand(3, 21, 18)
    expected = crf(image, unary)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(crf(image.to(dtype), unary), expected)
    with autocast():
        assert torch.equal(crf(image.half(), unary.bfloat16()), crf(image, unary.bfloat16().float()))


def test_not_contiguous() -> None:
    image, unary = picture(2, 3, 14, 22), torch.rand(2, 4, 14, 22)
    strided = unary.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    channels_last = image.contiguous(memory_format=torch.channels_last)
    assert not strided.is_contiguous()
    assert torch.equal(crf(channels_last, strided), crf(image, unary))
    assert torch.equal(
        crf(image[..., ::2], unary[..., ::2]), crf(image[..., ::2].clone(), unary[..., ::2].clone())
    )


@cpu_only(reason="CUDA kernels need it: test_crf_cuda.py")
def test_the_cpu_needs_no_capacity() -> None:
    image, unary = picture(3, 14, 22), torch.rand(4, 14, 22)
    assert torch.equal(crf(image, unary, capacity=1), crf(image, unary))


def test_inputs_are_not_changed() -> None:
    image, unary = picture(3, 14, 22), torch.rand(4, 14, 22)
    before = image.clone(), unary.clone()
    crf(image, unary)
    assert torch.equal(image, before[0])
    assert torch.equal(unary, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_sum_to_one(dtype: torch.dtype) -> None:
    q = crf(picture(2, 3, 24, 31), torch.randn(2, 7, 24, 31, dtype=dtype) * 5)
    close(q.sum(1), torch.ones(2, 24, 31))
    assert (q >= 0).all()


def test_classes_may_be_permuted() -> None:
    image, unary = picture(3, 24, 31), torch.rand(5, 24, 31, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 2, 1])
    close(crf(image, unary[order]), crf(image, unary)[order])


def test_without_weight_it_is_softmax() -> None:
    image, unary = picture(3, 24, 31), torch.randn(5, 24, 31) * 30
    expected = torch.softmax(-unary.double(), 0)
    for options in (
        {"gaussian": Gaussian(3, 0), "bilateral": Bilateral(50, 5, 0)},
        {"gaussian": None, "bilateral": None},
        {"kernels": []},
        {"iterations": 0},
    ):
        close(crf(image, unary, **options), expected)


def test_none_leaves_a_kernel_out() -> None:
    image, unary = picture(3, 24, 31), torch.rand(5, 24, 31)
    gaussian, bilateral = Gaussian(2, 4), Bilateral(20, 15, 6)
    for kept in ([gaussian], [bilateral], [gaussian, bilateral]):
        options = {
            "gaussian": gaussian if gaussian in kept else None,
            "bilateral": bilateral if bilateral in kept else None,
        }
        assert torch.equal(crf(image, unary, **options), crf(image, unary, kernels=kept))


def test_scalar_is_minus_the_identity() -> None:
    image, unary = picture(3, 24, 31), torch.rand(5, 24, 31, dtype=torch.float64)

    def run(compat: Any) -> Tensor:
        return crf(image, unary, kernels=[Gaussian(3, compat), Bilateral(30, 9, compat)])

    expected = run(4)
    vector, matrix = [-4.0] * 5, (-4 * np.eye(5)).tolist()
    for same in (
        torch.tensor(4),
        torch.tensor(vector),
        vector,
        torch.tensor(matrix),
        matrix,
        np.array(matrix),
    ):
        close(run(same), expected)


def test_kernels_as_features_are_the_same() -> None:
    image, unary = picture(3, 24, 31), torch.rand(5, 24, 31, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(24), torch.arange(31), indexing="ij")
    guide = torch.cat([torch.stack([x, y]) / 20.0, image / 9.0]).double()
    close(
        crf(image, unary, kernels=[Features(guide, 6)]),
        crf(image, unary, kernels=[Bilateral(20, 9, 6)]),
        atol=1e-5,  # the guide was divided in float32
    )


def test_impossible_classes() -> None:
    image, unary = picture(3, 24, 31), torch.rand(4, 24, 31, dtype=torch.float64)
    impossible = torch.rand(4, 24, 31) < 0.3
    impossible[2] = False
    q = crf(image, unary.masked_fill(impossible, torch.inf))
    assert torch.equal(q[impossible], torch.zeros(int(impossible.sum()), dtype=torch.float64))
    close(q, crf(image, unary.masked_fill(impossible, 1e6)))
    q = crf(image, unary.masked_fill(impossible, torch.inf).float())
    assert torch.equal(q[impossible], torch.zeros(int(impossible.sum())))


def test_energies_of_any_size() -> None:
    image, unary = picture(3, 12, 13), torch.zeros(3, 12, 13)
    unary[1], unary[2] = 3e38, -3e38
    q = crf(image, unary)
    assert torch.equal(q, torch.tensor([0.0, 0.0, 1.0]).reshape(3, 1, 1).expand(3, 12, 13))


@cpu_only(reason="threads are the CPU's")
def test_threads_and_runs_are_bitwise_equal(threads: Callable[[int], None]) -> None:
    image, unary = picture(1, 3, 230, 300), torch.rand(1, 2, 5, 230, 300)
    results = []
    for count in (1, 2, 4, 4):
        threads(count)
        results.append(crf(image, unary, iterations=4))
    for q in results[1:]:
        assert torch.equal(q, results[0])


def arguments(kinds: list[str]) -> tuple[Any, ...]:
    compats = [torch.tensor(2.0), -torch.rand(3), torch.randn(3, 3)][: len(kinds)]
    features = [torch.randn(2, 4, 7, 9) for kind in kinds if kind == "features"]
    scales = [3.0, 3.0, 9.0, 9.0, 9.0] * len(kinds)
    unary = torch.rand(2, 2, 3, 7, 9)
    return picture(2, 3, 7, 9), unary, features, compats, kinds, scales, ["symmetric"] * len(kinds), [], 2


@traced
@pytest.mark.parametrize("name", ["crf", "crf_labels"])
@pytest.mark.parametrize("kinds", [[], ["gaussian", "bilateral", "features"]])
def test_opcheck(name: str, kinds: list[str]) -> None:
    torch.library.opcheck(getattr(torch.ops.wsss_fast, name).default, arguments(kinds))


@traced
@pytest.mark.parametrize("output", ["probs", "labels"])
def test_compile(output: str) -> None:
    def run(image: Tensor, unary: Tensor) -> Tensor:
        return crf(image, unary * 2, bilateral=Bilateral(20, 9, 4), output=output) + 1

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    image, unary = picture(2, 3, 11, 12), torch.rand(2, 3, 11, 12)
    assert torch.equal(compiled(image, unary), run(image, unary))


@traced
def test_compile_with_defaults() -> None:
    compiled = torch.compile(crf, fullgraph=True, backend="aot_eager")
    image, unary = picture(3, 11, 12), torch.rand(3, 11, 12)
    assert torch.equal(compiled(image, unary), crf(image, unary))


IMAGE, UNARY = torch.zeros(2, 3, 5, 6), torch.zeros(2, 4, 5, 6)


def with_value(tensor: Tensor, index: tuple[Any, ...], value: float) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.mark.parametrize(
    ("image", "unary", "options", "error", "words"),
    [
        (None, UNARY, {}, TypeError, ["image", "a tensor", "NoneType"]),
        (IMAGE, 3, {}, TypeError, ["unary", "a tensor", "int"]),
        (IMAGE[0, 0], UNARY, {}, ValueError, ["image", "[N,3,H,W]", "[5,6] float32"]),
        (IMAGE[:, :2], UNARY, {}, ValueError, ["image", "three channels", "[2,2,5,6]"]),
        (IMAGE.int(), UNARY, {}, TypeError, ["image", "uint8", "int32"]),
        (IMAGE.half(), UNARY, {}, TypeError, ["image", "float32", "float16"]),
        (IMAGE, UNARY[0, 0].double(), {}, ValueError, ["unary", "[N,C,H,W]", "[5,6] float64"]),
        pytest.param(
            IMAGE,
            UNARY.half(),
            {},
            TypeError,
            ["unary", "float32", "float16"],
            marks=cpu_only(reason="CUDA kernels take half precision"),
        ),
        (IMAGE, UNARY.int(), {}, TypeError, ["unary", "float32", "int32"]),
        (IMAGE[0], UNARY[0, 0], {}, ValueError, ["unary", "[C,H,W]", "[5,6]"]),
        (IMAGE[:1], UNARY, {}, ValueError, ["image", "[2,3,5,6]", "unary", "[1,3,5,6]"]),
        (IMAGE, UNARY.mT, {}, ValueError, ["image", "[2,3,6,5]", "unary", "[2,3,5,6]"]),
        (IMAGE, UNARY[:, :0], {}, ValueError, ["unary", "at least 1", "[2,0,5,6]"]),
        (IMAGE[..., :0], UNARY[..., :0], {}, ValueError, ["unary", "at least 1", "[2,4,5,0]"]),
        (IMAGE.to("meta"), UNARY, {}, ValueError, ["image", "CPU", "meta"]),
        (IMAGE, UNARY.to("meta"), {}, ValueError, ["unary", "CPU", "meta"]),
        (IMAGE, [UNARY], {}, TypeError, ["image", "list", "[2,3,5,6]"]),
        ([IMAGE], UNARY, {}, TypeError, ["unary", "list", "[2,4,5,6]"]),
        ([IMAGE], [UNARY, UNARY], {}, ValueError, ["unary", "1 tensors", "2"]),
        ([IMAGE, IMAGE], [UNARY, UNARY[0]], {}, ValueError, ["unary[1]", "[N,C,H,W]", "[4,5,6]"]),
        (IMAGE, UNARY, {"iterations": -1}, ValueError, ["iterations", "[0, ", "-1"]),
        (IMAGE, UNARY, {"iterations": 1.0}, TypeError, ["iterations", "integer", "1.0"]),
        (IMAGE, UNARY, {"capacity": 0}, ValueError, ["capacity", ">= 1", "0"]),
        (IMAGE, UNARY, {"capacity": 9.0}, TypeError, ["capacity", "integer", "9.0"]),
        (IMAGE, UNARY, {"capacity": True}, TypeError, ["capacity", "integer", "True"]),
        (IMAGE, UNARY, {"output": "label"}, ValueError, ["output", "labels", "got 'label'"]),
        (IMAGE, UNARY, {"output": None}, TypeError, ["output", "probs", "None"]),
        (IMAGE, UNARY, {"normalization": "sym"}, ValueError, ["normalization", "symmetric", "got 'sym'"]),
        (IMAGE, UNARY, {"gaussian": 3}, TypeError, ["gaussian", "Gaussian or None", "3"]),
        (IMAGE, UNARY, {"bilateral": Gaussian()}, TypeError, ["bilateral", "Bilateral", "a Gaussian"]),
        (IMAGE, UNARY, {"kernels": Gaussian()}, TypeError, ["kernels", "list", "a Gaussian"]),
        (IMAGE, UNARY, {"kernels": [None]}, TypeError, ["kernels[0]", "Gaussian", "None"]),
        (IMAGE, UNARY, {"kernels": [], "gaussian": None}, ValueError, ["kernels", "in place", "both"]),
        (
            IMAGE,
            UNARY,
            {"gaussian": Gaussian(3, [1, 2, 3])},
            ValueError,
            ["compat of kernel 0", "[4]", "[4,4]", "[3]"],
        ),
        (
            IMAGE,
            UNARY,
            {"gaussian": Gaussian(3, torch.tensor([1, 2, torch.nan, 3]))},
            ValueError,
            ["compat of kernel 0", "finite", "nan"],
        ),
        (
            IMAGE,
            UNARY,
            {"gaussian": Gaussian(3, torch.zeros(4, device="meta"))},
            ValueError,
            ["compat of kernel 0", "that of unary", "meta"],
        ),
        (
            IMAGE,
            UNARY,
            {"kernels": [Features(torch.zeros(2, 2, 6, 5))]},
            ValueError,
            ["features of kernel 0", "[2,d,5,6]", "[2,2,6,5]"],
        ),
        (
            IMAGE,
            UNARY,
            {"kernels": [Gaussian(), Features(torch.zeros(2, 17, 5, 6))]},
            ValueError,
            ["features of kernel 1", "[1, 16]", "[2,17,5,6]"],
        ),
        (
            IMAGE,
            UNARY,
            {"kernels": [Features(torch.full((2, 2, 5, 6), torch.nan))]},
            ValueError,
            ["features", "finite", "nan"],
        ),
        (
            IMAGE,
            UNARY,
            {"kernels": [Features([torch.zeros(2, 5, 6)])]},
            TypeError,
            ["features of kernel 0", "a tensor", "list"],
        ),
        (
            [IMAGE],
            [UNARY],
            {"kernels": [Features(torch.zeros(2, 2, 5, 6))]},
            ValueError,
            ["kernels[0].features", "1 tensors", "[2,2,5,6]"],
        ),
        (IMAGE, UNARY, {"gaussian": Gaussian(1e-9, 3)}, ValueError, ["gaussian", "float32", "deviations"]),
        (IMAGE, UNARY, {"bilateral": Bilateral(9, 1e-9)}, ValueError, ["bilateral", "deviations"]),
        (
            with_value(IMAGE, (1, 2, 3, 4), 255.5),
            UNARY,
            {},
            ValueError,
            ["image", "[0,255]", "255.5", "image 1, channel 2, y 3, x 4"],
        ),
        (with_value(IMAGE, (0, 0, 0, 1), -1), UNARY, {}, ValueError, ["image", "[0,255]", "-1", "x 1"]),
        (with_value(IMAGE, (0, 0, 0, 0), torch.nan), UNARY, {}, ValueError, ["image", "[0,255]", "nan"]),
        (with_value(IMAGE, (0, 0, 0, 0), torch.inf), UNARY, {}, ValueError, ["image", "[0,255]", "inf"]),
        (
            IMAGE,
            with_value(UNARY, (1, 2, 3, 4), torch.nan),
            {},
            ValueError,
            ["unary", "finite or +inf", "nan", "class 2 in image 1, unary 0, y 3, x 4"],
        ),
        (
            IMAGE,
            with_value(UNARY, (0, 0, 0, 1), -torch.inf),
            {},
            ValueError,
            ["unary", "finite or +inf", "-inf", "x 1"],
        ),
        (
            IMAGE,
            with_value(UNARY, (1, slice(None), 3, 4), torch.inf),
            {},
            ValueError,
            ["unary", "at least one class", "+inf", "image 1, unary 0, y 3, x 4"],
        ),
        (IMAGE, with_value(UNARY[:, :2], (0, 0, 0, 0), torch.nan), {}, ValueError, ["unary", "nan"]),
        (IMAGE, with_value(UNARY[:, :1], (0, 0, 0, 0), torch.nan), {}, ValueError, ["unary", "nan"]),
        (
            IMAGE,
            UNARY[:, :1],
            {"gaussian": Gaussian(3, 3e38), "bilateral": Bilateral(50, 5, 3e38)},
            ValueError,
            ["compat", "finite", "overflow"],
        ),
    ],
)
def test_bad_input(image: Any, unary: Any, options: Any, error: type[Exception], words: list[str]) -> None:
    image, unary, options = on_device((image, unary, options))
    with wsss_fast.check_values(True), pytest.raises(error) as caught:
        crf(image, unary, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Gaussian(0), ValueError, ["Gaussian.sxy", "> 0", "0"]),
        (lambda: Gaussian((3, -1)), ValueError, ["Gaussian.sxy", "(3, -1)"]),
        (lambda: Gaussian((1, 2, 3)), ValueError, ["Gaussian.sxy", "2 of them", "(1, 2, 3)"]),
        (lambda: Gaussian("3"), TypeError, ["Gaussian.sxy", "'3'"]),
        (lambda: Gaussian(True), TypeError, ["Gaussian.sxy", "True"]),
        (lambda: Gaussian(math.nan), ValueError, ["Gaussian.sxy", "nan"]),
        (lambda: Gaussian(3, math.inf), ValueError, ["Gaussian.compat", "finite", "inf"]),
        (lambda: Gaussian(3, "a"), TypeError, ["Gaussian.compat", "'a'"]),
        (lambda: Gaussian(3, None), TypeError, ["Gaussian.compat", "None"]),
        (lambda: Gaussian(3, torch.zeros(2, 3)), ValueError, ["Gaussian.compat", "[C,C]", "[2,3]"]),
        (lambda: Gaussian(3, torch.zeros(2, 2, 2)), ValueError, ["Gaussian.compat", "[2,2,2]"]),
        (lambda: Gaussian(3, torch.zeros(2, dtype=torch.bool)), TypeError, ["Gaussian.compat", "bool"]),
        (lambda: Bilateral(3, (5, 5)), ValueError, ["Bilateral.srgb", "3 of them", "(5, 5)"]),
        (lambda: Bilateral(3, math.inf), ValueError, ["Bilateral.srgb", "inf"]),
        (lambda: Bilateral(-1), ValueError, ["Bilateral.sxy", "-1"]),
        (lambda: Features(3), TypeError, ["Features.features", "tensor", "int"]),
        (lambda: Features([torch.zeros(2), None]), TypeError, ["Features.features", "NoneType"]),
    ],
)
def test_bad_kernel(make: Callable[[], Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


def test_the_image_is_not_read_without_a_bilateral_kernel() -> None:
    assert crf(torch.full((3, 5, 6), torch.nan), on_device(UNARY[0]), bilateral=None).isfinite().all()
