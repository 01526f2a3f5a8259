"""Step 2: instance masks, from the displacement field and a random walk for each instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco

from wsss_fast.config import Config, InstancesConfig
from wsss_fast.data import ImageSet, open_images
from wsss_fast.files import DataError, atomic_path, read_json, write_json
from wsss_fast.models.backbone import normalization
from wsss_fast.models.irnet import IRNet, boundary_and_displacement
from wsss_fast.steps._copies import to_device, to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._instances import (
    Instance,
    InstanceMaps,
    centroids,
    clusters,
    found_instances,
    instance_maps,
)
from wsss_fast.steps._maps import Cams, OwnThreshold, own_threshold, person_id, relative
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained
from wsss_fast.steps.make_pseudo_masks import read_due_walk_cams, resampled, walked

STEP = "make-instance-masks"


def make_instance_masks(config: Config) -> None:
    """Write ``make-instance-masks/<split>/<name>.json`` and, of all images, ``<split>.json``.

    Of several processes the last one that finishes its share joins those of all into the latter.

    Both are lists in COCO's format of results: ``image_id``, ``category_id`` (the class id), ``segmentation``
    (run lengths at the size of the image, as pycocotools reads them), ``bbox`` (x, y, width, height),
    ``area`` (pixels) and ``score`` (the greatest activation, in [0, 1]). ``image_id`` is the number that the
    name of the image is (000000000139: 139) where all names of the split are different numbers (of at most
    18 digits), else the name.

    The method of Ahn et al. (CVPR 2019): cells that the displacements lead to one centroid are of one
    instance, each class's map is restricted to each instance, and the restrictions walk as the maps do for
    the pseudo-masks. Maps that join those after the walk (``person.merge: after``) do not walk here either,
    and their threshold is their own.

    >>> from pathlib import Path
    >>> from wsss_fast.steps.make_instance_masks import make_instance_masks
    >>> make_instance_masks(config)
    >>> (Path(config.output) / "make-instance-masks/val.json").exists()
    True
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        model = trained(IRNet(config.irnet.backbone.without_weights()), config, "train-irnet", device)
        normalize = Normalize(*normalization(config.irnet.backbone), device)
        ops = op_device(device)
        for role in config.instances.splits:
            images = open_images(config.data, role)
            numbers = names_are_numbers(images)
            folder = this.folder / role
            person = person_id(config, images.classes)
            for batch in equal_size_batches(config, this, images, role, folder, ".json"):
                cams = read_due_walk_cams(config, this, role, batch, len(images.classes))
                with this.profile.part("network"), torch.no_grad():
                    boundaries, displacements = boundary_and_displacement(model, normalize(batch.images))
                    boundaries, displacements = boundaries.to(ops), displacements.to(ops)
                with this.profile.part("cluster"), torch.no_grad():
                    ends = centroids(displacements, config.instances.iterations)
                    # How many maps walk is decided by how many clusters there are: the host has to know.
                    fields, ends = to_host([displacements, ends])
                    parts = {place: clusters(ends[place].numpy(), fields[place].numpy()) for place in cams}
                    walking = [_restricted(of.walking, parts[place]) for place, of in cams.items()]
                with this.profile.part("walk"), torch.no_grad():
                    walks = walked(
                        [to_device(of.maps, ops) for of in walking],
                        [boundaries[place] for place in cams],
                        config.pseudo_masks,
                    )
                    walks = to_host(walks)
                with this.profile.part("label"):
                    results: dict[str, list[dict[str, Any]]] = {}
                    for (place, of), before, walk in zip(cams.items(), walking, walks, strict=True):
                        name = batch.names[place]
                        maps = InstanceMaps(before.classes, walk)
                        if of.joining is not None:
                            maps = _joined(maps, _restricted(of.joining, parts[place]))
                        own = own_threshold(config, maps.classes, person)
                        instances = instances_of(maps, batch.size, config.instances, own)
                        results[name] = [coco_result(x, image_id(name, numbers)) for x in instances]
                with this.profile.part("write"):
                    for name, of_image in results.items():
                        write_json(folder / f"{name}.json", of_image)
        if this.last_to_make_its_share():
            for role in config.instances.splits:
                images = open_images(config.data, role)
                _write_merged(this.folder / f"{role}.json", this.folder / role, images)


def instances_of(
    maps: InstanceMaps, size: tuple[int, int], config: InstancesConfig, own: OwnThreshold | None = None
) -> list[Instance]:
    """Instances of an image of ``size`` from maps ``[P,h,w]`` on the CPU, after the walk."""
    if len(maps.maps) == 0:
        return []
    # Most maps lose everywhere, and are not resampled: of the maximum, resampling to more pixels leaves a
    # quarter or more, as there is a pixel within half a cell of it.
    if size[0] >= maps.maps.shape[1] and size[1] >= maps.maps.shape[2]:
        least = min(config.threshold, own.threshold if own is not None else 1.0) / 4
        keep = (relative(maps.maps, own).amax((1, 2)) >= least).numpy()
        maps = InstanceMaps(maps.classes[keep], maps.maps[torch.from_numpy(keep)])
        if own is not None:
            kept = tuple(bool(x) for x in np.array(own.maps)[keep])
            own = OwnThreshold(kept, own.threshold, own.apart) if any(kept) else None
    full = resampled(maps.maps, size)
    return found_instances(maps.classes, full, config.threshold, config.min_area, own)


def coco_result(instance: Instance, image_id: int | str) -> dict[str, Any]:
    """An instance in COCO's format of results."""
    code = coco.encode(np.asfortranarray(instance.mask))
    return {
        "image_id": image_id,
        "category_id": instance.class_id,
        "segmentation": {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()},
        "bbox": coco.toBbox(code).tolist(),
        "area": instance.area,
        "score": instance.score,
    }


def image_id(name: str, numbers: bool) -> int | str:
    """``image_id`` of an image; ``numbers``: whether those of its split are numbers."""
    return int(name) if numbers else name


def names_are_numbers(images: ImageSet) -> bool:
    """Whether the names of all images are different numbers, of at most 18 digits."""
    numbers = np.empty(len(images), np.int64)
    for i in range(len(images)):
        name = images.name(i)
        if not (name.isascii() and name.isdigit() and len(name) <= 18):
            return False
        numbers[i] = int(name)
    return len(np.unique(numbers)) == len(images)


def _restricted(cams: Cams, parts: np.ndarray) -> InstanceMaps:
    return instance_maps(cams.classes, resampled(cams.strided, parts.shape), parts)


def _joined(maps: InstanceMaps, others: InstanceMaps) -> InstanceMaps:
    classes = np.concatenate([maps.classes, others.classes])
    order = np.argsort(classes, kind="stable")
    return InstanceMaps(classes[order], torch.cat([maps.maps, others.maps])[torch.from_numpy(order)])


def _write_merged(path: Path, folder: Path, images: ImageSet) -> None:
    """All results of a split in one file, in the order of its images: one list, as `write_json` writes it,
    without having it in memory."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as out,  # as `write_text` does
    ):
        before = "[\n"
        for index in range(len(images)):
            file = folder / f"{images.name(index)}.json"
            results = read_json(file) if file.exists() else []
            if not isinstance(results, list) or not all(isinstance(of, dict) for of in results):
                raise DataError(file, "expected a list of results, got another JSON file")
            if results:
                items = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
                out.write(before + items.removeprefix("[\n").removesuffix("\n]"))
                before = ",\n"
        out.write("[]\n" if before == "[\n" else "\n]\n")
