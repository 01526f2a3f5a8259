"""How many cases a fuzz test runs, and how many it has run."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import settings

#: Cases that came to their end without a failure, by test. A case that hypothesis discards is none.
passed: Counter[str] = Counter()


def cases(share: float = 1.0) -> Callable[[Callable[..., None]], Callable[..., Any]]:
    """Below ``given``: the test runs ``share`` times as many cases as the profile says, and counts them."""

    def decorate(test: Callable[..., None]) -> Callable[..., Any]:
        name = f"{test.__module__.rpartition('.')[2]}::{test.__name__}"
        passed[name] = 0

        @functools.wraps(test)
        def counted(*arguments: Any, **named: Any) -> None:
            test(*arguments, **named)
            passed[name] += 1

        # The profile is loaded by now: pytest reads its options before it imports tests.
        return settings(max_examples=max(1, round(share * settings().max_examples)))(counted)

    return decorate
