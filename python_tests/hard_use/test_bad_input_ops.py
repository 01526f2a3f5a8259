"""Bad and odd input to every argument of the public ops: a clear error, or the right result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import pytest
import torch
from hard_use import bad_input_compat, bad_input_ops, counted
from hard_use.bad_input import Entry, failure

import wsss_fast.compat
import wsss_fast.nn
from wsss_fast.compat.pydensecrf import densecrf, eigen, utils

ENTRIES = [*bad_input_ops.entries(), *bad_input_compat.entries()]
MODULES = [wsss_fast, wsss_fast.nn, wsss_fast.compat, densecrf, utils, eigen]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("entry", "argument"),
    [pytest.param(entry, name, id=f"{entry.name}-{name}") for entry in ENTRIES for name in entry.kinds],
)
def test_every_odd_value(entry: Entry, argument: str) -> None:
    odds = list(entry.odds(argument))
    assert odds
    wrong = [f"{odd.what}: {text}" for odd in odds if (text := failure(entry, argument, odd))]
    counted.tried("the ops", len(odds))
    assert not wrong, "\n".join([f"{entry.name}, {argument}:", *wrong])


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All public functions, classes and their methods, with the names that entries have."""
    for module in MODULES:
        listed = getattr(module, "__all__", ("matrixXf", "vectorXf"))
        for name in listed:
            value = getattr(module, name)
            place = f"{module.__name__}.{name}"
            if inspect.isfunction(value):
                yield place, value
            elif inspect.isclass(value) and value is not wsss_fast.nn.AffinityDisplacementLosses:  # a result
                if not issubclass(value, Enum):
                    yield from _of_class(place, value)


def _of_class(place: str, value: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield place, value
    for name, method in vars(value).items():
        # What torch calls by itself is no use of ours.
        own = inspect.isfunction(method) and not name.startswith("_") and name != "extra_repr"
        if own:
            yield f"{place}.{name}", method


def test_the_tables_have_every_public_argument() -> None:
    by_name = {entry.name: entry for entry in ENTRIES}
    public = dict(_public())
    assert len(public) > 40
    assert sorted(set(public) - set(by_name)) == []
    beyond = {name.partition(" of ")[0] for name in by_name} - set(public)
    assert not beyond
    for name, value in public.items():
        arguments = set(inspect.signature(value).parameters) - {"self"}
        if arguments == {"args", "kwargs"}:  # TTA hands all but the image on
            arguments = {"image"}
        assert arguments == set(by_name[name].kinds), name


def test_a_wrong_outcome_fails() -> None:
    """The tables would not find anything if this did not."""
    from hard_use.bad_input import Gives, Odd, Raises

    entry = by = next(entry for entry in ENTRIES if entry.name == "wsss_fast.path_offsets")
    assert by is entry
    fine = [Odd("", 3, Gives("same")), Odd("", 99, Raises(ValueError)), Odd("", 3.0, Raises(TypeError))]
    assert [failure(entry, "radius", odd) for odd in fine] == [None] * 3
    for odd in (
        Odd("", 4, Gives("same")),
        Odd("", 4, Raises(ValueError)),
        Odd("", 99, Raises(TypeError)),
        Odd("", 99, Gives("same")),
        Odd("", 99, Raises(ValueError, "rad")),
    ):
        assert failure(entry, "radius", odd) is not None
    nan = Entry("", lambda x: x, lambda: {"x": torch.ones(2)}, {})
    assert failure(nan, "x", Odd("", torch.tensor([1.0, torch.nan]), Gives("finite"))) is not None
    assert failure(nan, "x", Odd("", torch.ones(3), Gives("near"))) is not None
    assert failure(nan, "x", Odd("", torch.tensor([1.0, 1.0 + 2**-23]), Gives("same"))) is not None
