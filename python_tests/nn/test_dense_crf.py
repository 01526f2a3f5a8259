"""DenseCRF: against crf, and as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import close
from devices import autocast, cpu_only, on_device, traced
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian
from wsss_fast.nn import DenseCRF
from wsss_fast.reference.crf import crf as reference

pytestmark = pytest.mark.usefixtures("device")

KERNELS = [Gaussian(2.3, 2), Bilateral(21.3, 17.7, 4), Bilateral((5.3, 9.1), 40.3, 1.5)]


def problem(
    classes: int = 4, size: tuple[int, int] = (9, 11), dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    image = torch.randint(0, 256, (2, 3, 3, 4)).repeat_interleave(3, 2).repeat_interleave(3, 3)
    image = F.interpolate(image.to(torch.uint8), size)
    return image, (torch.randn(2, classes, *size, dtype=dtype) * 2).requires_grad_()


@pytest.mark.parametrize("weights_per", ["kernel", "class"])
@pytest.mark.parametrize("classes", [1, 2, 5, 21])
def test_untrained_it_is_crf(classes: int, weights_per: str) -> None:
    image, logits = problem(classes, (20, 31))
    for options in ({}, {"bilateral": None}, {"kernels": KERNELS, "normalization": "after"}, {"kernels": []}):
        expected = wsss_fast.crf(image, -logits.detach(), iterations=5, **options)
        for output in ("probs", "log_probs"):
            layer = DenseCRF(classes, weights_per=weights_per, output=output, **options)
            q = layer(image, logits)
            close(q.exp() if output == "log_probs" else q, expected)
    same = DenseCRF(classes, output="probs")(image, logits.log_softmax(1))
    close(same, DenseCRF(classes, output="probs")(image, logits))


@pytest.mark.parametrize("weights_per", ["kernel", "class"])
@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_gradients_agree_with_the_published_form(output: str, weights_per: str) -> None:
    # The paper's order: filter, weight, compatibility; here with every filter as a CRF of the reference.
    image, logits = problem(3, dtype=torch.float64)
    layer = DenseCRF(3, kernels=KERNELS, iterations=2, output=output, weights_per=weights_per).double()
    with torch.no_grad():
        layer.compatibility += 0.3 * torch.randn(3, 3)
        layer.kernel_weights += torch.rand_like(layer.kernel_weights)
    inputs = [logits, layer.kernel_weights, layer.compatibility]
    matrices = [layer.compatibility @ torch.diag(w.expand(3)) for w in layer.kernel_weights]
    kernels = [
        Gaussian(KERNELS[0].sxy, matrices[0]),
        *(Bilateral(k.sxy, k.srgb, m) for k, m in zip(KERNELS[1:], matrices[1:], strict=True)),
    ]
    truth = reference(image, -logits, iterations=2, kernels=kernels)
    truth = truth.log() if output == "log_probs" else truth
    found = layer(image, logits)
    close(found, truth)
    factor = torch.randn_like(truth)
    for gradient, expected in zip(
        torch.autograd.grad((found * factor).sum(), inputs),
        torch.autograd.grad((truth * factor).sum(), inputs),
        strict=True,
    ):
        close(gradient, expected, atol=1e-8)


def test_it_learns() -> None:
    # Noisy logits of a picture in two halves: the layer has to find out that it may smooth.
    torch.manual_seed(1)
    labels = torch.zeros(1, 16, 20, dtype=torch.int64)
    labels[:, :, 10:] = 1
    image = (labels * 150 + 50).to(torch.uint8).unsqueeze(1).expand(1, 3, 16, 20)
    noise = on_device(torch.randn(1, 2, 16, 20, device="cpu"))  # the same on every device
    logits = F.one_hot(labels, 2).permute(0, 3, 1, 2) + noise * 2
    layer = DenseCRF(2, gaussian=Gaussian(3, 0.01), bilateral=Bilateral(30, 10, 0.01))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.nll_loss(layer(image, logits), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert torch.equal(layer(image, logits).argmax(1), labels)


def test_labels_that_the_layer_holds_impossible_still_teach() -> None:
    image, logits = problem(2)
    with torch.no_grad():
        logits[:, 0], logits[:, 1] = 500, -500
    labels = torch.ones(2, 9, 11, dtype=torch.int64)
    loss = F.nll_loss(DenseCRF(2)(image, logits), labels)
    loss.backward()
    assert loss.isfinite()
    assert (logits.grad[:, 1] * 2 * 99 < -0.9).all()


def test_state_and_moves() -> None:
    layer = DenseCRF(3, weights_per="class")
    assert sorted(layer.state_dict()) == ["compatibility", "kernel_weights"]
    assert layer.kernel_weights.shape == (2, 3)
    with torch.no_grad():
        layer.kernel_weights.mul_(1.5)
    other = DenseCRF(3, weights_per="class")
    other.load_state_dict(layer.state_dict())
    image, logits = problem(3)
    assert torch.equal(layer(image, logits), other(image, logits))
    assert layer.double()(image, logits.double()).dtype == torch.float64
    assert layer(image, logits).dtype == torch.float32  # the parameters follow the logits
    assert layer.to("meta").compatibility.device.type == "meta"
    assert repr(DenseCRF(3, kernels=KERNELS[:2])) == (
        "DenseCRF(3, iterations=5, kernels=[Gaussian(sxy=2.3), Bilateral(sxy=21.3, srgb=17.7)], "
        "normalization=('symmetric', 'symmetric'), kernel_weights=[2], output='log_probs')"
    )


def test_iterations_may_change() -> None:
    image, logits = problem()
    layer = DenseCRF(4, output="probs")
    layer.iterations = 10
    close(layer(image, logits), wsss_fast.crf(image, -logits.detach(), iterations=10))


def test_frozen_parameters() -> None:
    image, logits = problem()
    layer = DenseCRF(4)
    layer.compatibility.requires_grad_(False)
    layer(image, logits)[:, 0].sum().backward()
    assert layer.compatibility.grad is None
    assert layer.kernel_weights.grad is not None


def test_autocast_takes_half_precision_as_float32() -> None:
    image, logits = problem()
    half = logits.detach().bfloat16()
    layer = DenseCRF(4)
    with autocast():
        assert torch.equal(layer(image, half), layer(image, half.float()))


def test_empty_batch() -> None:
    image, logits = problem()
    layer = DenseCRF(4)
    layer(image[:0], logits[:0]).sum().backward()
    assert (layer.compatibility.grad == 0).all()


@cpu_only(reason="threads are the CPU's")
def test_same_bits_at_any_thread_count(threads: Callable[[int], None]) -> None:
    image, logits = problem(3, (190, 200))
    layer = DenseCRF(3, iterations=2)
    results = []
    for count in (1, 2, 4, 2):
        threads(count)
        q = layer(image, logits)
        loss = F.nll_loss(q, image[:, 0].long() % 3, reduction="none")
        gradients = torch.autograd.grad(loss, [logits, *layer.parameters()], torch.ones_like(loss))
        results.append([q, *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@traced
@pytest.mark.parametrize("output", ["probs", "log_probs"])
@pytest.mark.parametrize("weights_per", ["kernel", "class"])
def test_compiles_without_graph_break(weights_per: str, output: str) -> None:
    image, logits = problem()
    layer = DenseCRF(4, weights_per=weights_per, output=output)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    inputs = [logits, *layer.parameters()]
    found, expected = compiled(image, logits), layer(image, logits)
    close(found, expected)
    factor = torch.randn_like(expected)
    for gradient, truth in zip(
        torch.autograd.grad(found, inputs, factor), torch.autograd.grad(expected, inputs, factor), strict=True
    ):
        close(gradient, truth)


IMAGE, LOGITS = torch.zeros(2, 3, 5, 6), torch.zeros(2, 4, 5, 6)


@pytest.mark.parametrize(
    ("image", "logits", "error", "message"),
    [
        (IMAGE, None, TypeError, "logits: expected a tensor"),
        (IMAGE, LOGITS[0], ValueError, r"logits: expected \[N,C,H,W\].*got \[4,5,6\]"),
        (
            IMAGE,
            LOGITS[:, :3],
            ValueError,
            r"logits: expected \[N,4,H,W\] \(the layer's classes\), got \[2,3,",
        ),
        (IMAGE, LOGITS.half(), TypeError, "logits: expected .*got .*float16"),
        (IMAGE, LOGITS.to("meta"), ValueError, "logits: expected a CPU .*tensor, got .*on meta"),
        (IMAGE[:, :2], LOGITS, ValueError, "image: expected .*three channels"),
        (IMAGE - 1, LOGITS, ValueError, r"image: expected values in \[0,255\], got -1"),
        (
            IMAGE.clone().requires_grad_(),
            LOGITS,
            ValueError,
            "image: expected a tensor that needs no gradient",
        ),
        (IMAGE, LOGITS * torch.nan, ValueError, "unary: expected energies .*nan"),
    ],
)
def test_bad_input(image: Any, logits: Any, error: type[Exception], message: str) -> None:
    image, logits = on_device((image, logits))
    with wsss_fast.check_values(True), pytest.raises(error, match=message):
        DenseCRF(4)(image, logits)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": 0}, ValueError, r"classes: expected an integer in \[1, 2147483647\], got 0"),
        ({"iterations": -1}, ValueError, "iterations: expected"),
        ({"gaussian": 3}, TypeError, "gaussian: expected a Gaussian or None"),
        ({"gaussian": Gaussian(3, [1, 2])}, ValueError, r"compat of kernel 0: expected a number .*got \[2\]"),
        (
            {"kernels": [Features(torch.zeros(1, 2, 3, 4))]},
            TypeError,
            r"kernels\[0\]: expected a Gaussian or B",
        ),
        ({"normalization": ["after"]}, ValueError, "normalization: expected a name, or 2 of them"),
        ({"weights_per": "pixel"}, ValueError, "weights_per: expected one of"),
        ({"output": "labels"}, ValueError, r"output: expected one of \['log_probs', 'probs'\]"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DenseCRF(**{"classes": 4, **options})
