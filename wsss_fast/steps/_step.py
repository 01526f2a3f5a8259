"""The bookkeeping of a step: its folder, what it depends on, how long it took, what it had to skip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss_fast.config import Config
from wsss_fast.files import DataError, read_json, write_json
from wsss_fast.steps._graph import graph, relevant_config
from wsss_fast.steps._profile import Profile, profile_table


class StepError(RuntimeError):
    """A step that cannot start: an earlier one is missing, or was made with another config."""


@dataclass
class Step:
    """A step under way."""

    name: str
    folder: Path
    done: bool
    seconds_before: float
    strict: bool
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    items: int = 0
    profile: Profile = field(default_factory=Profile)
    """Where its time goes."""

    def skip(self, name: str, file: str, reason: str) -> None:
        """Note an item that could not be read."""
        self.skipped[name] = {"name": name, "file": file, "reason": reason}

    @contextmanager
    def tolerant(self, name: str) -> Iterator[None]:
        """A file of this item that cannot be read skips the item, or stops the step if it is strict."""
        try:
            yield
        except DataError as error:
            if self.strict:
                raise
            self.skip(name, error.file, error.reason)


@contextmanager
def step(config: Config, name: str) -> Iterator[Step]:
    """Run the body as the step ``name``; step.json is written at the end, and when the body raises too.

    Raises :class:`StepError` if a step that it needs is not done, or if this or a needed step was started
    with another config than now.
    """
    root = Path(config.output)
    for needed in graph(config)[name].needs:
        state = _read_state(root / needed)
        if state is None or not state["done"]:
            raise StepError(f"{name}: needs the step {needed} first (nothing finished in {root / needed})")
        _refuse_other_config(config, needed, root / needed, state)
    folder = root / name
    state = _read_state(folder)
    if state is not None:
        _refuse_other_config(config, name, folder, state)
    folder.mkdir(parents=True, exist_ok=True)
    this = Step(
        name=name,
        folder=folder,
        done=bool(state and state["done"]),
        seconds_before=float(state["seconds"]) if state else 0.0,
        strict=config.data.strict,
        skipped={entry["name"]: entry for entry in state["skipped"]} if state else {},
        items=int(state["items"]) if state else 0,
    )
    if this.done:
        yield this
        return
    _write_state(config, this, 0.0)
    start = time.perf_counter()
    this.profile = Profile(config.profile, folder)
    try:
        yield this
        this.done = True
    finally:
        _write_state(config, this, time.perf_counter() - start)
        parts = this.profile.stop()
    if parts:
        print(profile_table(name, parts))
    if this.skipped:
        print(f"{name}: skipped {len(this.skipped)} unreadable:")
        for entry in this.skipped.values():
            print(f"  {entry['file']}: {entry['reason']}")


def _read_state(folder: Path) -> dict[str, Any] | None:
    path = folder / "step.json"
    return read_json(path) if path.exists() else None


def _write_state(config: Config, this: Step, seconds: float) -> None:
    write_json(
        this.folder / "step.json",
        {
            "step": this.name,
            "config": relevant_config(config, this.name),
            "done": this.done,
            "seconds": this.seconds_before + seconds,
            "items": this.items,
            "skipped": list(this.skipped.values()),
        },
    )


def _refuse_other_config(config: Config, name: str, folder: Path, state: dict[str, Any]) -> None:
    differences = list(_differences("", state["config"], relevant_config(config, name)))
    if differences:
        lines = "\n".join(f"  {key}: {then!r} then, {now!r} now" for key, then, now in differences)
        raise StepError(
            f"{name}: {folder} was made with another config:\n{lines}\n"
            "Delete that folder and those of the later steps, or choose another output"
        )


def _differences(prefix: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _differences(f"{prefix}{key}.", then.get(key), now.get(key))
    elif then != now:
        yield prefix.removesuffix("."), then, now
