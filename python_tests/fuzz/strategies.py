"""What all fuzz tests draw from: sizes, numbers, values of tensors, and how they lie in memory.

Hypothesis draws the structure of a case; the values come from a generator with a drawn seed, since a draw
for each of them would take longer than the ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

Draw = Callable[[st.SearchStrategy[Any]], Any]
T = TypeVar("T")

DTYPES = (torch.float32, torch.float64)

#: Values of any size; TAME ones stay below a few hundred.
TAME = ("normal", "uniform", "few", "ramp", "one", "constant", "zeros", "signed zeros", "tiny", "denormal")
WILD = (*TAME, "large", "huge", "mixed")

LAYOUTS = ("contiguous", "transposed", "permuted", "columns", "rows", "offset", "expanded")


def sizes(most: int = 12) -> st.SearchStrategy[int]:
    """Of an axis; 1 more often than by chance, but not for every other case, as hypothesis would have it."""
    usual = list(range(2, most + 1)) or [1]
    return st.sampled_from([*usual[len(usual) // 2 :], *usual, *[1] * (len(usual) // 4 + 1), *usual])


def dtypes() -> st.SearchStrategy[torch.dtype]:
    return st.sampled_from(DTYPES)


def log_uniform(low: float, high: float, *edges: float) -> st.SearchStrategy[float]:
    """Numbers in [low, high], of every order of magnitude alike, and the edges of a range by themselves."""
    steps = 1 << 16

    def number(step: int) -> float:
        return min(max(low * (high / low) ** (step / steps), low), high)

    inside = st.integers(1, steps - 1).map(number)
    return st.one_of(inside, inside, inside, inside, st.sampled_from([low, *edges, high]))


def signed(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    return st.tuples(numbers, st.booleans()).map(lambda given: -given[0] if given[1] else given[0])


def one_or_each(
    one: st.SearchStrategy[T], count: int, whole: st.SearchStrategy[Any] | None = None
) -> st.SearchStrategy[Any]:
    """A value, or ``count`` of them in a tuple."""
    return st.one_of(one if whole is None else whole, st.tuples(*[one] * count))


def generators() -> st.SearchStrategy[torch.Generator]:
    return st.integers(0, 2**32 - 1).map(lambda seed: torch.Generator().manual_seed(seed))


def values(
    draw: Draw, shape: Sequence[int], dtype: torch.dtype, kinds: Sequence[str] = WILD, layout: bool = True
) -> Tensor:
    """A tensor of finite numbers of one of the kinds, in any layout."""
    # Half of all tensors are of the first three kinds: the others agree with too many wrong answers.
    kind = draw(st.one_of(st.sampled_from(kinds[:3]), st.sampled_from(kinds)))
    made = _MADE[kind](tuple(shape), draw(generators())).clamp(-1e26, 1e26)
    if kind == "denormal":
        made = made * (1e-40 if dtype == torch.float32 else 1e-310)
    return laid_out(draw, made.to(dtype)) if layout else made.to(dtype)


def fractions(draw: Draw, shape: Sequence[int], dtype: torch.dtype, layout: bool = True) -> Tensor:
    """A tensor of numbers in [0, 1], both ends included: a boundary, or probabilities."""
    made = values(draw, shape, torch.float64, FRACTIONS, layout=False)
    made = made.abs().clamp(max=1).to(dtype)
    return laid_out(draw, made) if layout else made


FRACTIONS = ("uniform", "low", "few", "walls", "zeros", "ones", "denormal", "almost one", "ramp", "one")


def _normal(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=g, dtype=torch.float64)


def _uniform(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=g, dtype=torch.float64)


def _few(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    return torch.randint(-2, 3, shape, generator=g).double() / 2


def _ramp(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    count = math.prod(shape)
    return (torch.arange(count, dtype=torch.float64) / max(count - 1, 1)).reshape(shape)


def _one(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    made = torch.zeros(shape, dtype=torch.float64)
    if made.numel():
        made.view(-1)[int(torch.randint(made.numel(), (), generator=g))] = 1
    return made


def _mixed(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    return _normal(shape, g) * 10 ** (40 * _uniform(shape, g) - 20)


_MADE: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "normal": lambda shape, g: 3 * _normal(shape, g),
    "uniform": _uniform,
    "zeros": lambda shape, g: torch.zeros(shape, dtype=torch.float64),
    "ones": lambda shape, g: torch.ones(shape, dtype=torch.float64),
    "constant": lambda shape, g: _normal((), g).expand(shape).clone(),
    "few": _few,
    "ramp": _ramp,
    "one": _one,
    "tiny": lambda shape, g: 1e-30 * _normal(shape, g),
    "denormal": _normal,
    "signed zeros": lambda shape, g: torch.copysign(
        torch.zeros(shape, dtype=torch.float64), _normal(shape, g)
    ),
    "large": lambda shape, g: 1e4 * _normal(shape, g),
    "huge": lambda shape, g: 1e25 * _normal(shape, g),
    "mixed": _mixed,
    "low": lambda shape, g: _uniform(shape, g) ** 4,
    "walls": lambda shape, g: (_uniform(shape, g) < 0.3).double(),
    "almost one": lambda shape, g: 1 - 1e-6 * _uniform(shape, g),
}


def laid_out(draw: Draw, tensor: Tensor, layouts: Sequence[str] = LAYOUTS) -> Tensor:
    """The tensor with other strides or another offset; NaN lies in the gaps.

    An expanded one is constant along an axis: its first entry there stands for all.
    """
    layout = draw(st.sampled_from(layouts)) if tensor.dim() else "contiguous"
    if layout == "transposed" and tensor.dim() > 1:
        return tensor.mT.contiguous().mT
    if layout == "permuted":
        order = list(reversed(range(tensor.dim())))
        return tensor.permute(order).contiguous().permute(order)
    if layout == "columns":
        room = _filled((*tensor.shape[:-1], 2 * tensor.shape[-1]), tensor)[..., ::2]
        return room.copy_(tensor)
    if layout == "rows":
        room = _filled((3 * tensor.shape[0], *tensor.shape[1:]), tensor)[1::3]
        return room.copy_(tensor)
    if layout == "offset":
        return _filled((tensor.numel() + 5,), tensor)[3:-2].view(tensor.shape).copy_(tensor)
    if layout == "expanded":
        axis = draw(st.integers(0, tensor.dim() - 1))
        if tensor.shape[axis]:
            return tensor.narrow(axis, 0, 1).expand(tensor.shape)
    return tensor


def _filled(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_full(shape, math.nan if like.dtype.is_floating_point else like.new_ones(()).item())
