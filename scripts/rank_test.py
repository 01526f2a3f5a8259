"""The steps as one process and as several: do they give the same results?

    make rank-test
    PYTHONPATH=. python scripts/rank_test.py --ranks 1,2,3 --training-ranks 2

Every inference step of a tiny run on generated images is started as so many processes at once, with the
variables that torchrun sets, from the same state; the files it leaves are compared to the bit. Every training
is run by one process and by several over gloo; what is printed is the largest difference in each column of
steps.csv and history.csv, relative to the mean of the column, and the bar is `--tolerance`. Losses are small
at the end of a training, where a difference relative to themselves says nothing of the curve. Last bits that
differ after the first step grow as they do between two trainings by one process whose first weights differ
by as little: fast where a learning rate is high and where batch norms see few numbers, so rates are lower
and batches larger here than in the kill test.

Exit codes: 0 all well, 1 something differs, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path

from _forked import import_everything
from _same import NOT_COMPARED, differences
from _tiny import GENTLE, STEPS, Case, TinyRuns, copy, run_to_the_end

TRAININGS = tuple(name for name in STEPS if name.startswith(("train-", "retrain-")))
INFERENCE = tuple(name for name in STEPS if name not in TRAININGS)


def compare_inference(case: Case, world: int) -> list[str]:
    """What is not as with one process, after the step was run by ``world`` of them."""
    case.reset()
    run_to_the_end(case.arguments, case.log, world)
    lines = differences(case.after, case.run)
    # run.json tells how many processes there are.
    found = [line for line in lines if "/step" not in line and "run.json" not in line]
    shares = _shares(case.run / case.command, world)
    print(f"{case.command:<24} {world} processes, images each: {shares}: {_verdict(found)}", flush=True)
    return [f"{case.command}, {world} processes: {line}" for line in found]


def _verdict(found: list[str]) -> str:
    return f"{len(found)} files differ" if found else "the same files"


def _shares(folder: Path, world: int) -> str:
    """How many images each process has made, as they say themselves."""
    made = []
    for rank in range(world):
        name = "step.json" if world == 1 else f"step-{rank}-of-{world}.json"
        path = folder / name
        made.append(str(json.loads(path.read_text())["items"]) if path.exists() else "?")
    return " + ".join(made)


def compare_training(case: Case, world: int, tolerance: float) -> list[str]:
    """What differs by more than the tolerance between a training by one process and by ``world``."""
    case.reset()
    run_to_the_end(case.arguments, case.log, world)
    problems = []
    for name in ("steps.csv", "history.csv"):
        one, many = case.after / case.command / name, case.run / case.command / name
        if not one.exists() or not many.exists():
            problems.append(f"{case.command}: expected {name} of both, got {one.exists()}, {many.exists()}")
            continue
        first, second = _numbers(one), _numbers(many)
        if [list(row) for row in first] != [list(row) for row in second]:
            problems.append(f"{case.command}, {name}: expected the same rows and columns, got others")
            continue
        worst = _worst(first, second)
        text = ", ".join(f"{column} {value:.1e}" for column, value in worst.items())
        print(f"{case.command:<24} {world} processes, {name}, {len(first)} rows: {text}", flush=True)
        # Metrics jump by one image where a score is on the edge; the curve of the loss does not.
        problems += [
            f"{case.command}, {world} processes, {name}: {column} differs by {value:.1e}, bar {tolerance:g}"
            for column, value in worst.items()
            if not value <= tolerance and not column.startswith("val_")
        ]
    return problems


def _numbers(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _worst(first: list[dict[str, float]], second: list[dict[str, float]]) -> dict[str, float]:
    """The largest difference in each column, relative to the mean of its values."""
    worst: dict[str, float] = {}
    for key in first[0]:
        off = max(abs(one[key] - two[key]) for one, two in zip(first, second, strict=True))
        size = sum(abs(row[key]) for row in first) / len(first)
        worst[key] = off / size if off else 0.0
    return worst


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The steps as one process and as several.")
    parser.add_argument("--ranks", default="1,2,3", help="processes of the inference steps (1,2,3)")
    parser.add_argument("--training-ranks", default="2", help="processes of the trainings (2)")
    parser.add_argument("--images", type=int, default=100, help="training images (100)")
    parser.add_argument("--steps", default=",".join(STEPS), metavar="NAME,...", help="which ones (all)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=2e-3,
        help="the largest difference of a loss, relative to its mean (2e-3)",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to run, and stay (else temporary)")
    parsed = parser.parse_args()
    for name in ("ranks", "training_ranks"):
        text = getattr(parsed, name)
        if not all(number.isdigit() and int(number) >= 1 for number in text.split(",")):
            parser.error(f"--{name.replace('_', '-')}: expected numbers such as 1,2,3, got {text!r}")
        setattr(parsed, name, [int(number) for number in text.split(",")])
    parsed.steps = [name for name in parsed.steps.split(",") if name]
    unknown = [name for name in parsed.steps if name not in STEPS]
    if unknown:
        parser.error(f"--steps: expected some of {', '.join(STEPS)}, got {', '.join(unknown)}")
    return parsed


def main() -> int:
    args = arguments()
    print(f"{NOT_COMPARED}\n  and what tells of the processes: step*.json, run.json", flush=True)
    import_everything()
    work = Path(args.work or tempfile.mkdtemp(prefix="rank-test-"))
    problems: list[str] = []
    runs = TinyRuns(work, images=args.images, learning=GENTLE)
    for case in runs.cases(args.steps, lambda line: print(line, flush=True)):
        worlds = args.training_ranks if case.command in TRAININGS else args.ranks
        for world in worlds:
            try:
                if case.command in TRAININGS:
                    problems += compare_training(case, world, args.tolerance)
                else:
                    problems += compare_inference(case, world)
            except (RuntimeError, TimeoutError) as error:
                problems.append(f"{case.command}, {world} processes: {error}")
                copy(case.run, work / "failed" / f"{case.command}-{world}")
    for problem in problems:
        print(problem)
    if problems:
        print(f"what commands said is in {work / 'commands.log'}")
    elif args.work is None:
        shutil.rmtree(work)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
