"""What is written about a step, by one process or by several that share it.

One process writes ``step.json``. Of several, each writes ``step-<rank>-of-<world>.json`` about its share, and
none has to know whether the others live: the step is done when the parts of one number of processes are all
there and done. What an earlier call with another number of processes has left is passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from wsss_fast.config import Config
from wsss_fast.files import DataError, read_json
from wsss_fast.steps._graph import relevant_config
from wsss_fast.steps._ranks import Ranks, ranks


class StepError(RuntimeError):
    """A step that cannot start: an earlier one is missing, or was made with another config."""


@dataclass(frozen=True)
class Difference:
    """A key of the config that outputs were made with, and of the one now."""

    step: str
    key: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.then!r} then, {self.now!r} now"


def read_state_file(path: Path) -> dict[str, Any]:
    """What one process has written about a step. Raises `DataError` for a file that is no such thing."""
    state: Any = read_json(path)
    lacking = [key for key, good in _PARTS.items() if not (isinstance(state, dict) and good(state.get(key)))]
    if lacking:
        raise DataError(
            path,
            f"expected what a step has written about itself, got something without a valid {lacking[0]!r}; "
            "delete the folder to do the step again",
        )
    found: dict[str, Any] = state
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_skipped(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "file", "reason"))
        for entry in value
    )


_PARTS: dict[str, Callable[[object], bool]] = {
    "step": lambda value: isinstance(value, str),
    "config": lambda value: isinstance(value, dict),
    "done": lambda value: isinstance(value, bool),
    "seconds": lambda value: _is_number(value) and cast(float, value) >= 0,
    "items": lambda value: _is_number(value) and isinstance(value, int),
    "skipped": _is_skipped,
    "chunks": lambda value: value is None or isinstance(value, dict),
    "profile": lambda value: (
        value is None or (isinstance(value, dict) and all(_is_number(of) for of in value.values()))
    ),
    "changed_config": lambda value: value is None or isinstance(value, list),
}
"""What a step writes about itself, and what it has to be like; the last three may be left out."""


def state_path(folder: Path, *, collective: bool) -> Path:
    """What this process writes about a step; ``collective``: one in which all processes are one."""
    of = ranks()
    return folder / ("step.json" if collective or of.world == 1 else part_name(of.rank, of.world))


def part_name(rank: int, world: int) -> str:
    """The file of one of several processes."""
    return f"step-{rank}-of-{world}.json"


def read_state(folder: Path) -> dict[str, Any] | None:
    """What is known about the step of a folder, as in step.json; None if it was never started.

    Of several processes the time is that of the slowest, and what they made and skipped is added up.
    Raises `StepError` where they did not agree on how the images are cut.
    """
    whole = folder / "step.json"
    state: dict[str, Any] | None = read_state_file(whole) if whole.exists() else None
    if state is not None and state["done"]:
        return state
    merged = [_merged(folder, world, parts) for world, parts in _parts(folder).items()]
    done = [of for of in merged if of["done"]]
    return next(iter([*done, *([state] if state is not None else []), *merged]), None)


def read_parts(folder: Path) -> list[dict[str, Any]]:
    """Everything that processes have written about the step, finished or not."""
    whole = folder / "step.json"
    parts = [state for of in _parts(folder).values() for state in of.values()]
    return [*([read_state_file(whole)] if whole.exists() else []), *parts]


def waiting_for(folder: Path, world: int, *, collective: bool) -> list[int]:
    """Which of so many processes have not finished their share of the step; none when the step is done."""
    state = read_state(folder)
    if state is not None and state["done"]:
        return []
    if collective:
        return [0]
    parts = _parts(folder).get(world, {})
    return [rank for rank in range(world) if rank not in parts or not parts[rank]["done"]]


def all_shares_made(folder: Path, of: Ranks) -> bool:
    """Whether every one of these processes has said that its share of the outputs is written."""
    parts = _parts(folder).get(of.world, {})
    return len(parts) == of.world and all(
        part["done"] or part.get("share_made", False) for part in parts.values()
    )


def differences(config: Config, name: str, folder: Path) -> list[Difference]:
    """What is not as it was when the outputs of the step in ``folder`` were made."""
    now = relevant_config(config, name)
    found = [
        Difference(name, key, then, current)
        for state in read_parts(folder)
        for key, then, current in _differences("", state["config"], now)
    ]
    return list({(of.key, repr(of.then)): of for of in found}.values())


def refuse_or_tell(config: Config, name: str, folder: Path, found: list[Difference]) -> None:
    """Raise `StepError` for differences, or with ``changed_config: keep`` print them."""
    if not found:
        return
    lines = "\n".join(f"  {of}" for of in found)
    if config.changed_config == "keep":
        print(f"{name}: {folder} was made with another config, and is kept (changed_config):\n{lines}")
        return
    raise StepError(
        f"{name}: {folder} was made with another config:\n{lines}\n"
        "Delete that folder and those of the later steps, or choose another output, or keep what there is "
        "with `--changed_config keep`"
    )


def _parts(folder: Path) -> dict[int, dict[int, dict[str, Any]]]:
    """By the number of processes, then by the rank."""
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("step-*-of-*.json")):
        name = re.fullmatch(r"step-(\d+)-of-(\d+)", path.stem)
        if name is not None:
            found.setdefault(int(name[2]), {})[int(name[1])] = read_state_file(path)
    return {world: dict(sorted(found[world].items())) for world in sorted(found)}


def _merged(folder: Path, world: int, by_rank: dict[int, dict[str, Any]]) -> dict[str, Any]:
    parts = list(by_rank.values())
    done = len(parts) == world and all(part["done"] for part in parts)
    cuts = [part.get("chunks", {}) for part in parts]
    if done and any(cut != cuts[0] for cut in cuts):
        raise StepError(
            f"{folder}: expected processes that cut the images alike, got {cuts}: the first image could not "
            f"be read by all; delete {folder / part_name(0, world)} and the like and start the step again"
        )
    slowest = max(parts, key=lambda part: float(part["seconds"]))
    skipped = {entry["name"]: entry for part in parts for entry in part["skipped"]}
    changed = {repr(entry): entry for part in parts for entry in part.get("changed_config", [])}
    return {
        "step": slowest["step"],
        "config": slowest["config"],
        "done": done,
        "seconds": slowest["seconds"],
        "items": sum(part["items"] for part in parts),
        "skipped": list(skipped.values()),
        "processes": world,
        **({"profile": slowest["profile"]} if "profile" in slowest else {}),
        **({"changed_config": list(changed.values())} if changed else {}),
    }


def _differences(prefix: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _differences(f"{prefix}{key}.", then.get(key), now.get(key))
    elif then != now:
        yield prefix.removesuffix("."), then, now
