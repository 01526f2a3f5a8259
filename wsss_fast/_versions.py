"""What a run was made with."""

from __future__ import annotations

from importlib import metadata

from wsss_fast._info import build_info

_PACKAGES = (
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "torchmetrics",
    "lightning-fabric",
    "numpy",
    "opencv-python",
)


def versions() -> dict[str, str]:
    """The build of this package, and the versions of the packages that the steps stand on."""
    found = {key: str(value) for key, value in build_info().items()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
