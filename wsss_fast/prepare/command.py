"""The command ``wsss-fast prepare``: its arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wsss_fast._folder_lock import hold
from wsss_fast._option_errors import explain
from wsss_fast.config import ConfigError, DataConfig
from wsss_fast.config._types import check_type, shown
from wsss_fast.config_file import build, flat, key_types, read_values
from wsss_fast.prepare._examine import Check
from wsss_fast.prepare._report import Report
from wsss_fast.prepare._split import Settings, Unlabelled


class _What(NamedTuple):
    summary: str
    source: str


_WHAT = {
    "lid": _What("ILSVRC DET and the masks of the LID challenge", "the folder ILSVRC of the DET archive"),
    "voc": _What("PASCAL VOC 2012, with or without the augmented list", "the folder VOCdevkit/VOC2012"),
    "coco": _What("COCO 2014 or 2017", "the folder with annotations/, train2017/ and val2017/ (or 2014)"),
    "folder": _What(
        "images of one's own with a table of labels (index files open at once, however many they are)",
        "the folder with images/, labels.csv and maybe masks/",
    ),
    "check": _What("look at every file of a data set that a reader reads", ""),
}


_MAX_WORKERS = 1024


def prepare(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code: 1 where ``--strict`` is given and something was found, else 0.

    Raises `ConfigError` for a wrong command line, `DataError` for files that stop it.
    """
    if not arguments or arguments[0] in ("--help", "-h"):
        print(_usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    what, *rest = arguments
    if what not in _WHAT:
        raise ConfigError(f"expected one of {', '.join(_WHAT)}, got {what!r}")
    options = _parse(what, rest)
    if options is None:  # --help
        return 0
    for key, value in options.items():
        if isinstance(value, str):
            check_type(f"--{key.replace('_', '-')}", str, value)
    if not 0 <= options["workers"] <= _MAX_WORKERS:
        raise ConfigError(
            f"--workers: expected a number >= 0 and <= {_MAX_WORKERS}, got {shown(options['workers'])}"
        )
    if os.path.exists(options["destination"]) and not os.path.isdir(options["destination"]):
        raise ConfigError(f"--destination: expected a folder, got the file {options['destination']!r}")
    settings = Settings(
        destination=_path(options["destination"]),
        workers=options["workers"],
        check=options["check"],
        unlabelled=options.get("unlabelled", "keep"),
    )
    with hold(settings.destination, "--destination"):
        report = _run(what, options, settings)
    print(report.summary())
    print(f"report: {settings.destination / 'report.md'}")
    return 1 if options["strict"] and report.findings else 0


def _run(what: str, options: dict[str, Any], settings: Settings) -> Report:
    def path(key: str) -> Path | None:
        return None if options[key] is None else _path(options[key])

    if what == "check":
        from wsss_fast.prepare.check import check_data

        return check_data(build(DataConfig, options["data"], "data."), settings)
    source = _path(options["source"])
    if not os.path.isdir(source):  # whose answer to names that are too long is no, where Path raises
        raise ConfigError(f"--source: expected {_WHAT[what].source}, got {source}, which is no folder")
    if what == "lid":
        from wsss_fast.prepare.lid import prepare_lid

        return prepare_lid(source, settings, val_masks=path("val_masks"), classes_file=path("classes_file"))
    if what == "voc":
        from wsss_fast.prepare.voc import prepare_voc

        keys = ("train_list", "val_list", "train_masks", "val_masks")
        return prepare_voc(source, settings, **{key: path(key) for key in keys})
    if what == "folder":
        from wsss_fast.prepare.folder import prepare_folder

        return prepare_folder(
            source, settings, train_split=options["train_split"], val_split=options["val_split"]
        )
    from wsss_fast.prepare.coco import prepare_coco

    return prepare_coco(source, settings, year=options["year"], train_masks=options["train_masks"])


def _path(text: str) -> Path:
    """With ``~`` for the user's home, which a shell does not see behind ``--KEY=``."""
    return Path(os.path.expanduser(text))


def _usage() -> str:
    lines = [
        "usage: wsss-fast prepare {" + ",".join(_WHAT) + "} [--KEY VALUE ...]",
        "",
        "Read a data set, look at every file, and write index files for the reader `prepared`",
        "(--data.reader prepared --data.root DESTINATION), with a report.",
        "",
        *(f"  {name:<8}{what.summary}" for name, what in _WHAT.items()),
        "",
        "`wsss-fast prepare lid --help` lists the arguments of each.",
    ]
    return "\n".join(lines)


def _parse(what: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """The arguments by their names; None if they asked for help."""
    import jsonargparse

    parser = _parser(what)
    try:
        if what == "check":
            _take_file(parser, arguments)
        return dict(parser.parse_args(list(arguments)).as_dict())
    except jsonargparse.ArgumentError as error:
        raise ConfigError(
            explain(error, _types(parser), ("no-strict",), arguments, "an option of prepare")
        ) from None
    except SystemExit:
        return None


def _types(parser: Any) -> dict[str, Any]:
    """The options with their types, as they are written."""
    known = key_types()  # those of a reader are keys of the config too
    found: dict[str, Any] = {}
    for action in parser._actions:
        for option in action.option_strings[:1]:
            name = option.removeprefix("--").removesuffix("+")
            found[name] = known.get(name) or getattr(action, "_typehint", None) or action.type or str
    return found


def _parser(what: str) -> Any:
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    summary = _WHAT[what].summary
    parser = jsonargparse.ArgumentParser(
        prog=f"wsss-fast prepare {what}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    if what == "check":
        parser.add_argument("--config", metavar="FILE.yaml", help="a run's config; its section data is used")
    else:
        parser.add_argument("--source", required=True, metavar="DIR", help=_WHAT[what].source)
    parser.add_argument(
        "--destination",
        required=True,
        metavar="DIR",
        help="where the report goes" if what == "check" else "where the index files and the report go",
    )
    _add_own(parser, what)
    if what != "check":
        parser.add_argument(
            "--unlabelled",
            type=Unlabelled,
            default="leave-out",
            help="training images without any class; validation images stay",
        )
    parser.add_argument(
        "--check",
        type=Check,
        default="content",
        help="content: decode every image and mask in full; files: only see whether they are there",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that look; 0: none but this one")
    parser.add_argument(
        "--strict",
        action=jsonargparse.ActionYesNo(no_prefix="no-"),
        default=False,
        help="exit with 1 if anything was found; all is written all the same",
    )
    return parser


def _add_own(parser: Any, what: str) -> None:
    import jsonargparse

    if what == "lid":
        parser.add_argument(
            "--val-masks",
            metavar="DIR",
            help="the challenge's masks (track1_val_annotations_raw); their names are the validation list",
        )
        parser.add_argument(
            "--classes-file",
            metavar="FILE",
            help="classes in the format of map_det.txt, `<WordNet id> <id> <name>` a line; default: the 200",
        )
    elif what == "voc":
        parser.add_argument(
            "--train-list",
            metavar="FILE",
            help="names to train on, such as train_aug.txt; default: train.txt",
        )
        parser.add_argument("--val-list", metavar="FILE", help="names to validate on; default: val.txt")
        parser.add_argument(
            "--train-masks",
            metavar="DIR",
            help="masks of training images, for evaluation, such as SegmentationClassAug; default: none",
        )
        parser.add_argument(
            "--val-masks", metavar="DIR", help="masks of validation images; default: SegmentationClass"
        )
    elif what == "coco":
        parser.add_argument(
            "--year", type=Literal["2014", "2017"] | None, help="which of them, where both are there"
        )
        parser.add_argument(
            "--train-masks",
            action=jsonargparse.ActionYesNo(no_prefix="no-"),
            default=False,
            help="make the masks of the training images too, for evaluation",
        )
    elif what == "folder":
        for split, images in (("train", "training"), ("val", "validation")):
            parser.add_argument(
                f"--{split}-split",
                default=split,
                metavar="VALUE",
                help=f"value of the column split that {images} images have",
            )
    else:
        parser.add_class_arguments(DataConfig, "data", sub_configs=False)


def _take_file(parser: Any, arguments: Sequence[str]) -> None:
    """Make the data section of ``--config`` the defaults."""
    import argparse

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?")
    path = first.parse_known_args(arguments)[0].config
    if path is not None:
        data = read_values(path).get("data", {})
        parser.set_defaults({f"data.{key}": value for key, value in flat(data)})
