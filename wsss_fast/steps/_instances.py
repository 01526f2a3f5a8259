"""From a displacement field to instances: Ahn, Cho, Kwak (CVPR 2019), section 4.2 and supplement."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_fast.steps._maps import OwnThreshold, local_labels, relative

WEAK = 2.5
"""Displacements shorter than this, in cells, are those of a centroid's surroundings: the authors' value."""


@dataclass(frozen=True)
class Instance:
    """One object of an image."""

    class_id: int
    mask: np.ndarray
    """uint8 ``[H,W]``, 0 and 1; connected."""
    score: float
    """Its greatest activation, relative to the image's: in [0, 1]."""

    @property
    def area(self) -> int:
        """In pixels."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class InstanceMaps:
    """Maps of single instances of one image."""

    classes: np.ndarray
    """The class id of each map: ``[P]`` int64, ascending."""
    maps: Tensor
    """``[P,h,w]`` float32."""


def centroids(displacement: Tensor, iterations: int) -> Tensor:
    """Where each cell comes to by following the displacements: ``[B,2,h,w]`` -> int64 ``[B,h,w]``, the cell
    y * w + x.

    A displacement (dy, dx) in cells leads from a cell towards the centre of its object. It is followed
    ``iterations`` times, each time by the bilinearly interpolated displacement of where the last led to;
    nothing leaves the map.
    """
    height, width = displacement.shape[2:]
    device = displacement.device
    y = torch.arange(height, device=device, dtype=torch.float32)
    x = torch.arange(width, device=device, dtype=torch.float32)
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # [h,w,2], (x, y)
    # grid_sample takes places from -1 to 1. With sides of a power of two and one, cells are exactly cells
    # there: else what rests beside an object would be drawn into it, by rounding that grows at each step.
    tall, wide = (1 << max(0, side - 2).bit_length() for side in (height, width))
    field = displacement.float().flip(1)  # (dx, dy)
    field = F.pad(field, (0, wide + 1 - width, 0, tall + 1 - height), mode="replicate")
    unit = torch.tensor([2 / wide, 2 / tall], device=device)
    last = cells[-1, -1]
    places = cells.expand(len(displacement), -1, -1, -1)
    for _ in range(iterations):
        step = F.grid_sample(field, places * unit - 1, padding_mode="border", align_corners=True)
        places = torch.minimum((places + step.permute(0, 2, 3, 1)).clamp_min(0), last)
    there = places.round().long()
    return there[..., 1] * width + there[..., 0]


def clusters(centroids: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Which cells flow to one centroid: int64 ``[h,w]`` of `centroids` and ``[2,h,w]`` -> ``[h,w]``, 0..I-1.

    Cells whose displacement is shorter than ``WEAK`` are the surroundings of a centroid where they are
    connected (by their sides), and whatever ends among them is of one cluster. What ends elsewhere makes up a
    cluster of its own, as with the authors.
    """
    weak = np.hypot(displacement[0], displacement[1]) < WEAK
    _, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=4)
    _, numbers = np.unique(labels.ravel()[centroids.ravel()], return_inverse=True)
    return numbers.reshape(centroids.shape)


def instance_maps(classes: np.ndarray, maps: Tensor, clusters: np.ndarray) -> InstanceMaps:
    """The maps ``[K,h,w]`` of classes (ids, ascending), each restricted to the cells of one cluster after the
    other; restrictions without any activation are left out."""
    inside = torch.from_numpy(clusters == np.arange(clusters.max(initial=-1) + 1)[:, None, None])
    # [K,I]: the maximum of a class within a cluster
    active = torch.stack([(maps * of).amax((1, 2)) > 0 for of in inside], 1)
    pairs = active.nonzero()  # in the order of the classes
    return InstanceMaps(classes[pairs[:, 0].numpy()], maps[pairs[:, 0]] * inside[pairs[:, 1]])


def found_instances(
    classes: np.ndarray, maps: Tensor, threshold: float, min_area: float, own: OwnThreshold | None = None
) -> list[Instance]:
    """Instances from maps ``[P,H,W]`` at the size of the image, of classes ``[P]`` (ids).

    A pixel is of the map that `local_labels` gives it, relative to the maximum of the image; what is
    connected (by sides) there is an instance. Those smaller than ``min_area`` times the image's largest are
    dropped. In the order of the maps, then of the first pixel.
    """
    if len(maps) == 0:
        return []
    maps = relative(maps, own)
    labels = local_labels(maps, threshold, own).numpy()
    found: list[tuple[int, np.ndarray, np.ndarray]] = []  # a map, its components, their areas
    for label in np.unique(labels[labels > 0]):
        _, components, stats, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=4
        )
        found.append((int(label) - 1, components, stats[:, cv2.CC_STAT_AREA]))
    least = min_area * max((areas[1:].max() for _, _, areas in found), default=0)
    instances = []
    for place, components, areas in found:
        activation = maps[place].numpy()
        for component in range(1, len(areas)):
            if areas[component] >= least:
                inside = components == component
                score = float(activation[inside].max())
                instances.append(Instance(int(classes[place]), inside.astype(np.uint8), score))
    return instances
