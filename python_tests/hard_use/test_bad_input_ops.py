"""Bad and odd input to every argument of the public ops: a clear error, or the right result."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import pytest
import torch
from hard_use import bad_input_compat, bad_input_huge, bad_input_ops, counted
from hard_use.bad_input import Entry, failure

import wsss_fast.compat
import wsss_fast.nn
from wsss_fast.compat.pydensecrf import densecrf, eigen, utils

ENTRIES = [*bad_input_ops.entries(), *bad_input_compat.entries()]
NO_INPUT = (Enum, wsss_fast.nn.AffinityDisplacementLosses)  # constants, and a result
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


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_huge_input() -> None:
    """In a process of its own that may not take much memory, a new one after a case that ended it."""
    told: dict[int, str | None] = {}  # by the number of a case: what went wrong
    names: dict[int, str] = {}
    total = len(bad_input_huge.cases())
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    environment = {**os.environ, "PYTHONPATH": places}
    while len(told) < total:
        program = [sys.executable, "-W", "ignore", "-m", "hard_use.bad_input_huge", str(len(told))]
        run = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
        for line in run.stdout.splitlines():
            number, names[number], text = json.loads(line)
            told[number] = text
        last = max(told, default=-1)
        if last < 0:
            pytest.fail(run.stderr)
        if told[last] == "begins":
            told[last] = f"the process ended with {run.returncode}: {run.stderr[-2000:]}"
    counted.tried("the ops", total)
    wrong = [f"{names[number]}: {text}" for number, text in told.items() if text]
    assert not wrong, "\n".join(wrong)


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All public functions, classes and their methods, with the names that entries have."""
    for module in MODULES:
        listed = getattr(module, "__all__", ("matrixXf", "vectorXf"))
        for name in listed:
            value = getattr(module, name)
            place = f"{module.__name__}.{name}"
            if inspect.isfunction(value):
                yield place, value
            elif inspect.isclass(value) and not issubclass(value, NO_INPUT):
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
