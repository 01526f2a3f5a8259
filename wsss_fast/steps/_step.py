"""The bookkeeping of a step: its folder, what it depends on, how long it took, what it had to skip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wsss_fast.config import Config, check_config
from wsss_fast.files import DataError, write_json
from wsss_fast.steps._graph import graph, relevant_config
from wsss_fast.steps._profile import Profile, profile_table
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._states import (
    Difference,
    StepError,
    all_shares_made,
    differences,
    read_state,
    read_state_file,
    refuse_or_tell,
    state_path,
    waiting_for,
)

__all__ = ["Step", "StepError", "step"]

_MINUTE = 60.0


@dataclass
class Step:
    """A step under way, or this process's share of it."""

    name: str
    folder: Path
    done: bool
    """Whether there is nothing left to do for this process."""
    seconds_before: float
    strict: bool
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    items: int = 0
    profile: Profile = field(default_factory=Profile)
    """Where its time goes."""
    chunks: dict[str, int] = field(default_factory=dict)
    """How many images a chunk of each list has, by which processes share them."""
    write: Callable[[], None] = lambda: None
    """Writes down how it stands."""
    share_made: bool = False
    written_at: float = field(default_factory=time.monotonic)

    def write_now_and_then(self) -> None:
        """Write down how it stands if a minute has passed: so much is known of a process that is killed."""
        if time.monotonic() - self.written_at >= _MINUTE:
            self.written_at = time.monotonic()
            self.write()

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

    def last_to_make_its_share(self) -> bool:
        """Say that the outputs of this process's share are all written; True if those of all processes are.

        It is True for at least one of them: each says so before it looks whether the others have. Whoever
        sees it can join the shares, and several may at once.
        """
        self.share_made = True
        self.write()
        of = ranks()
        return of.world == 1 or all_shares_made(self.folder, of)


@contextmanager
def step(config: Config, name: str) -> Iterator[Step]:
    """Run the body as the step ``name``; step.json is written at the end, and when the body raises too.

    Where several processes share a step, each does so with its part of the bookkeeping (`_states`); in a
    training, which they do together, the first alone writes.

    Raises :class:`StepError` if a step that it needs is not done, or if this or a needed step was started
    with another config than now (with ``changed_config: keep`` that is printed, and noted in step.json).
    """
    check_config(config)
    root = Path(config.output)
    node = graph(config)[name]
    of = ranks()
    changed: list[Difference] = []
    for needed in node.needs:
        _refuse_unfinished(config, name, needed)
        changed += _checked(config, needed)
    folder = root / name
    changed += _checked(config, name)
    path = state_path(folder, collective=node.collective)
    own: dict[str, Any] | None = read_state_file(path) if path.exists() else None
    state = read_state(folder)
    folder.mkdir(parents=True, exist_ok=True)
    this = Step(
        name=name,
        folder=folder,
        done=any(found is not None and bool(found["done"]) for found in (state, own)),
        seconds_before=float(own["seconds"]) if own else 0.0,
        strict=config.data.strict,
    )
    if own and node.collective:  # what was read before is not read again
        this.skipped = {entry["name"]: entry for entry in own["skipped"]}
        this.items = int(own["items"])
    if this.done:
        yield this
        return
    parts: dict[str, float] = {}
    start = time.perf_counter()

    def write() -> None:
        if node.collective and not of.first:
            return
        _write_state(path, config, this, time.perf_counter() - start, own, changed, parts)

    this.write = write
    this.write()
    trace = "trace.json" if of.first else f"trace-{of.rank}-of-{of.world}.json"
    this.profile = Profile(config.profile, folder / trace)
    try:
        yield this
        this.done = True
    finally:
        try:
            parts.update(this.profile.stop())
        finally:
            this.write()
    if parts:
        print(of.prefix + profile_table(name, parts))
    if this.skipped:
        print(f"{of.prefix}{name}: skipped {len(this.skipped)} unreadable:")
        for entry in this.skipped.values():
            print(f"  {entry['file']}: {entry['reason']}")


def _refuse_unfinished(config: Config, name: str, needed: str) -> None:
    folder = Path(config.output) / needed
    state = read_state(folder)
    if state is not None and state["done"]:
        return
    if state is None or "processes" not in state:
        raise StepError(f"{name}: needs the step {needed} first (nothing finished in {folder})")
    missing = ", ".join(map(str, waiting_for(folder, state["processes"], collective=False)))
    raise StepError(
        f"{name}: needs the step {needed} first, by all of its {state['processes']} processes "
        f"(not finished in {folder}: rank {missing})"
    )


def _checked(config: Config, name: str) -> list[Difference]:
    folder = Path(config.output) / name
    found = differences(config, name, folder)
    refuse_or_tell(config, name, folder, found)
    return found


def _write_state(
    path: Path,
    config: Config,
    this: Step,
    seconds: float,
    before: dict[str, Any] | None,
    changed: list[Difference],
    parts: dict[str, float],
) -> None:
    # What was begun with another config, and is kept, stays known as what it was.
    started = relevant_config(config, this.name) if before is None else before["config"]
    noted = [*(before or {}).get("changed_config", []), *(asdict(difference) for difference in changed)]
    write_json(
        path,
        {
            "step": this.name,
            "config": started,
            "done": this.done,
            "seconds": this.seconds_before + seconds,
            "items": this.items,
            "skipped": list(this.skipped.values()),
            **({"chunks": this.chunks} if this.chunks else {}),
            **({"share_made": True} if this.share_made and not this.done else {}),
            **({"profile": parts} if parts else {}),
            **({"changed_config": list({repr(of): of for of in noted}.values())} if noted else {}),
        },
    )
