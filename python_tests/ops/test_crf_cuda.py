"""crf by CUDA kernels: against the CPU's, and what only they have (capacity, half precision, streams)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import close
from devices import by_cpu, not_on_host, on_device, only_on
from test_crf import picture
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, crf
from wsss_fast._launch import _cuda_crf
from wsss_fast.ops.features import colour_features, position_features

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]
gpu_only = only_on("cuda", reason="needs a GPU")
BILATERAL = Bilateral(20, 13, 4)


def agrees_with_the_cpu(image: Tensor, unary: Tensor, **options: Any) -> None:
    """The three outputs, within the bars: 1e-5 on average, and 99.99 % of the labels."""
    expected = by_cpu(crf, image, unary, **options)
    q = crf(image, unary, **options)
    assert (q.shape, q.dtype, q.device) == (unary.shape, unary.dtype, unary.device)
    assert q.is_contiguous()
    assert (q.cpu() - expected).abs().double().mean() <= (1e-5 if q.dtype == torch.float32 else 1e-10)
    labels = crf(image, unary, output="labels", **options)
    assert labels.device == unary.device
    axis = unary.dim() - 3
    assert torch.equal(labels.long(), q.argmax(axis))
    assert (labels.cpu().long() == expected.argmax(axis)).double().mean() >= 0.9999
    close(crf(image, unary, output="log_probs", **options).exp(), q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("images", "classes", "height", "width"),
    [
        (1, 1, 9, 7),
        (2, 2, 33, 8),
        (1, 3, 47, 61),
        (3, 4, 1, 40),
        (1, 5, 40, 1),
        (2, 21, 13, 21),
        (1, 201, 5, 8),
        (3, 2, 1, 1),
    ],
)
def test_shapes(images: int, classes: int, height: int, width: int, dtype: torch.dtype) -> None:
    image = picture(images, 3, height, width)
    agrees_with_the_cpu(image, torch.rand(images, classes, height, width, dtype=dtype) * 3)


@not_on_host
@pytest.mark.parametrize("classes", [2, 21])
def test_a_whole_photograph(classes: int) -> None:
    agrees_with_the_cpu(picture(2, 3, 375, 500), torch.rand(2, classes, 375, 500) * 3)


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("form", ["scalar", "vector", "matrix"])
def test_kernels(form: str, normalization: str) -> None:
    scale = 0.02 if normalization == "none" else 1.0
    shape = {"scalar": (), "vector": (4,), "matrix": (4, 4)}[form]
    compats = [torch.randn(shape) * 4 * scale for _ in range(3)]
    kernels = [
        Gaussian((2.1, 3.7), compats[0]),
        Bilateral((30.1, 15.3), (11.0, 7.0, 23.0), compats[1]),
        Features(torch.randn(2, 3, 12, 17) * 2, compats[2]),
    ]
    image, unary = picture(2, 3, 12, 17), torch.rand(2, 4, 12, 17) * 3
    for chosen in ([kernels[0]], [kernels[1]], [kernels[2]], kernels):
        agrees_with_the_cpu(image, unary, kernels=chosen, normalization=normalization)


def test_kernels_of_several_forms_and_normalisations() -> None:
    image, unary = picture(2, 3, 12, 17), torch.rand(2, 3, 12, 17) * 3
    kernels = [Gaussian(3, 3), Bilateral(20, 13, -torch.rand(3)), Gaussian(9, torch.randn(3, 3) * 0.01)]
    for iterations in (0, 1, 2, 7):
        normalization = ["after", "symmetric", "none"]
        agrees_with_the_cpu(image, unary, kernels=kernels, normalization=normalization, iterations=iterations)


@pytest.mark.parametrize("classes", [1, 3, 21])
@pytest.mark.parametrize("sets", [1, 2, 3, 7])
def test_unaries_that_share_an_image(sets: int, classes: int) -> None:
    agrees_with_the_cpu(picture(2, 3, 6, 9), torch.rand(2, sets, classes, 6, 9) * 3, iterations=3)


@pytest.mark.parametrize("dims", range(1, 17))
def test_features_of_any_dimension(dims: int) -> None:
    # Near points, and so far ones that a key is many words long.
    image, unary = picture(2, 3, 6, 9), torch.rand(2, 3, 6, 9, dtype=torch.float64) * 3
    for distance in (1.0, 1500.0):
        guide = torch.randn(2, dims, 6, 9, dtype=torch.float64)
        guide[..., ::2] += distance
        guide[..., ::3] -= distance
        agrees_with_the_cpu(image, unary, kernels=[Features(guide, 4)], iterations=2)


def test_many_pixels_on_one_vertex(device: str) -> None:
    # The kernels are so wide, and the image so flat, that all pixels lie in one simplex or two.
    height, width = (40, 50) if device == "cuda-host" else (375, 500)
    image = torch.full((2, 3, height, width), 100, dtype=torch.uint8)
    unary = torch.rand(2, 3, height, width) * 3
    kernels = [Gaussian(5000, 2), Bilateral(3000, 200, 3)]
    for normalization in ("symmetric", "after"):
        options: dict[str, Any] = {"kernels": kernels, "normalization": normalization, "iterations": 3}
        agrees_with_the_cpu(image, unary.double(), **options)
        # The CPU adds 187,500 numbers to a vertex one by one, which in float32 is 2e-5 off.
        expected = by_cpu(crf, image, unary.double(), **options)
        assert (crf(image, unary, **options).cpu() - expected).abs().mean() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    image, unary = picture(2, 3, 14, 23), (torch.rand(2, 5, 14, 23) * 3).to(dtype)
    single = unary.float()
    step = torch.finfo(dtype).eps
    for options in ({}, {"kernels": [Gaussian(3, torch.randn(5, 5)), BILATERAL]}):
        expected = crf(image, single, **options)
        log_expected = crf(image, single, output="log_probs", **options)
        q = crf(image, unary, **options)
        assert q.dtype == dtype
        close(q.float(), expected, rtol=step, atol=step)
        labels = crf(image, unary, output="labels", **options)
        assert (labels == expected.argmax(1)).double().mean() >= 0.9999
        log_q = crf(image, unary, output="log_probs", **options)
        assert log_q.dtype == dtype
        close(log_q.float(), log_expected, rtol=step, atol=step)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision(dtype: torch.dtype) -> None:
    image, weight = picture(2, 3, 9, 11), torch.tensor(3.0, requires_grad=True)
    unary = (torch.rand(2, 4, 9, 11) * 3).to(dtype).requires_grad_()
    single = unary.detach().float().requires_grad_()
    factor = torch.randn(2, 4, 9, 11)
    kernels = [Gaussian(3, weight), Bilateral(20, 13, weight)]
    found, expected = (
        torch.autograd.grad((crf(image, u, kernels=kernels).float() * factor).sum(), (u, weight))
        for u in (unary, single)
    )
    # Q and its gradient are rounded to half precision, each number by itself: in a sum that adds up as a
    # random walk does.
    step = torch.finfo(dtype).eps
    for gradient, truth, like in zip(found, expected, (unary, weight), strict=True):
        assert gradient.dtype == like.dtype
        summed = unary.numel() if like is weight else 1
        close(gradient.float(), truth, rtol=8 * step, atol=8 * step * summed**0.5)


def test_two_runs_are_bitwise_equal(device: str) -> None:
    height, width = (21, 33) if device == "cuda-host" else (190, 211)
    image, unary = picture(2, 3, height, width), torch.rand(2, 5, height, width, requires_grad=True)
    compats = [torch.tensor(3.0), -torch.rand(5), torch.randn(5, 5)]
    inputs = [unary, *(compat.requires_grad_() for compat in compats)]
    kernels = [Gaussian(3, compats[0]), Bilateral(50, 9, compats[1]), Bilateral(20, 20, compats[2])]
    weights = torch.randn(2, 5, height, width)
    for output in ("probs", "log_probs"):
        results = []
        for _ in range(2):
            q = crf(image, unary, kernels=kernels, iterations=2, output=output)
            results.append([q, *torch.autograd.grad(q, inputs, weights)])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("output", ["probs", "log_probs", "labels"])
def test_images_of_a_batch_equal_single_ones(output: str) -> None:
    # Of different numbers of vertices.
    image, unary = picture(4, 3, 15, 22), torch.rand(4, 3, 15, 22)
    image[1] = 7
    image[2] = torch.randint(0, 256, (3, 15, 22))
    guide = torch.randn(4, 2, 15, 22) * torch.tensor([1.0, 0.0, 9.0, 30.0]).reshape(4, 1, 1, 1)
    kernels = [Gaussian(3, 3), BILATERAL]
    q = crf(image, unary, kernels=[*kernels, Features(guide, 2)], output=output)
    for n in range(4):
        alone = crf(image[n], unary[n], kernels=[*kernels, Features(guide[n], 2)], output=output)
        assert torch.equal(q[n], alone)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_groups_of_images_that_memory_holds(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, unary = picture(5, 3, 9, 14), torch.rand(5, 2, 3, 9, 14)
    kernels = [Gaussian(3, 3), BILATERAL, Features(torch.randn(5, 2, 9, 14), 2)]
    for options in ({}, {"output": "labels"}, {"capacity": 9 * 14 * 6}):
        expected = crf(image, unary, kernels=kernels, **options)
        with monkeypatch.context() as patch, wsss_fast.check_values(True):
            patch.setattr(_cuda_crf, "_images_at_once", lambda *of: step)
            assert torch.equal(crf(image, unary, kernels=kernels, **options), expected)


def test_how_many_images_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    # However little there is, one goes through.
    unary = torch.rand(4, 1, 3, 9, 14)
    monkeypatch.setattr(_cuda_crf, "_BYTES_ON_HOST", 1)
    assert _cuda_crf._images_at_once(unary.cpu(), [], torch.float32) == 1
    monkeypatch.setattr(_cuda_crf, "_BYTES_ON_HOST", 10 * 9 * 14 * 3 * 6 * 4)
    assert _cuda_crf._images_at_once(unary.cpu(), [], torch.float32) == 10


def test_nothing_to_look_at() -> None:
    with wsss_fast.check_values(True):
        for images, sets in ((0, 1), (2, 0)):
            q = crf(torch.zeros(images, 3, 9, 8), torch.zeros(images, sets, 5, 9, 8), capacity=9)
            assert q.shape == (images, sets, 5, 9, 8)


# --- capacity --------------------------------------------------------------------------------------------


def images_of_several_sizes() -> tuple[Tensor, Tensor, list[int]]:
    """Images, unaries, and how many vertices BILATERAL's lattice of each image has: the second most."""
    image, unary = picture(3, 3, 13, 18), torch.rand(3, 4, 13, 18)
    image[0] = 7
    image[1] = torch.randint(0, 256, (3, 13, 18))
    features = [colour_features(i, BILATERAL.scales[:2], BILATERAL.scales[2:], unary) for i in image]
    return image, unary, wsss_fast.PermutohedralLattice(torch.stack(features)).vertices


def test_a_sufficient_capacity_changes_nothing() -> None:
    image, unary, counts = images_of_several_sizes()
    y_and_x = position_features(13, 18, (3, 3), unary)
    most = max(*counts, *wsss_fast.PermutohedralLattice(y_and_x).vertices)
    for kernels in ([BILATERAL], [Gaussian(3, 3), BILATERAL]):
        for output in ("probs", "log_probs", "labels"):
            options: dict[str, Any] = {"kernels": kernels, "output": output}
            expected = crf(image, unary, **options)
            with wsss_fast.check_values(True):
                assert torch.equal(crf(image, unary, capacity=most, **options), expected)
            assert torch.equal(crf(image, unary, capacity=10 * most, **options), expected)


@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_an_image_beyond_the_capacity_is_nan(output: str) -> None:
    image, unary, counts = images_of_several_sizes()
    assert counts[0] < counts[2] < counts[1]
    options: dict[str, Any] = {"kernels": [BILATERAL], "output": output}
    expected = crf(image, unary, **options)
    for capacity in (counts[1] - 1, counts[2], counts[2] - 1, counts[0], 1):
        q = crf(image, unary, capacity=capacity, **options)
        for n, count in enumerate(counts):
            assert q[n].isnan().all() if count > capacity else torch.equal(q[n], expected[n])
        with (
            wsss_fast.check_values(True),
            pytest.raises(ValueError, match=f"capacity of kernel 0: expected .*got {capacity} "),
        ):
            crf(image, unary, capacity=capacity, **options)


def test_labels_beyond_the_capacity() -> None:
    image, unary, counts = images_of_several_sizes()
    options: dict[str, Any] = {"kernels": [BILATERAL], "output": "labels"}
    labels = crf(image, unary, capacity=counts[2], **options)
    expected = crf(image, unary, **options)
    assert torch.equal(labels[[0, 2]], expected[[0, 2]])
    with wsss_fast.check_values(True), pytest.raises(ValueError, match="capacity of kernel 0: expected"):
        crf(image, unary, capacity=counts[2], **options)


def test_gradients_with_a_capacity() -> None:
    image, unary, counts = images_of_several_sizes()
    weight = torch.tensor(3.0, requires_grad=True)
    inputs, weights = [unary.requires_grad_(), weight], torch.randn(unary.shape)
    expected, found = (
        torch.autograd.grad(
            crf(image, unary, kernels=[Bilateral(20, 13, weight)], capacity=capacity), inputs, weights
        )
        for capacity in (None, max(counts))
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    (gradient,) = torch.autograd.grad(
        crf(image, unary, kernels=[BILATERAL], capacity=counts[2]), [unary], weights
    )
    (truth,) = torch.autograd.grad(crf(image, unary, kernels=[BILATERAL]), [unary], weights)
    assert torch.equal(gradient[[0, 2]], truth[[0, 2]])
    assert gradient[1].isnan().any()


# --- bad values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["probs", "log_probs", "labels"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38, 256.0, -1.0])
def test_a_bad_value_of_an_image_stays_there(value: float, output: str) -> None:
    image, unary = picture(3, 3, 9, 14).float(), torch.rand(3, 4, 9, 14)
    expected = crf(image, unary, output=output)
    image[1, 2, 3, 4] = value
    only_the_second_is_nan(crf(image, unary, output=output), expected)


@pytest.mark.parametrize("output", ["probs", "log_probs", "labels"])
@pytest.mark.parametrize(
    ("classes", "value"), [(slice(2, 3), torch.nan), (slice(2, 3), -torch.inf), (slice(None), torch.inf)]
)
def test_a_bad_unary_stays_in_its_image(classes: slice, value: float, output: str) -> None:
    image, unary = picture(3, 3, 9, 14), torch.rand(3, 4, 9, 14)
    expected = crf(image, unary, output=output)
    unary[1, classes, 3, 4] = value
    only_the_second_is_nan(crf(image, unary, output=output), expected)


@pytest.mark.parametrize("output", ["probs", "log_probs", "labels"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e7, -3e38])
def test_bad_features_stay_in_their_image(value: float, output: str) -> None:
    image, unary, guide = picture(3, 3, 9, 14), torch.rand(3, 4, 9, 14), torch.randn(3, 2, 9, 14)
    expected = crf(image, unary, kernels=[Features(guide, 3)], output=output)
    guide[1, 0, 3, 4] = value
    only_the_second_is_nan(crf(image, unary, kernels=[Features(guide, 3)], output=output), expected)


def only_the_second_is_nan(found: Tensor, expected: Tensor) -> None:
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    if found.is_floating_point():  # no label is NaN
        assert found[1].isnan().any()


def test_a_bad_unary_has_bad_gradients_in_its_image_only() -> None:
    image, unary, weights = picture(3, 3, 9, 14), torch.rand(3, 4, 9, 14), torch.randn(3, 4, 9, 14)

    def gradient() -> Tensor:
        u = unary.clone().requires_grad_()
        return torch.autograd.grad(crf(image, u), u, weights)[0]

    expected = gradient()
    unary[1, 2, 3, 4] = torch.nan
    only_the_second_is_nan(gradient(), expected)


def test_an_overflow_is_nan() -> None:
    image, unary = picture(3, 5, 6), torch.rand(1, 5, 6)
    huge = {"gaussian": Gaussian(3, 3e38), "bilateral": Bilateral(50, 5, 3e38)}
    assert crf(image, unary, **huge).isnan().any()


# --- a GPU -----------------------------------------------------------------------------------------------

HOST_KERNELS = [Gaussian(3, [-1.0, -2.0, -3.0]), Bilateral(20, 13, [[-4.0, 1.0, 0.0]] * 3)]


@gpu_only
def test_compats_that_are_lists_go_where_the_unary_is() -> None:
    # The kernels were made where the CPU is the default device.
    image, unary = picture(3, 9, 14), torch.rand(3, 9, 14)
    assert torch.equal(
        crf(image, unary, kernels=HOST_KERNELS), crf(image, unary, kernels=on_device(HOST_KERNELS))
    )


@gpu_only
@pytest.mark.parametrize("output", ["probs", "labels"])
def test_a_graph_is_captured_and_takes_new_values(output: str) -> None:
    problems = [(picture(2, 3, 40, 60), torch.rand(2, 5, 40, 60)) for _ in range(3)]
    options: dict[str, Any] = {"output": output, "capacity": 40 * 60 * 6}
    expected = [crf(image, unary, **options) for image, unary in problems]
    image, unary = (tensor.clone() for tensor in problems[0])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = crf(image, unary, **options)
    for (new_image, new_unary), truth in zip(problems, expected, strict=True):
        image.copy_(new_image)
        unary.copy_(new_unary)
        graph.replay()
        assert torch.equal(out, truth)


@gpu_only
def test_with_a_capacity_nothing_waits_for_the_device() -> None:
    image, unary = picture(2, 3, 40, 60), torch.rand(2, 5, 40, 60)
    options: dict[str, Any] = {"capacity": 40 * 60 * 6}
    crf(image, unary, **options)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(2_000_000_000)  # about a second
        crf(image, unary, **options)
        done.record()
        assert not done.query()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.synchronize()


@gpu_only
def test_work_goes_to_the_current_stream() -> None:
    image, unary = picture(2, 3, 40, 60), torch.rand(2, 5, 40, 60)
    expected = crf(image, unary)
    late = torch.full_like(unary, torch.nan)
    torch.cuda.synchronize()
    for options in ({}, {"capacity": 40 * 60 * 6}):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)
            late.copy_(unary)
            q = crf(image, late, **options)
        stream.synchronize()
        assert torch.equal(q, expected)
        late.fill_(torch.nan)
        torch.cuda.synchronize()


@gpu_only
def test_a_device_that_is_not_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    image, unary = picture(2, 3, 14, 22), torch.rand(2, 5, 14, 22, requires_grad=True)
    there = image.to("cuda:1"), unary.detach().to("cuda:1").requires_grad_()
    q, moved = crf(image, unary), crf(*there)
    assert moved.device == torch.device("cuda", 1)
    assert torch.equal(moved.to(q.device), q)
    (gradient,) = torch.autograd.grad(moved[:, 0].sum(), there[1])
    assert torch.equal(gradient.to(q.device), torch.autograd.grad(q[:, 0].sum(), unary)[0])
