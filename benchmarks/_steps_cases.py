"""The steps make-ir-labels and make-pseudo-masks beside the same written with the established packages."""

from __future__ import annotations

import datetime
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import _peer
import _steps_peer
import _walk
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from _photos import HEIGHT, WIDTH, Picture
from _setting import THREADS, generator
from _table import LeftOut, Row, ratios
from _timing import SETTLED, Way, in_turns
from torch import Tensor

from wsss_fast.config import BackboneConfig, CrfConfig, IrLabelsConfig, PseudoMasksConfig
from wsss_fast.data.decode import read_image
from wsss_fast.files import read_mask, write_mask, write_npz
from wsss_fast.models.backbone import normalization
from wsss_fast.models.irnet import IRNet, boundary_map
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import channels_last
from wsss_fast.steps._inference import Normalize
from wsss_fast.steps._maps import read_cams, to_class_ids
from wsss_fast.steps.make_ir_labels import confident_regions
from wsss_fast.steps.make_pseudo_masks import pseudo_labels, walked

CPU = torch.device("cpu")
CLASSES = 2  # maps an image
PAIR = 2  # images of a round: one for each of two processes
THRESHOLDS = IrLabelsConfig()
WALK = PseudoMasksConfig()
UNIT = "img/s"
DENSE = "dense_pseudo_masks"  # its place in a result file


@dataclass(frozen=True)
class Setting:
    pictures: Sequence[Picture]  # PAIR a round, and a round to warm up
    folder: Path  # for files of the moment
    dense: bool = False  # whether there are minutes to spend on the dense matrix
    former: dict[str, Any] = field(default_factory=dict)  # the result file of a former run
    about: dict[str, Any] = field(default_factory=dict)  # for this run's

    def rounds(self) -> Iterator[Sequence[Item]]:
        items = [Item.write(self.folder, picture, seed) for seed, picture in enumerate(self.pictures)]
        return iter([items[i : i + PAIR] for i in range(0, len(items) - PAIR + 1, PAIR)])


@dataclass(frozen=True)
class Item:
    """The files of one image."""

    folder: Path
    seed: int

    @property
    def image(self) -> Path:
        return self.folder / f"{self.seed}.jpg"

    @property
    def cams(self) -> Path:
        return self.folder / f"{self.seed}.npz"

    def target(self, whose: str) -> Path:
        return self.folder / whose / f"{self.seed}.png"

    @property
    def boundary(self) -> Tensor:
        """[1,h,w]: as a trained network draws it, which the untrained ones here do not."""
        return _walk.inputs(1, self.seed)[1]

    @staticmethod
    def write(folder: Path, picture: Picture, seed: int) -> Item:
        """Made-up maps: blobs on less than half of the picture, every map of maximum 1."""
        item = Item(folder, seed)
        pixels = np.ascontiguousarray(picture.at(HEIGHT, WIDTH).numpy().transpose(1, 2, 0))
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        if not cv2.imwrite(str(item.image), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality):
            raise OSError(f"{item.image}: cannot be written")
        blobs = torch.randn(1, CLASSES, 5, 6, generator=generator(seed))
        maps = []
        for size in ((_walk.HEIGHT, _walk.WIDTH), (HEIGHT, WIDTH)):
            smooth = F.interpolate(blobs, size, mode="bicubic", align_corners=False)[0].clamp_min(0)
            maps.append((smooth / (smooth.amax((1, 2), keepdim=True) + 1e-5)).numpy())
        classes = np.array([3, 11], np.int16)
        write_npz(item.cams, classes=classes, strided=maps[0], full=maps[1].astype(np.float16))
        return item


# --- make-ir-labels ------------------------------------------------------------------------------------


def our_ir_labels(item: Item) -> None:
    cams = read_cams(item.cams)
    regions = confident_regions(read_image(item.image), cams, THRESHOLDS, CrfConfig(), CPU)
    write_mask(item.target("ours"), to_class_ids(regions, cams.classes, np.uint8))


def _job(item: Item) -> tuple[Path, Path, Path, float, float]:
    limits = (THRESHOLDS.foreground_threshold, THRESHOLDS.background_threshold)
    return item.image, item.cams, item.target("theirs"), *limits


def ir_labels(setting: Setting) -> Iterator[Row]:
    rounds = list(setting.rounds())
    # Processes of their own, as IRNet's script has them: pydensecrf knows no threads.
    with ProcessPoolExecutor(PAIR, mp_context=get_context("spawn")) as pool:
        wait([pool.submit(_steps_peer.warm_up) for _ in range(PAIR)])

        def in_processes(items: Sequence[Item]) -> None:
            list(pool.map(_steps_peer.ir_labels_of, [[_job(item)] for item in items]))

        def ways(items: Sequence[Item]) -> list[Way]:
            return [
                Way(partial(_steps_peer.ir_labels_of, [_job(item) for item in items])),
                Way(partial(in_processes, items), THREADS),
                Way(partial(_each, our_ir_labels, items), THREADS),
            ]

        one, two, ours = in_turns([partial(ways, items) for items in rounds], SETTLED)
    yield from _beside("make-ir-labels", {"pydensecrf, 1 process": one, "pydensecrf, 2 processes": two}, ours)
    yield agreement("make-ir-labels", itertools.chain.from_iterable(rounds), "pydensecrf")


# --- make-pseudo-masks ---------------------------------------------------------------------------------

Network = Callable[[Item], None]


def network(name: str) -> Network:
    """What an image costs in a network, of random weights: its boundary map is thrown away."""
    backbone = BackboneConfig(name=name)
    torch.manual_seed(0)
    model = channels_last(IRNet(backbone)).eval()
    normalize = Normalize(*normalization(backbone), CPU)

    def run(item: Item) -> None:
        with torch.no_grad():
            boundary_map(model, normalize(torch.from_numpy(read_image(item.image))[None]))

    return run


def no_network(item: Item) -> None:
    read_image(item.image)


def our_pseudo_masks(item: Item, boundary: Tensor, network: Network) -> None:
    network(item)
    cams = read_cams(item.cams)
    (walk,) = walked([cams.strided], [boundary], WALK)
    masks = pseudo_labels(walk, (HEIGHT, WIDTH), WALK.thresholds)
    _write(item, "ours", to_class_ids(masks[0], cams.classes), *to_host([walk.half(), boundary.half()]))


def their_pseudo_masks(
    item: Item, boundary: Tensor, network: Network, walk: Callable[[Tensor, Tensor], Tensor]
) -> None:
    network(item)
    cams = read_cams(item.cams)
    maps = walk(cams.strided, boundary)
    full = F.interpolate(maps[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0]
    full = F.pad(full / full.max(), (0, 0, 0, 0, 1, 0), value=WALK.thresholds[0])
    keys = np.concatenate([[0], cams.classes]).astype(np.uint8)
    _write(item, "theirs", keys[full.argmax(0).numpy()], (maps / maps.max()).half(), boundary.half())


def _write(item: Item, whose: str, mask: np.ndarray, walk: Tensor, boundary: Tensor) -> None:
    target = item.target(whose)
    write_mask(target, mask)
    write_npz(target.with_suffix(".npz"), walk=walk.numpy(), boundary=boundary[0].numpy())


def sparse(cam: Tensor, boundary: Tensor) -> Tensor:
    columns = _walk.sparse_steps(_walk.transition(boundary), _walk.seeds(cam, boundary))
    return columns.t().reshape(cam.shape)


def pseudo_masks(setting: Setting, title: str, network: Network) -> Iterator[Row]:
    rounds = list(setting.rounds())

    def ways(items: Sequence[Item]) -> list[Way]:
        pairs = [(item, item.boundary) for item in items]
        return [
            Way(partial(_each, lambda pair: their_pseudo_masks(*pair, network, sparse), pairs), THREADS),
            Way(partial(_each, lambda pair: our_pseudo_masks(*pair, network), pairs), THREADS),
        ]

    theirs, ours = in_turns([partial(ways, items) for items in rounds], SETTLED)
    name = f"make-pseudo-masks, {title}"
    yield from _beside(name, {"sparse products": theirs}, ours)
    if network is no_network:
        yield agreement(name, itertools.chain.from_iterable(rounds), "sparse products")


def without_network(setting: Setting) -> Iterator[Row]:
    return pseudo_masks(setting, "without network", no_network)


def small_network(setting: Setting) -> Iterator[Row]:
    return pseudo_masks(setting, "EfficientNet-lite0", network("tf_efficientnet_lite0"))


def large_network(setting: Setting) -> Iterator[Row]:
    return pseudo_masks(setting, "ResNet-50", network("resnet50"))


def dense(setting: Setting) -> Iterator[Row]:
    """As published, by powers of the dense matrix: one image where there is time, else of a former run."""
    item = next(setting.rounds())[0]
    boundary = item.boundary
    if setting.dense:
        start = time.perf_counter()
        their_pseudo_masks(item, boundary, no_network, _walk.dense)
        seconds = time.perf_counter() - start
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        setting.about[DENSE] = {"seconds": seconds, "date": today}
    elif DENSE in setting.former:
        setting.about[DENSE] = setting.former[DENSE]
    else:
        raise LeftOut("no former run has measured the dense random walk here; --dense does, in minutes")
    found = setting.about[DENSE]
    theirs = 1000 * found["seconds"]

    def ways(items: Sequence[Item]) -> list[Way]:
        return [Way(partial(_each, lambda i: our_pseudo_masks(i, i.boundary, no_network), items), THREADS)]

    (ours,) = in_turns([partial(ways, items) for items in setting.rounds()], SETTLED)
    each = statistics.median(ours) / PAIR
    yield Row(
        "make-pseudo-masks, without network",
        [theirs / each],
        None,
        threads=THREADS,
        against=f"dense matrix, {found['date']}:",
        theirs=[1000 / theirs],
        ours=[1000 / each],
        unit=UNIT,
    )


# --- what they share -----------------------------------------------------------------------------------


def _each(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        work(item)


def _beside(case: str, rivals: dict[str, list[float]], ours: list[float]) -> Iterator[Row]:
    """Throughput, from the milliseconds of PAIR images."""
    for name, theirs in rivals.items():
        yield Row(
            case,
            ratios(theirs, ours),
            None,
            threads=THREADS,
            against=name,
            theirs=[1000 * PAIR / ms for ms in theirs],
            ours=[1000 * PAIR / ms for ms in ours],
            unit=UNIT,
        )


def agreement(case: str, items: Iterator[Item], against: str) -> Row:
    """Pixels of equal label, in percent, in the masks that both have written."""
    same = [
        100 * float((read_mask(item.target("ours")) == read_mask(item.target("theirs"))).mean())
        for item in items
    ]
    return Row(f"{case}: equal labels", same, None, "percent", worst=True, against=against)


Case = Callable[[Setting], Iterator[Row]]

CASES: dict[str, Case] = {
    "ir-labels": ir_labels,
    "pseudo-masks": without_network,
    "pseudo-masks-lite0": small_network,
    "pseudo-masks-resnet50": large_network,
    "pseudo-masks-dense": dense,
}

PEER = _peer.DISTRIBUTION
