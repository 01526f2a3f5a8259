"""check_values: the switch, and that its looking finds what the CPU's kernels find, in their words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from devices import cpu_only
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Features, Gaussian, _values, check_values, crf

pytestmark = [
    pytest.mark.usefixtures("device"),
    cpu_only(reason="the CPU's kernels are what it is compared with"),
]


@pytest.fixture
def _as_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_values, "on_cuda", lambda value: True)
    yield
    assert not _values.checking(torch.zeros(1)), "left on"


@pytest.mark.usefixtures("_as_cuda")
def test_the_switch() -> None:
    value = torch.zeros(1)
    assert not _values.checking(value)
    before = check_values(True)
    assert _values.checking(value)
    with check_values(False):
        assert not _values.checking(value)
        with check_values(True):
            assert _values.checking(value)
        assert not _values.checking(value)
    assert _values.checking(value)
    with before:
        pass
    assert not _values.checking(value)


@pytest.mark.usefixtures("_as_cuda")
def test_an_error_inside_restores_it() -> None:
    with pytest.raises(RuntimeError, match="inside"), check_values(True):
        raise RuntimeError("inside")


@pytest.mark.usefixtures("_as_cuda")
def test_it_holds_in_all_threads() -> None:
    seen: list[bool] = []
    with check_values(True):
        thread = threading.Thread(target=lambda: seen.append(_values.checking(torch.zeros(1))))
        thread.start()
        thread.join()
    assert seen == [True]


def test_ops_in_plain_torch_always_look_at_cpu_tensors() -> None:
    assert _values.looking(torch.zeros(1))
    with check_values(True):
        assert _values.looking(torch.zeros(1))
        assert not _values.checking(torch.zeros(1))


@pytest.mark.parametrize("bad", [1, None, "True", torch.tensor(True)])
def test_anything_but_a_bool_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"enabled: expected a bool, got"):
        check_values(bad)


def with_value(tensor: Tensor, index: tuple[Any, ...], value: float) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


def same_error(look: Callable[[], Any], op: Callable[[], Any]) -> None:
    messages = []
    for call in (look, op):
        with pytest.raises(ValueError, match=r"expected .* got") as caught:
            call()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


ALL = slice(None)
IMAGE, UNARY = torch.zeros(3, 3, 5, 6), torch.zeros(3, 2, 4, 5, 6)
GUIDE = torch.zeros(3, 4, 5, 6)


@pytest.mark.parametrize("value", [255.5, 256.0, -1.0, -1e-7, torch.nan, torch.inf, -torch.inf, 123456789.0])
def test_image(value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        for index in ((0, 0, 0, 0), (1, 2, 3, 4), (2, 2, 4, 5)):
            image = with_value(IMAGE.to(dtype), index, value)
            same_error(partial(_values.check_image, "image", image), partial(crf, image, UNARY.to(dtype)))


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_unary(value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        for index in ((0, 0, 0, 0, 0), (1, 1, 2, 3, 4), (2, 1, 3, 4, 5)):
            unary = with_value(UNARY.to(dtype), index, value)
            same_error(partial(_values.check_unary, unary), partial(crf, IMAGE, unary))


def test_a_pixel_without_a_possible_class() -> None:
    for index in ((0, 0, ALL, 0, 0), (2, 1, ALL, 3, 4)):
        unary = with_value(UNARY, index, torch.inf)
        same_error(partial(_values.check_unary, unary), partial(crf, IMAGE, unary))


def test_unaries_in_half_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        _values.check_unary(with_value(UNARY.to(dtype), (0, 0, 0, 0, 0), torch.inf))
        with pytest.raises(ValueError, match="got nan for class 1 in image 2, unary 0, y 4, x 3"):
            _values.check_unary(with_value(UNARY.to(dtype), (2, 0, 1, 4, 3), torch.nan))


@pytest.mark.parametrize(
    "compat", [[1.0, torch.nan], [[1.0, 2.0], [torch.inf, 0.0]], torch.tensor(-torch.inf)]
)
def test_compat(compat: Any) -> None:
    kernels = [Gaussian(3, 2), Bilateral(9, 9, compat)]
    same_error(
        partial(_values.check_compat, "compat of kernel 1", torch.as_tensor(compat)),
        partial(crf, IMAGE, UNARY[:, :, :2], kernels=kernels),
    )


def test_result() -> None:
    # One pixel: the CPU names the first of 64.
    unary = torch.zeros(1, 1, 1, 1, 1)
    huge = {"gaussian": Gaussian(3, 3e38), "bilateral": Bilateral(50, 5, 3e38)}
    same_error(
        partial(_values.check_result, unary * torch.nan), partial(crf, IMAGE[:1, :, :1, :1], unary, **huge)
    )
    q = with_value(UNARY, (1, 1, 2, 3, 4), torch.nan)
    with pytest.raises(ValueError, match="overflow in image 1, unary 1, y 3, x 4"):
        _values.check_result(q)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e7, -1e7, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features(dtype: torch.dtype, value: float) -> None:
    if dtype == torch.float64 and abs(value) == 1e7:
        return _values.check_features("features", with_value(GUIDE.to(dtype), (0, 0, 0, 0), value))
    for index in ((0, 0, 0, 0), (1, 2, 3, 4), (2, 3, 4, 5)):
        features = with_value(torch.rand_like(GUIDE, dtype=dtype), index, value)
        same_error(
            partial(_values.check_features, "features", features),
            partial(crf, IMAGE, UNARY.to(dtype), kernels=[Features(features, 3)]),
        )
        same_error(
            partial(_values.check_features, "features", features),
            partial(wsss_fast.PermutohedralLattice, features),
        )


@pytest.mark.parametrize("dims", [1, 2, 5, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_at_the_edge_of_reach(dtype: torch.dtype, dims: int) -> None:
    # Halving the interval between a value that is within reach and one that is not.
    def message(call: Callable[[], Any]) -> str:
        try:
            call()
        except ValueError as error:
            return str(error)
        return ""

    low, high = torch.tensor([1.0, 1e10], dtype=dtype)
    for _ in range(60):
        middle = (low + high) / 2
        features = torch.zeros(1, dims, 7, dtype=dtype)
        features[0, -1, 3] = middle
        found = message(partial(_values.check_features, "features", features))
        assert found == message(partial(wsss_fast.PermutohedralLattice, features[0]))
        low, high = (low, middle) if found else (middle, high)
    assert low > 1000


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 2e36, -3e38])
def test_filter_values(value: float) -> None:
    lattice = wsss_fast.PermutohedralLattice(torch.randn(2, 3, 20, 1))
    for index in ((0, 0, 0), (0, 29, 19), (1, 4, 5)):
        values = with_value(torch.rand(2, 30, 20), index, value)
        same_error(
            partial(_values.check_filter_values, values, 3), partial(lattice.filter, values.unsqueeze(-1))
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30, -3e38])
def test_walkers(value: float) -> None:
    for index in ((0, 0, 0, 0), (1, 2, 5, 6)):
        cam = with_value(torch.rand(2, 3, 6, 7), index, value)
        same_error(
            partial(_values.check_walker, "cam", cam),
            partial(wsss_fast.random_walk, cam, torch.rand(2, 1, 6, 7), radius=2),
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38, -1.7e38])
def test_cams_and_logits(value: float) -> None:
    clean = [torch.rand(2, 3, 4, 5), torch.rand(2, 3, 2, 6)]
    for which, index in ((0, (0, 0, 0, 0)), (0, (1, 2, 3, 4)), (1, (1, 0, 1, 5))):
        given = list(clean)
        given[which] = with_value(clean[which], index, value)
        same_error(
            partial(_values.check_summands, "logits", given, "[n,c,y,x]"),
            partial(wsss_fast.tta_merge, given, (7, 9), flipped=[False, True]),
        )
        classes = torch.zeros(2, 3, dtype=torch.bool)
        classes[index[:2]] = True
        for mask in (None, classes):
            same_error(
                partial(_values.check_summands, "cams", given, "[n,k,y,x]", mask),
                partial(wsss_fast.fuse_cams, given, (7, 9), classes=mask),
            )
        _values.check_summands("cams", given, "[n,k,y,x]", ~classes)


def test_good_values_pass() -> None:
    largest = torch.finfo(torch.float32).max
    _values.check_image("image", torch.tensor([0.0, 255.0, 3.5]).reshape(1, 3, 1, 1))
    _values.check_image("image", torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    _values.check_unary(torch.tensor([torch.inf, largest, -largest]).reshape(1, 1, 3, 1, 1))
    _values.check_compat("compat", torch.tensor(largest))
    _values.check_result(torch.tensor([0.0, -torch.inf]).reshape(1, 1, 2, 1, 1))
    _values.check_features("features", torch.randn(2, 5, 9) * 100)
    _values.check_filter_values(torch.tensor([largest / 16, -largest / 16]).reshape(1, 1, 2), 2)
    _values.check_walker("cam", torch.tensor([largest / 2**40, -largest / 2**40]))
    third = largest / 3 * (1 - 1e-6)
    _values.check_summands("cams", [torch.full((1, 1, 1, 1), third)] * 2, "[n,k,y,x]")


def test_empty_tensors_pass() -> None:
    _values.check_image("image", torch.zeros(0, 3, 5, 6))
    _values.check_unary(torch.zeros(0, 1, 4, 5, 6))
    _values.check_unary(torch.zeros(2, 0, 4, 5, 6))
    _values.check_result(torch.zeros(0, 1, 4, 5, 6))
    _values.check_features("features", torch.zeros(2, 3, 0))
    _values.check_features("features", torch.zeros(0, 3, 4))
    _values.check_filter_values(torch.zeros(2, 0, 5), 3)
    _values.check_summands("cams", [torch.zeros(0, 3, 4, 5), torch.zeros(0, 3, 1, 1)], "[n,k,y,x]")
