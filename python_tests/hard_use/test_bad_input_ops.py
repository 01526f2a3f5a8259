"""Bad and odd input to every argument of the public ops: a clear error, or the right result."""

from __future__ import annotations

import pytest
from hard_use import bad_input_ops, counted
from hard_use.bad_input import Entry, failure

ENTRIES = bad_input_ops.entries()


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
