"""What the parts of the package need that the ops do without: the extra `pipeline`."""

from __future__ import annotations

from importlib.util import find_spec

PIPELINE = {
    "jsonargparse": "jsonargparse",
    "yaml": "PyYAML",
    "torchvision": "torchvision",
    "timm": "timm",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "torchmetrics": "torchmetrics",
    "lightning_fabric": "lightning-fabric",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
    "jinja2": "Jinja2",
    "matplotlib": "matplotlib",
    "PIL": "Pillow",
    "pycocotools": "pycocotools",
}
"""Modules that only the pipeline needs, with the names of their packages."""


class MissingPackageError(ModuleNotFoundError):
    """A part of the package needs a package that is not installed; the message says how to install it."""


def need_pipeline(who: str) -> None:
    """Raise `MissingPackageError` unless every package of the extra can be imported.

    All of them and at once, though one step needs only some: what a run needs last is missed before the
    first step, not after hours. They are looked for, not imported, which takes milliseconds.
    """
    missing = {module: package for module, package in PIPELINE.items() if _is_missing(module)}
    if missing:
        names = ", ".join(missing.values())
        raise MissingPackageError(
            f"{who} needs {names}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'wsss_fast[pipeline]'",
            name=next(iter(missing)),
        )


def _is_missing(module: str) -> bool:
    try:
        return find_spec(module) is None
    except (ModuleNotFoundError, ValueError):  # ValueError: in sys.modules, but put there by hand
        return True
