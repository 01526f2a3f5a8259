"""The command ``wsss-fast``.

Exit codes: 0 done, 1 the data, a file or an earlier step is at fault, 2 the command line or the config is,
130 interrupted. Those come with one message and no traceback; anything else is a defect and shows where.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from wsss_fast._extras import MissingPackageError, need_pipeline
from wsss_fast._folder_lock import InUseError, hold
from wsss_fast._option_errors import explain
from wsss_fast._version import __version__
from wsss_fast.config import Config, ConfigError
from wsss_fast.config._types import printable
from wsss_fast.config_file import (
    build,
    check_null,
    flat,
    key_types,
    read_values,
    recipe,
    save,
)
from wsss_fast.files import DataError, WriteError


class _Command(NamedTuple):
    module: str
    function: str
    summary: str


COMMANDS: dict[str, _Command] = {
    "train-classifier": _Command("steps.train_classifier", "train_classifier", "train the image classifier"),
    "make-cams": _Command("steps.make_cams", "make_cams", "class activation maps of every image"),
    "train-person-classifier": _Command(
        "steps.train_person_classifier",
        "train_person_classifier",
        "train the classifier of person.name alone",
    ),
    "make-person-cams": _Command(
        "steps.make_person_cams", "make_person_cams", "class activation maps of that class"
    ),
    "make-ir-labels": _Command(
        "steps.make_ir_labels", "make_ir_labels", "confident regions, from the CAMs by a dense CRF"
    ),
    "train-irnet": _Command("steps.train_irnet", "train_irnet", "train IRNet on the confident regions"),
    "make-pseudo-masks": _Command(
        "steps.make_pseudo_masks", "make_pseudo_masks", "pseudo-masks, from the CAMs by a random walk"
    ),
    "make-instance-masks": _Command(
        "steps.make_instance_masks",
        "make_instance_masks",
        "instance masks (COCO RLE), from the displacements and a random walk",
    ),
    "train-segmenter": _Command(
        "steps.train_segmenter", "train_segmenter", "train the segmentation network on the pseudo-masks"
    ),
    "refine-pseudo-masks": _Command(
        "steps.refine_pseudo_masks",
        "refine_pseudo_masks",
        "pseudo-masks anew, from the segmentation network and the dense CRF",
    ),
    "retrain-segmenter": _Command(
        "steps.retrain_segmenter", "retrain_segmenter", "train the segmentation network on those"
    ),
    "predict": _Command("steps.predict", "predict", "masks from the segmentation network"),
    "evaluate": _Command(
        "steps.evaluate", "evaluate", "mean IoU after each stage, where there are true masks"
    ),
    "report": _Command("report", "report", "one HTML page about the run"),
    "run": _Command("steps.run", "run", "all of the above, in this order"),
    "ablate": _Command("steps.ablate", "ablate", "run the grid of `ablate` and lay out its table"),
    "demo": _Command("steps.run", "run", "`run` with the built-in recipe on generated images"),
}


_GOES_ON = "The same command goes on where this one stopped."

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


_OPTIONS = ("config", "strict", "no-strict")
"""What there is beside the keys of the config."""


class _UsageError(Exception):
    """The command line is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    >>> from wsss_fast.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    wsss-fast ...
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may have what it cannot show
            stream.reconfigure(errors="backslashreplace")
    parser = _commands_parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    try:
        chosen, rest = parser.parse_known_args(arguments)
    except SystemExit as stop:  # --help, --version or a wrong command: argparse has said what there is to say
        return int(stop.code or 0)
    name: str = chosen.command

    def fail(code: int, message: object, hint: str = "") -> int:
        with suppress(OSError):  # a log on a disk that is full takes no message either
            print(f"wsss-fast {name}: error: {printable(str(message))}", file=sys.stderr)
            if hint:
                print(hint, file=sys.stderr)
        return code

    try:
        need_pipeline("this command")
        if name == "prepare":
            from wsss_fast.prepare.command import prepare

            return prepare(rest)
        config = parse_config(name, rest)
        if config is None:  # --help
            return 0
        with ExitStack() as until_done:
            _open_output(config, until_done)
            result = _carry_out(name, config)
    except (_UsageError, ConfigError) as error:
        return fail(2, error, f"`wsss-fast {name} --help` lists every key with its default.")
    except MissingPackageError as error:
        return fail(1, error)
    except KeyboardInterrupt:
        return fail(130, "interrupted", _GOES_ON)
    except Exception as error:
        if _is_foreseen(error):
            return fail(1, error)
        accident = _accident(error)
        if accident is None:
            raise
        return fail(1, accident, _GOES_ON)
    from wsss_fast.steps._ranks import ranks  # not before it is known that the steps can be imported

    if name in ("report", "run", "demo") and ranks().first:
        print(f"report: {result}")
    return 0


def parse_config(command: str, arguments: Sequence[str]) -> Config | None:
    """The config that the arguments after the command ask for; None if they asked for help.

    ``--config`` names a YAML file, and every key is an option that wins over the file. Raises `ConfigError`
    or an error of the command line, either with a message for the user.

    >>> from wsss_fast.cli import parse_config
    >>> config = parse_config("run", ["--output", "runs/mine", "--cams.scales", "[1, 0.5]"])
    >>> config.output, config.cams.scales
    ('runs/mine', [1.0, 0.5])
    """
    import jsonargparse

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    try:
        path = first.parse_known_args(arguments)[0].config
    except argparse.ArgumentError as error:
        raise _UsageError(error) from None
    if path is None and command == "demo":
        path = str(recipe("demo"))

    parser = _config_parser(command)
    try:
        if path is not None:
            values = read_values(path)
            try:
                parsed = parser.parse_object(values)
            except jsonargparse.ArgumentError as error:
                raise ConfigError(f"{path}: {explain(error, key_types())}") from None
            given = {key for key, _ in flat(values)}
            parser.set_defaults({k: v for k, v in flat(parsed.as_dict()) if k in given})
        result = parser.parse_args(list(arguments)).as_dict()
    except jsonargparse.ArgumentError as error:
        raise _UsageError(explain(error, key_types(), _OPTIONS, arguments)) from None
    except SystemExit:
        return None
    result.pop("config")
    strict = result.pop("strict")
    if strict is not None:
        result["data"]["strict"] = strict
    check_null(result)
    return build(Config, result)


def _commands_parser() -> argparse.ArgumentParser:
    """The parser of the first word. It knows no config key, so that it needs nothing heavy to start."""
    parser = argparse.ArgumentParser(
        prog="wsss-fast",
        description="Train a segmentation network from image-level labels.",
        epilog="Each command takes --config FILE.yaml and any key of the config as an option; "
        "`wsss-fast COMMAND --help` lists them with their defaults.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wsss-fast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, add_help=False, allow_abbrev=False)
    commands.add_parser(
        "prepare",
        help="index files and a report of LID, VOC, COCO or a folder of images (no config)",
        add_help=False,
        allow_abbrev=False,
    )
    return parser


def _config_parser(command: str) -> Any:
    """The parser of everything after the first word: one option a key of the config."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(
        prog=f"wsss-fast {command}",
        usage=f"wsss-fast {command} [--config FILE.yaml] [--strict] [--KEY VALUE ...]",
        description=f"{COMMANDS[command].summary[0].upper()}{COMMANDS[command].summary[1:]}.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    built_in = "; default: the built-in recipe" if command == "demo" else ""
    parser.add_argument(
        "--config",
        metavar="FILE.yaml",
        help=f"YAML with any of the keys below; options given here win over it{built_in}",
    )
    parser.add_argument(
        "--strict",
        action=jsonargparse.ActionYesNo(no_prefix="no-"),
        default=None,
        help="short for --data.strict true (or false)",
    )
    parser.add_class_arguments(Config, sub_configs=False)
    return parser


def _open_output(config: Config, until_done: ExitStack) -> None:
    """Have the output folder for this command alone, and write its config there."""
    from wsss_fast.steps._ranks import ranks  # not before it is known that the steps can be imported

    of = ranks()
    try:
        until_done.enter_context(hold(config.output, "output", rank=of.rank, world=of.world))
        save(config, Path(config.output) / "config.yaml")
    except WriteError as error:
        if error.errno in _NO_SPACE:  # another folder may help, but it is not a wrong one
            raise
        raise ConfigError(
            f"output: expected a folder that can be written, got {config.output!r} ({error.reason})"
        ) from error


def _carry_out(name: str, config: Config) -> Any:
    """What the command's function returns. However it ends, run.json is brought up to date."""
    command = COMMANDS[name]
    function = getattr(importlib.import_module(f"wsss_fast.{command.module}"), command.function)
    from wsss_fast.run_summary import write_run_summary

    try:
        result = function(config)
    except BaseException:
        with suppress(OSError, ValueError, RuntimeError):  # the error of the command is the one to show
            write_run_summary(config, name)
        raise
    write_run_summary(config, name)
    return result


def _is_foreseen(error: Exception) -> bool:
    """Whether the error is about the user's files, weights or order of steps, and its message says all.

    Steps load heavy modules; an error of theirs can only come if theirs was loaded.
    """
    kinds: list[type[Exception]] = [DataError, InUseError]
    for module, name in (("steps._states", "StepError"), ("models.backbone", "WeightsError")):
        loaded = sys.modules.get(f"wsss_fast.{module}")
        if loaded is not None and hasattr(loaded, name):
            kinds.append(getattr(loaded, name))
    return isinstance(error, tuple(kinds))


def _accident(error: Exception) -> str | None:
    """What the machine did to the run, in words; None for errors that are no such thing."""
    if isinstance(error, WriteError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        if error.errno in (*_NO_SPACE, *_NO_RIGHT):  # a library wrote it, or a folder could not be made
            return str(WriteError(error.filename, error))
        return f"{error.filename}: expected a file or folder that can be used, got: {error.strerror}"
    if _is_out_of_memory(error):
        reason = " ".join(str(error).split())[:300]
        return (
            f"expected memory enough for it, got: {reason or type(error).__name__}; it takes less with a "
            "smaller batch_size (or a greater accumulate), image_size, or fewer and smaller scales"
        )
    if isinstance(error, RuntimeError):
        from wsss_fast.data._workers import lost_worker

        return lost_worker(error)
    return None


def _is_out_of_memory(error: Exception) -> bool:
    # Of torch on a GPU and on a CPU, of NumPy and Python, and of OpenCV, which have no common type.
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return type(error).__name__ in ("OutOfMemoryError", "RuntimeError", "error") and any(
        sign in text
        for sign in ("out of memory", "can't allocate memory", "not enough memory", "Insufficient memory")
    )


if __name__ == "__main__":
    sys.exit(main())
