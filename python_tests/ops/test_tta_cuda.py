"""tta_merge by CUDA kernels: against the CPU's, and what only they have (half precision, NaN, streams)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import close
from devices import by_cpu, only_on
from test_tta import ACTIVATION, SHAPES, Network, random_logits
from torch import Tensor

import wsss_fast.nn.tta
from wsss_fast import tta_merge

pytestmark = [
    pytest.mark.usefixtures("device"),
    only_on("cuda", "cuda-host", reason="about the CUDA kernels"),
]
gpu_only = only_on("cuda", reason="needs a GPU")

MOST_HELD = 288  # classes of a softmax whose exponentials a block may hold; its own make them


def agrees_with_the_cpu(logits: list[Tensor], size: tuple[int, int], **options: Any) -> None:
    """To the bit where no exponential is the device's own: those of float64 and of a softmax that is held."""
    mean, expected = tta_merge(logits, size, **options), by_cpu(tta_merge, logits, size, **options)
    assert (mean.shape, mean.dtype, mean.device) == (expected.shape, expected.dtype, logits[0].device)
    assert mean.is_contiguous()
    classes = logits[0].shape[1]
    softmax = options.get("activation", "softmax") == "softmax"
    if mean.dtype == torch.float64 or (softmax and classes <= MOST_HELD):
        close(mean.cpu(), expected, rtol=1e-5, atol=1e-7)
    else:
        assert torch.equal(mean.cpu(), expected)
    labels = tta_merge(logits, size, output="labels", **options)
    assert labels.device == logits[0].device
    assert torch.equal(labels.long(), mean.argmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATION)
@pytest.mark.parametrize(("n", "c", "sizes", "size"), SHAPES)
def test_shapes(n: int, c: int, sizes: Any, size: Any, activation: str, dtype: torch.dtype) -> None:
    flipped = [i % 2 == 1 for i in range(len(sizes))]
    agrees_with_the_cpu(random_logits(n, c, sizes, dtype), size, flipped=flipped, activation=activation)


# What one thread holds, what several hold together, and what none does.
@pytest.mark.parametrize("classes", [1, 3, 4, 5, 7, 8, 9, 23, 24, 25, 48, 49, 97, 201, 287, 288, 289, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_classes(classes: int, dtype: torch.dtype) -> None:
    for activation in ACTIVATION:
        logits = random_logits(2, classes, [(3, 4), (3, 4), (5, 2)], dtype)
        agrees_with_the_cpu(logits, (5, 7), flipped=[False, True, True], activation=activation)


def test_as_many_inputs_as_there_is_room_for() -> None:
    flipped = [i % 3 == 0 for i in range(32)]
    logits = random_logits(1, 3, [(3 + i % 7, 2 + i % 5) for i in range(32)])
    agrees_with_the_cpu(logits, (9, 11), flipped=flipped)
    agrees_with_the_cpu([z.double() for z in logits], (9, 11), flipped=flipped)
    with pytest.raises(ValueError, match=r"logits: expected at most 32 tensors \(on CUDA\), got 33 of them"):
        tta_merge([*logits, logits[0]], (9, 11), flipped=[*flipped, True])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("activation", ACTIVATION)
@pytest.mark.parametrize("classes", [2, 21, 40, 300])
def test_half_precision_is_rounded_once(classes: int, activation: Any, dtype: torch.dtype) -> None:
    logits = [z.to(dtype) for z in random_logits(2, classes, [(3, 4), (5, 2)])]
    single = [z.float() for z in logits]
    options: dict[str, Any] = {"flipped": [False, True], "activation": activation}
    mean = tta_merge(logits, (6, 5), **options)
    assert mean.dtype == dtype
    assert torch.equal(mean, tta_merge(single, (6, 5), **options).to(dtype))
    labels = tta_merge(logits, (6, 5), output="labels", **options)
    assert torch.equal(labels, tta_merge(single, (6, 5), output="labels", **options))


@pytest.mark.parametrize("classes", [3, 40, 300])
@pytest.mark.parametrize("output", ["mean", "labels"])
def test_an_image_does_not_depend_on_its_batch(output: Any, classes: int) -> None:
    logits = random_logits(4, classes, [(3, 4), (5, 2)])
    options: dict[str, Any] = {"flipped": [False, True], "output": output}
    whole = tta_merge(logits, (6, 5), **options)
    assert torch.equal(whole, tta_merge(logits, (6, 5), **options))
    for n in range(4):
        assert torch.equal(tta_merge([z[n : n + 1] for z in logits], (6, 5), **options)[0], whole[n])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_module_hands_half_precision_on(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.dtype] = []

    def merge(logits: list[Tensor], *arguments: Any, **options: Any) -> Tensor:
        given.extend(z.dtype for z in logits)
        return tta_merge(logits, *arguments, **options)

    monkeypatch.setattr(wsss_fast.nn.tta, "tta_merge", merge)
    result = wsss_fast.nn.TTA(Network().to(dtype).eval(), (1, 2))(torch.rand(1, 3, 16, 24, dtype=dtype))
    assert given == [dtype] * 4
    assert result.dtype == dtype


# --- bad values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("activation", ACTIVATION)
@pytest.mark.parametrize("classes", [4, 40, 300])
def test_a_bad_value_stays_in_the_pixels_that_it_touches(classes: int, activation: Any, value: float) -> None:
    good = random_logits(3, classes, [(8, 8), (5, 6)])
    bad = [good[0].clone(), good[1]]
    bad[0][1, 2, 5, 6] = value
    options: dict[str, Any] = {"flipped": [False, True], "activation": activation}
    expected, found = tta_merge(good, (16, 16), **options), tta_merge(bad, (16, 16), **options)
    touched = torch.zeros(3, classes, 16, 16, dtype=torch.bool)
    touched[1, slice(None) if activation == "softmax" else 2, 9:13, 11:15] = True
    assert found[touched].isnan().all()
    assert torch.equal(found[~touched], expected[~touched])
    labels = tta_merge(bad, (16, 16), output="labels", **options)
    sure = ~touched.any(1)
    assert torch.equal(labels[sure].long(), expected.argmax(1)[sure])


@pytest.mark.parametrize("classes", [4, 40, 300])
def test_a_pixel_of_nothing_but_infinities_is_nan(classes: int) -> None:
    logits = random_logits(2, classes, [(3, 4)])
    for value in (torch.inf, -torch.inf):
        logits[0][1] = value
        for activation in ACTIVATION:
            mean = tta_merge(logits, (5, 7), flipped=[False], activation=activation)  # type: ignore[arg-type]
            assert mean[0].isfinite().all()
            assert mean[1].isnan().all()


def test_a_sum_that_overflows_is_nan() -> None:
    z = torch.rand(3, 2, 4, 4)
    z[1, 1] = 3e38
    mean = tta_merge([z, z], (7, 9), flipped=[False, True], activation="none")
    wrong = torch.zeros(3, 2, dtype=torch.bool)
    wrong[1, 1] = True
    assert mean[wrong].isnan().all()
    assert mean[~wrong].isfinite().all()


# --- a GPU -----------------------------------------------------------------------------------------------


@gpu_only
def test_labels_need_next_to_no_memory() -> None:
    """Less than a hundredth of the mean that they are the argmax of."""
    flipped = [False, True] * 3
    logits = [torch.randn(1, 201, n, n) for n in (64, 64, 128, 128, 256, 256)]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    labels = tta_merge(logits, (512, 512), flipped=flipped, output="labels")
    torch.cuda.synchronize()
    grown = torch.cuda.max_memory_allocated() - before - labels.numel()
    assert grown < 201 * 512 * 512 * 4 // 100


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_looking_sees_what_is_no_number_in_half_precision(dtype: torch.dtype, value: float) -> None:
    logits = [torch.full((1, 2, 3, 4), torch.finfo(dtype).max / 8, dtype=dtype)]
    with wsss_fast.check_values(True):
        assert tta_merge(logits, (3, 4), flipped=[False]).isfinite().all()
        logits[0][0, 1, 2, 3] = value
        with pytest.raises(ValueError, match=r"logits\[0\]: expected finite values, got .* \[0, 1, 2, 3\]"):
            tta_merge(logits, (3, 4), flipped=[False])
