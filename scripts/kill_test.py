"""Kill every command with SIGKILL at random moments, start it again, and compare what comes out.

    make kill-test
    PYTHONPATH=. python scripts/kill_test.py --times 20 --commands train-irnet,make-cams --seed 3

Each command of a tiny run on generated images is run undisturbed once, then so many times from the same
state, killed once to three times in a row at moments drawn from the time that it takes, by turns alone and
together with the processes that work for it, and started again with the same command until it ends.
Then its exit code must be 0, no temporary file may be left, and every file must be that of the undisturbed
run. With `--ranks 2` the steps run as two processes, as torchrun starts them; one of them is killed, or both.

Exit codes: 0 all well, 1 something differs, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _forked import Running, import_everything, start, wait_for_orphans
from _same import NOT_COMPARED, differences, files_of, leftovers
from _tiny import COMMAND_NAMES, STEPS, Case, TinyRuns

_IN_A_ROW = (1, 1, 1, 2, 3)
"""How often a command is killed before it may end."""

_ORPHANS_END = 15.0
"""Seconds in which processes that read images for a killed one must have ended."""


_NOTE = """\
before, within, after: kills before the command had written anything, in its work, and too late; by quarter:
kills in each quarter of its time; work done: files and rows of tables that were there at a kill,
least..median..most; equal: runs that ended with exit code 0 and with the undisturbed run's files; temporary:
files that kills have left."""


@dataclass
class Kill:
    """One SIGKILL."""

    whole_group: bool
    moment: float
    """As a part of the time that the undisturbed command takes."""
    when: str
    """``before`` the command wrote anything, ``within``, or ``after``: it had ended already."""
    marks: int
    """Files that were there of those that the command makes, and rows of its tables and journals."""
    newest: str
    """The file that was written last."""
    leftovers: int
    """Temporary files that were left."""


@dataclass
class Result:
    """All that was done to one command."""

    command: str
    seconds: float
    marks: int
    kills: list[Kill] = field(default_factory=list)
    restarts: int = 0
    equal: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)


class Killer:
    """Kills one command after another."""

    def __init__(self, generator: random.Random, ranks: int) -> None:
        self.generator = generator
        self.ranks = ranks
        self._whole_group = False

    def test(self, case: Case, times: int) -> Result:
        """``times`` runs of a command, each killed."""
        result = Result(case.command, case.seconds, _marks(case, case.after)[0])
        groups: list[int] = []
        for number in range(times):
            case.reset()
            for _ in range(self.generator.choice(_IN_A_ROW)):
                running, kill = self._kill(case)
                groups += running.groups
                result.kills.append(kill)
                if kill.when == "after":
                    break
            result.restarts += 1
            result.runs += 1
            problems = self._finish(case, groups)
            result.equal += not problems
            result.problems += [f"run {number + 1}: {problem}" for problem in problems]
        orphans = wait_for_orphans(groups, _ORPHANS_END)
        if orphans:
            result.problems.append(f"processes are left in the groups {orphans}")
        return result

    def _kill(self, case: Case) -> tuple[Running, Kill]:
        self._whole_group = not self._whole_group
        moment = self.generator.random()
        running = start(case.arguments, case.log, self._ranks(case))
        end = running.started + moment * case.seconds
        while not running.ended and time.perf_counter() < end:
            time.sleep(min(0.005, max(0.0, end - time.perf_counter())))
        ended = running.ended
        if ended:
            running.wait(1.0)
        elif self._whole_group:
            running.kill_all()
        else:
            running.kill_one(self.generator)
        marks, newest = _marks(case, case.run)
        when = "after" if ended else "within" if marks else "before"
        left = len(leftovers(case.run))
        return running, Kill(self._whole_group, round(moment, 3), when, marks, newest, left)

    def _finish(self, case: Case, groups: list[int]) -> list[str]:
        start_of_log = case.log.stat().st_size
        running = start(case.arguments, case.log, self._ranks(case))
        groups += running.groups
        try:
            code = running.wait(60 + 20 * case.seconds)
        except TimeoutError as error:
            return [f"hangs: {error}"]
        if code:
            said = case.log.read_bytes()[start_of_log:].decode(errors="replace").strip().splitlines()
            return [f"exit code {code}: {said[-1] if said else 'no message'}"]
        return differences(case.after, case.run)

    def _ranks(self, case: Case) -> int:
        return self.ranks if case.command in STEPS else 1


def _marks(case: Case, run: Path) -> tuple[int, str]:
    """How many new files there are, each row of a table or journal counting as one, and which is the newest.

    The config and the state that a command writes first are no work.
    """
    known = files_of(case.before)
    new = {
        name: path
        for name, path in files_of(run).items()
        if name not in known
        and not path.name.startswith((".tmp", "step", "config.yaml"))
        and not path.is_symlink()
    }
    rows = sum(path.read_bytes().count(b"\n") for path in new.values() if path.suffix in (".csv", ".jsonl"))
    newest = max(new, key=lambda name: new[name].stat().st_mtime_ns, default="")
    return len(new) + rows, newest


def table(results: Sequence[Result]) -> str:
    """As aligned text, with a line that says what its columns are."""
    head = [
        "command",
        "seconds",
        "before",
        "within",
        "after",
        "by quarter",
        "work done",
        "restarts",
        "equal",
        "temporary",
    ]
    rows = [head]
    for result in results:
        hit = {
            when: sum(kill.when == when for kill in result.kills) for when in ("before", "within", "after")
        }
        quarters = [sum(int(4 * kill.moment) == quarter for kill in result.kills) for quarter in range(4)]
        done = [kill.marks for kill in result.kills if kill.when != "after"] or [0]
        rows.append(
            [
                result.command,
                f"{result.seconds:.1f}",
                *(str(hit[when]) for when in ("before", "within", "after")),
                "/".join(map(str, quarters)),
                f"{min(done)}..{statistics.median(done):g}..{max(done)} of {result.marks}",
                str(result.restarts),
                f"{result.equal} of {result.runs}",
                str(sum(kill.leftovers for kill in result.kills)),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*lines, _NOTE])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kill every command at random moments, start it again, compare the outputs."
    )
    parser.add_argument("--times", type=int, default=20, metavar="N", help="runs of each command (20)")
    parser.add_argument(
        "--commands", default=",".join(COMMAND_NAMES), metavar="NAME,...", help="which ones (by default all)"
    )
    parser.add_argument("--seed", type=int, help="of the moments (by default a new one, which is printed)")
    parser.add_argument("--ranks", type=int, default=1, metavar="W", help="processes of a step (1)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (2)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write every kill there")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where to run, and stay (else a temporary folder)"
    )
    parsed = parser.parse_args()
    parsed.commands = [name for name in parsed.commands.split(",") if name]
    unknown = [name for name in parsed.commands if name not in COMMAND_NAMES]
    if unknown:
        parser.error(f"--commands: expected some of {', '.join(COMMAND_NAMES)}, got {', '.join(unknown)}")
    if parsed.times < 1 or parsed.ranks < 1:
        parser.error("--times, --ranks: expected numbers >= 1")
    return parsed


def main() -> int:
    args = arguments()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    print(f"seed {seed}, {args.times} runs of each command, ranks {args.ranks}\n{NOT_COMPARED}", flush=True)
    import_everything()
    work = Path(args.work or tempfile.mkdtemp(prefix="kill-test-"))
    results: list[Result] = []
    good = False
    try:
        runs = TinyRuns(work, args.ranks, args.workers)
        cases = runs.cases(args.commands, lambda line: print(line, flush=True))
        killer = Killer(random.Random(seed), args.ranks)
        for case in cases:
            start_time = time.perf_counter()
            result = killer.test(case, args.times)
            results.append(result)
            took = time.perf_counter() - start_time
            print(f"{case.command}: {result.equal} of {result.runs} equal, {took:.0f} s", flush=True)
            for problem in result.problems:
                print(f"  {problem}", flush=True)
        good = not any(result.problems for result in results)
    finally:
        if results:
            print(table(results))
            if args.output is not None:
                args.output.parent.mkdir(parents=True, exist_ok=True)
                args.output.write_text(json.dumps(_as_json(args, seed, results), indent=1) + "\n")
        if args.work is None and good:
            shutil.rmtree(work, ignore_errors=True)
        elif not good:
            print(f"what commands said is in {work / 'commands.log'}")
    return 0 if good else 1


def _as_json(args: argparse.Namespace, seed: int, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "seed": seed,
        "times": args.times,
        "ranks": args.ranks,
        "workers": args.workers,
        "commands": [asdict(result) for result in results],
    }


if __name__ == "__main__":
    sys.exit(main())
