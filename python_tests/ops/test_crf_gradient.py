"""The gradient of crf: numerically, and against autograd through the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import close
from devices import autocast, cpu_only, gradcheck, not_on_host, traced
from test_crf import picture
from torch import Tensor

from wsss_fast import Bilateral, Features, Gaussian, check_values, crf
from wsss_fast.ops import crf_backward, mean_field
from wsss_fast.reference.crf import crf as reference

pytestmark = pytest.mark.usefixtures("device")

NORMALIZATIONS = ["symmetric", "before", "after", "none"]
SHAPES = [(2, 3, 5, 6), (1, 1, 5, 4), (2, 3, 2, 4, 5), (1, 30, 2, 3, 4), (1, 2, 1, 7), (1, 2, 1, 1)]


def compats_of(form: str, classes: int, scale: float = 1.0) -> list[Tensor]:
    """One for each of three kernels."""
    shape = {"scalar": (), "vector": (classes,), "matrix": (classes, classes)}[form]
    return [(torch.randn(shape, dtype=torch.float64) * scale).requires_grad_() for _ in range(3)]


def problem(
    *shape: int, form: str = "scalar", scale: float = 1.0
) -> tuple[Tensor, Tensor, list[Tensor], Any]:
    """Image, unary, compats, and a function that makes kernels of compats, for a unary of the shape."""
    image = picture(shape[0], 3, *shape[-2:])
    unary = (torch.rand(shape, dtype=torch.float64) * 3).requires_grad_()
    guide = torch.randn(shape[0], 4, *shape[-2:], dtype=torch.float64)

    def kernels(compats: Any) -> list[Any]:
        one, two, three = compats
        return [
            Gaussian((2.1, 3.7), one),
            Bilateral((8.1, 5.3), (31.0, 41.0, 53.0), two),
            Features(guide, three),
        ]

    return image, unary, compats_of(form, shape[-3], scale), kernels


@pytest.mark.parametrize("output", ["probs", "log_probs"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("form", ["scalar", "vector", "matrix"])
def test_gradcheck(form: str, normalization: str, output: str, device: str) -> None:
    scale = 0.1 if normalization == "none" else 1.0
    image, unary, compats, kernels = problem(2, 3, 3, 4, form=form, scale=scale)
    for iterations in (0, 1, 3) if device != "cuda-host" else (2,):

        def run(u: Tensor, *c: Tensor, iterations: int = iterations) -> Tensor:
            return crf(
                image,
                u,
                kernels=kernels(c),
                iterations=iterations,
                normalization=normalization,
                output=output,
            )

        assert gradcheck(run, (unary, *compats))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["scalar", "vector", "matrix"])
@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_reference(shape: tuple[int, ...], form: str, iterations: int, device: str) -> None:
    image, unary, compats, kernels = problem(*shape, form=form)
    alike = NORMALIZATIONS[:3] if device != "cuda-host" else []
    for normalization in [*alike, ["none", "after", "symmetric"]]:
        options: dict[str, Any] = {"iterations": iterations, "normalization": normalization}
        if normalization[0] == "none":
            compats[0].data *= 0.1
        weights = torch.randn(shape, dtype=torch.float64)
        expected = reference(image, unary, kernels=kernels(compats), **options)
        for output, truth in (("probs", expected), ("log_probs", expected.log())):
            found = crf(image, unary, kernels=kernels(compats), output=output, **options)
            close(found, truth)
            inputs = [unary, *compats]
            gradients = torch.autograd.grad((found * weights).sum(), inputs)
            truths = torch.autograd.grad(
                (truth * weights).sum(), inputs, retain_graph=True, materialize_grads=True
            )
            for gradient, true_gradient in zip(gradients, truths, strict=True):
                close(gradient, true_gradient, atol=1e-8)


@not_on_host
@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_float32_and_several_bands(output: str) -> None:
    # More pixels than one band of the lattice holds, and than are summed at once.
    image, unary = picture(1, 3, 180, 200), torch.rand(1, 3, 180, 200) * 3
    matrix = -torch.eye(3) - torch.rand(3, 3) * 0.3
    inputs = [unary, torch.tensor(2.0), matrix]

    def gradients(run: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
        u, w, m = (t.to(dtype, copy=True).requires_grad_() for t in inputs)
        q = run(image, u, kernels=[Gaussian(2.9, w), Bilateral(41.3, 13.7, m)], iterations=3)
        if run is reference and output == "log_probs":
            q = q.log()
        return torch.autograd.grad((q * unary.to(dtype)).mean((0, 1)).sum(), (u, w, m))

    found = gradients(lambda *a, **k: crf(*a, output=output, **k), torch.float32)
    for gradient, truth in zip(found, gradients(reference, torch.float64), strict=True):
        scale = truth.abs().max().item()
        # Positions in float32 are a rounding error away, and barycentric weights by as much.
        close(gradient, truth, rtol=1e-4, atol=1e-4 * scale)


def test_single_batch_and_list_agree() -> None:
    image, unary = picture(3, 9, 11), torch.rand(4, 9, 11, requires_grad=True)
    weight = torch.tensor(4.0, requires_grad=True)

    def gradients(make: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad((make() * unary.detach()).sum(), (unary, weight))

    kernels = [Gaussian(3, weight), Bilateral(20, 20, weight)]
    expected = gradients(lambda: crf(image, unary, kernels=kernels))
    for make in (
        lambda: crf(image[None], unary[None], kernels=kernels)[0],
        lambda: crf(image, unary[None], kernels=kernels)[0],
        lambda: crf([image], [unary], kernels=kernels)[0],
    ):
        for gradient, truth in zip(gradients(make), expected, strict=True):
            assert torch.equal(gradient, truth)
    sizes = [(9, 11), (5, 6)]
    unaries = [torch.rand(2, *s, requires_grad=True) for s in sizes]
    images = [picture(3, *s) for s in sizes]
    found = torch.autograd.grad(sum(q[0].sum() for q in crf(images, unaries)), unaries)
    for gradient, i, u in zip(found, images, unaries, strict=True):
        assert torch.equal(gradient, torch.autograd.grad(crf(i, u)[0].sum(), u)[0])


@cpu_only(reason="CUDA always works on groups")
@pytest.mark.parametrize("form", ["scalar", "vector", "matrix"])
def test_groups_of_images(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on CUDA: several images at a time, and all of their pixels, here more than the CPU takes at once.
    images, sets, classes, pixels, iterations = 3, 2, 2, 83 * 50, 3
    image, unary, compats, kernels = problem(images, sets, classes, 83, 50, form=form)
    weights = torch.randn(unary.shape, dtype=torch.float64)
    built: list[int] = []
    lattice_build = mean_field._launch.lattice_build

    def counted(features: Tensor, capacity: int | None) -> Any:
        built.append(features.shape[0])
        return lattice_build(features, capacity)

    def gradients() -> tuple[Tensor, ...]:
        q = crf(image, unary, kernels=kernels(compats), iterations=iterations)
        built.clear()
        return torch.autograd.grad((q * weights).sum(), [unary, *compats])

    monkeypatch.setattr(mean_field._launch, "lattice_build", counted)
    expected = gradients()
    assert built == [1] * (1 + 2 * images)
    for module in (mean_field, crf_backward):
        monkeypatch.setattr(module, "on_cuda", lambda value: True)
    of_a_set = (iterations + crf_backward._WORKED_ON) * classes * pixels
    # All images; groups of two and one; one set at a time.
    for room, sizes in ((99, [1, 3, 3]), (2 * sets, [1, 2, 2, 1, 1]), (1, [1] * 7)):
        monkeypatch.setattr(crf_backward, "_VALUES_AT_ONCE", room * of_a_set)
        found = gradients()
        assert built == sizes
        for gradient, truth in zip(found, expected, strict=True):
            close(gradient, truth)


@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_an_impossible_class_has_no_gradient(output: str) -> None:
    image, unary = picture(3, 9, 11), torch.rand(4, 9, 11, dtype=torch.float64) * 3
    impossible = torch.rand(4, 9, 11) < 0.4
    impossible[2] = False
    weights = torch.randn(4, 9, 11, dtype=torch.float64).masked_fill(impossible, 0)
    weight = torch.tensor(3.0, requires_grad=True)

    def gradients(energy: float) -> tuple[Tensor, ...]:
        u = unary.masked_fill(impossible, energy).requires_grad_()
        q = crf(image, u, gaussian=Gaussian(3, weight), bilateral=Bilateral(20, 20, 5), output=output)
        return torch.autograd.grad((q * weights).masked_fill(impossible, 0).sum(), (u, weight))

    for gradient, truth in zip(gradients(torch.inf), gradients(1e3), strict=True):
        assert gradient.isfinite().all()
        close(gradient, truth)
    assert (gradients(torch.inf)[0][impossible] == 0).all()
    # Whatever a loss says about such a class: 0 * log 0 has the gradient NaN.
    u = unary.masked_fill(impossible, torch.inf).requires_grad_()
    q = crf(image, u, output=output)
    (gradient,) = torch.autograd.grad(q, u, weights.masked_fill(impossible, torch.nan))
    assert gradient.isfinite().all()
    assert (gradient[impossible] == 0).all()


def test_log_probs_where_probabilities_vanish() -> None:
    image = picture(3, 8, 9)
    unary = torch.zeros(2, 8, 9)
    unary[1] = 300.0  # e^-300 is 0 in float32
    unary.requires_grad_()
    weight = torch.tensor(2.0, requires_grad=True)
    kernels = [Gaussian(3, weight)]
    assert (crf(image, unary, kernels=kernels)[1] == 0).all()
    log_q = crf(image, unary, kernels=kernels, output="log_probs")
    truth = crf(image, unary.double(), kernels=kernels, output="probs").log()
    close(log_q, truth)
    gradient, of_weight = torch.autograd.grad(-log_q[1].sum(), (unary, weight))
    expected = torch.autograd.grad(-truth[1].sum(), (unary, weight))
    close(gradient, expected[0])
    close(of_weight, expected[1])
    assert (gradient[1] > 0.9).all()


def test_log_probs_are_the_logarithm() -> None:
    image, unary = picture(2, 3, 13, 21), torch.rand(2, 3, 5, 13, 21) * 4
    for iterations in (0, 1, 6):
        q = crf(image, unary, iterations=iterations)
        log_q = crf(image, unary, iterations=iterations, output="log_probs")
        assert log_q.is_contiguous()
        close(log_q.exp(), q)
    for kernels in ([], [Gaussian(3, 0)]):
        close(crf(image, unary, kernels=kernels, output="log_probs"), (-unary).log_softmax(2))
    assert crf(image[:0], unary[:0], output="log_probs").shape == (0, 3, 5, 13, 21)
    impossible = unary.clone()
    impossible[:, :, 1] = torch.inf
    assert (crf(image, impossible, output="log_probs")[:, :, 1] == -torch.inf).all()


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_log_probs_refuse_what_probs_refuse(iterations: int) -> None:
    image, unary = picture(3, 5, 6), torch.rand(1, 5, 6)
    huge = {"gaussian": Gaussian(3, 3e38), "bilateral": Bilateral(50, 5, 3e38), "iterations": iterations}
    overflow = "compat: expected weights that keep energies finite, got an overflow"
    with check_values(True):
        if iterations:
            with pytest.raises(ValueError, match=overflow):
                crf(image, unary, output="log_probs", **huge)
        unary[0, 1, 2] = torch.nan
        with pytest.raises(ValueError, match=r"unary: expected .*nan"):
            crf(image, unary, iterations=iterations, output="log_probs")
        with pytest.raises(ValueError, match=r"image: expected values in \[0,255\]"):
            crf(image.float() + 200, unary.zero_(), iterations=iterations, output="log_probs")


def test_only_what_is_needed_is_computed() -> None:
    image, unary, compats, kernels = problem(1, 3, 5, 6, form="matrix")
    full = torch.autograd.grad(crf(image, unary, kernels=kernels(compats))[0, 0].sum(), [unary, *compats])
    for wanted in ([True, False, False, False], [False, False, True, False], [False, True, False, True]):
        inputs = [t.detach().requires_grad_(w) for t, w in zip([unary, *compats], wanted, strict=True)]
        q = crf(image, inputs[0], kernels=kernels(inputs[1:]))
        q[0, 0].sum().backward()
        for tensor, truth, want in zip(inputs, full, wanted, strict=True):
            assert (tensor.grad is not None) == want
            assert tensor.grad is None or torch.equal(tensor.grad, truth)
        flags = [False, *[w and not all(wanted) for w in wanted[1:]]]
        results = torch.ops.wsss_fast.crf_backward(q.detach()[:, None], *arguments(3), flags)
        assert [r.numel() > 0 for r in results] == flags
    assert not crf(image, unary.detach(), kernels=kernels([1, 2, 3])).requires_grad
    assert not crf(image, unary, output="labels").requires_grad


def arguments(count: int) -> tuple[Any, ...]:
    """Those of the ops, for a unary [1,1,3,5,6]."""
    image, unary = picture(1, 3, 5, 6), torch.rand(1, 1, 3, 5, 6, dtype=torch.float64)
    kinds = ["gaussian", "bilateral", "features"][:count]
    compats = [torch.randn(s, dtype=torch.float64) for s in ((), (3,), (3, 3))][:count]
    features = [torch.randn(1, 4, 5, 6, dtype=torch.float64)] * (count == 3)
    scales = [3.0, 4.0, 9.0, 9.0, 9.0] * count
    return image, unary, features, compats, kinds, scales, ["symmetric"] * count, [], 2


def test_empty_batch_and_no_kernels() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    unary = torch.rand(0, 3, 4, 5, requires_grad=True)
    crf(torch.zeros(0, 3, 4, 5), unary, gaussian=Gaussian(3, weight)).sum().backward()
    assert weight.grad == 0
    assert unary.grad.shape == unary.shape
    unary = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda u: crf(torch.zeros(3, 4, 5), u, kernels=[]), unary)


def test_compats_keep_their_own_dtype() -> None:
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    vector = torch.tensor([-1.0, -2.0], dtype=torch.float16, requires_grad=True)
    q = crf(picture(3, 5, 6), torch.rand(2, 5, 6), kernels=[Gaussian(3, weight), Bilateral(9, 9, vector)])
    q[0].sum().backward()
    assert weight.grad.dtype == torch.float64
    assert vector.grad.dtype == torch.float16


def test_autocast_takes_half_precision_as_float32() -> None:
    image, unary = picture(3, 9, 11), torch.rand(4, 9, 11).bfloat16().requires_grad_()
    with autocast():
        crf(image, unary)[0].sum().backward()
    single = unary.detach().float().requires_grad_()
    crf(image, single)[0].sum().backward()
    assert torch.equal(unary.grad, single.grad.bfloat16())


def test_not_contiguous() -> None:
    image, unary = picture(2, 3, 14, 22), torch.rand(2, 4, 14, 22)
    strided = unary.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_()
    plain = unary.clone().requires_grad_()
    weights = torch.randn(22, 14, 4, 2).permute(3, 2, 1, 0)
    (crf(image, strided) * weights).sum().backward()
    (crf(image, plain) * weights.contiguous()).sum().backward()
    assert torch.equal(strided.grad, plain.grad)


def test_infinite_gradients_pass() -> None:
    # Loss scaling finds its scale by them.
    unary = torch.rand(1, 2, 5, 6, requires_grad=True)
    crf(picture(1, 3, 5, 6), unary).backward(torch.full((1, 2, 5, 6), torch.inf))
    assert not unary.grad.isfinite().all()


def test_a_changed_input_is_noticed() -> None:
    unary = torch.rand(2, 5, 6, requires_grad=True)
    image = picture(3, 5, 6)
    q = crf(image, unary)
    image += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        q.sum().backward()


@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_no_second_derivative(output: str) -> None:
    unary = torch.rand(2, 5, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        crf(picture(3, 5, 6), unary, output=output)[0].sum(), unary, create_graph=True
    )
    with pytest.raises(NotImplementedError, match=r"crf: the gradient of its gradient is not implemented"):
        gradient.sum().backward()


@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_images_and_features_must_not_require_a_gradient(output: str) -> None:
    image, unary = picture(3, 5, 6).float().requires_grad_(), torch.rand(2, 5, 6, requires_grad=True)
    with pytest.raises(ValueError, match=r"image: expected a tensor that needs no gradient.*detach\(\)"):
        crf(image, unary, output=output)
    with pytest.raises(ValueError, match=r"image\[1\]: expected a tensor that needs no gradient"):
        crf([image.detach(), image], [unary, unary], output=output)
    kernels = [Gaussian(), Features(torch.rand(2, 5, 6, requires_grad=True), 3)]
    with pytest.raises(ValueError, match=r"features of kernel 1: expected a tensor that needs no gradient"):
        crf(image.detach(), unary, kernels=kernels, output=output)
    with torch.no_grad():
        crf(image, unary, kernels=kernels, output=output)
    crf(image, unary, kernels=kernels, output="labels")


@cpu_only(reason="threads are the CPU's")
@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_threads_and_runs_are_bitwise_equal(output: str, threads: Callable[[int], None]) -> None:
    image, unary = picture(1, 3, 190, 211), torch.rand(1, 5, 190, 211, requires_grad=True)
    weights = torch.randn(1, 5, 190, 211)
    compats = [
        t.float().detach().requires_grad_()
        for form in ("scalar", "vector", "matrix")
        for t in compats_of(form, 5)[:1]
    ]
    kernels = [Gaussian(3, compats[0]), Bilateral(50, 9, compats[1]), Bilateral(20, 20, compats[2])]
    results = []
    for count in (1, 2, 4, 4):
        threads(count)
        q = crf(image, unary, kernels=kernels, iterations=2, output=output)
        results.append([q, *torch.autograd.grad(q, [unary, *compats], weights)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@traced
@pytest.mark.parametrize("name", ["crf", "crf_log_probs"])
@pytest.mark.parametrize("count", [0, 3])
def test_opcheck(name: str, count: int) -> None:
    image, unary, features, compats, *others = arguments(count)
    compats = [compat.requires_grad_() for compat in compats]
    values = (image, unary.requires_grad_(), features, compats, *others)
    torch.library.opcheck(getattr(torch.ops.wsss_fast, name).default, values)


@traced
@pytest.mark.parametrize("needed", [[True] * 4, [False] * 4, [False, True, False, True]])
def test_opcheck_of_backward(needed: list[bool]) -> None:
    grad = torch.randn(1, 1, 3, 5, 6, dtype=torch.float64)
    torch.library.opcheck(torch.ops.wsss_fast.crf_backward.default, (grad, *arguments(3), needed))


@traced
@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_compile(output: str) -> None:
    def run(image: Tensor, unary: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
        kernels = [Gaussian(3, weight * 2), Bilateral(20, 9, matrix)]
        return (crf(image, unary * 2, kernels=kernels, iterations=3, output=output) * unary).sum()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    image, inputs = picture(2, 3, 11, 12), [torch.rand(2, 3, 11, 12), torch.tensor(3.0), torch.randn(3, 3)]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    expected, found = run(image, *inputs), compiled(image, *inputs)
    close(found, expected)
    for gradient, truth in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        close(gradient, truth)
