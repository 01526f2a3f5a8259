"""How many cases the tables of bad input tried: told at the end of a test run.

A test calls ``counted.tried("the ops", 12)`` for the 12 cases that it went through, and imports this as
``from hard_use import counted``, so that there is one count in a run.
"""

from __future__ import annotations

from collections import Counter

_cases: Counter[str] = Counter()


def tried(table: str, cases: int = 1) -> None:
    """Adds to the cases of a table, named as in "bad input to ..."."""
    _cases[table] += cases


def lines() -> list[str]:
    """What the end of the run says: a line for each table that was tried."""
    return [f"bad input to {table}: {count:,} cases" for table, count in sorted(_cases.items())]
