"""The cases of the GPU's table: each measures something and yields rows.

500 x 375 pixels, 10 iterations, Gaussian 3/3, construction included unless a case says otherwise. Times are
of one image: a batch's, divided by its size. A ratio is of a peer's times to the median of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import _cpu
import _cuda
import _cuda_timing
import _cuda_work
import _monai_peer
import _ours
import _peer
import torch
from _cuda import APPEARANCE, COARSE, DEVICE, FINE, GAUSSIAN, ITERATIONS, PIXELS, SMOOTHNESS, Batch
from _cuda_rows import same_bits, share, times
from _cuda_setting import GpuSetting
from _cuda_work import Lattice
from _photos import HEIGHT, WIDTH
from _problem import problem
from _table import LeftOut, Row, at_least, at_most
from _timing import threads
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, PermutohedralLattice
from wsss_fast.nn import DenseCRF

BATCH = 16
PEER_PICTURES = 3  # a second each
# An image of 500 x 375 has 180,000 to 210,000 vertices at 50/5, see _photos.py.
CAPACITY = 250_000
TRAINED = 4  # images of a batch that is trained on


@dataclass(frozen=True)
class Setting(GpuSetting):
    images: Sequence[Tensor]  # uint8 [3,H,W], on the CPU; BATCH of them

    def rotation(self, count: int, classes: int) -> list[Batch]:
        sets = _cuda_timing.sets_beyond_cache(_cuda.batch_size(count, classes))
        return [_cuda.batch(self.images, count, classes, seed=s * count) for s in range(sets)]

    @cached_property
    def fine_vertices(self) -> list[int]:
        return _cuda.vertices(self.images, FINE)


Case = Callable[[Setting], Iterator[Row]]


def _calls(run: Callable[[Batch], object], rotation: Sequence[Batch]) -> list[Callable[[], object]]:
    return [partial(run, batch) for batch in rotation]


def whole(name: str, classes: int, bilateral: Bilateral, bar: float | None) -> Case:
    """The whole of `crf`, of one image and of a batch; the bars are for the batch."""

    def case(setting: Setting) -> Iterator[Row]:
        for count in (1, BATCH):
            run = partial(_cuda.crf, bilateral=bilateral)
            ours = setting.of_an_image(_calls(run, setting.rotation(count, classes)), count)
            bound = at_most(bar) if bar is not None and count == BATCH else None
            yield Row(f"{name}, batch {count}", ours, bound, "ms")
        yield from _beside_cpu(setting, f"{name}, batch {BATCH}", classes, bilateral, ours)

    return case


def _beside_cpu(
    setting: Setting, name: str, classes: int, bilateral: Bilateral, ours: Sequence[float]
) -> Iterator[Row]:
    """Against our CPU kernels on all cores and on one, and against pydensecrf, which has one thread."""
    problems = [problem(image, classes, k) for k, image in enumerate(setting.images[: PEER_PICTURES + 1])]
    for count in sorted({1, _cpu.cores()}, reverse=True):
        with threads(count):
            cpu = [_wall(partial(_ours.crf, p.image, p.unary[0], bilateral)) for p in problems]
        yield times(name, f"our CPU, {count} thread{'s' if count > 1 else ''}", cpu[1:], ours, None, count)
    try:
        _peer.model(1, 1, 2)
    except ModuleNotFoundError as error:
        raise LeftOut(f"beside pydensecrf: {error}") from error
    peer = [_wall(partial(_peer.crf, p.peer_image, p.peer_unaries[0], bilateral)) for p in problems]
    yield times(name, "pydensecrf", peer[1:], ours, at_least(1000), 1)


def _wall(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def capacity(setting: Setting) -> Iterator[Row]:
    """Without the read-back of how many vertices there are; and replayed as a CUDA graph."""
    for classes in (4, 21):
        for count in (1, BATCH):
            name = f"crf, C={classes}, 50/5, batch {count}"
            rotation = setting.rotation(count, classes)
            run = partial(_cuda.crf, bilateral=FINE, capacity=CAPACITY)
            plain = setting.of_an_image(_calls(partial(_cuda.crf, bilateral=FINE), rotation), count)
            known = setting.of_an_image(_calls(run, rotation), count)
            yield times(f"{name}, capacity", "without capacity", plain, known, None)
            graph, where = _captured(run, rotation[0])
            replays = [partial(_replay, graph, where, batch) for batch in rotation]
            replayed = setting.of_an_image(replays, count)
            yield times(f"{name}, CUDA graph", "without capacity", plain, replayed, None)


def _captured(run: Callable[[Batch], Tensor], like: Batch) -> tuple[torch.cuda.CUDAGraph, Batch]:
    """The graph, and where it takes its inputs from."""
    where = Batch(like.image.clone(), like.unary.clone())
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(where)  # as torch asks for it, once outside the graph
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(where)
    return graph, where


def _replay(graph: torch.cuda.CUDAGraph, where: Batch, batch: Batch) -> None:
    where.image.copy_(batch.image)
    where.unary.copy_(batch.unary)
    graph.replay()


def lattice(setting: Setting) -> Iterator[Row]:
    """Construction alone, and one filter on a lattice that is there: 50/5, d = 5."""
    for count in (1, BATCH):
        features = [_cuda.colour_features(b.image, FINE) for b in setting.rotation(count, 2)]
        built = setting.of_an_image([partial(PermutohedralLattice, f) for f in features], count)
        yield Row(f"lattice of d=5, 50/5, batch {count}", built, None, "ms")
        grid = PermutohedralLattice(features[0])
        for classes in (4, 21):
            values = [b.unary for b in setting.rotation(count, classes)]
            filtered = setting.of_an_image([partial(grid.filter, v) for v in values], count)
            yield Row(f"its filter, C={classes}, batch {count}", filtered, None, "ms")


def training(setting: Setting) -> Iterator[Row]:
    """nn.DenseCRF with its 5 iterations, forward and backward."""
    for classes in (4, 21):
        layer = DenseCRF(classes, gaussian=GAUSSIAN, bilateral=FINE).to(DEVICE)

        def both(batch: Batch, layer: torch.nn.Module = layer) -> None:
            logits = (-batch.unary).requires_grad_()
            layer(batch.image, logits).sum().backward()
            layer.zero_grad()

        taken = setting.of_an_image(_calls(both, setting.rotation(TRAINED, classes)), TRAINED)
        yield Row(f"nn.DenseCRF, C={classes}, forward and backward, batch {TRAINED}", taken, None, "ms")


def bandwidth(setting: Setting) -> Iterator[Row]:
    """What the passes move (_cuda_work.py) over the time, as a share of what a copy moves in it."""
    fine = Lattice(5, BATCH * PIXELS, sum(setting.fine_vertices))
    plane = PermutohedralLattice(_cuda.position_features(1, GAUSSIAN.scales[0])[0]).vertices[0]
    smooth = Lattice(2, PIXELS, plane, shared_by=BATCH)
    pixels = BATCH * PIXELS

    def row(name: str, moved: int, taken: Sequence[float]) -> Row:
        return share(f"{name}, batch {BATCH}", moved, taken, setting.bandwidth)

    features = [_cuda.colour_features(b.image, FINE) for b in setting.rotation(BATCH, 2)]
    built = setting.milliseconds([partial(PermutohedralLattice, f) for f in features])
    yield row("lattice of d=5", _cuda_work.construction(fine, features[0].nbytes), built)
    grid = PermutohedralLattice(features[0])
    del features
    for classes in (4, 21):
        rotation = setting.rotation(BATCH, classes)
        filtered = setting.milliseconds([partial(grid.filter, b.unary) for b in rotation])
        yield row(f"its filter, C={classes}", _cuda_work.lattice_filter(fine, classes), filtered)
        lattices = [(smooth, 0), (fine, 3 * pixels)]
        moved = _cuda_work.crf(lattices, pixels, classes, ITERATIONS)
        solved = setting.milliseconds(_calls(partial(_cuda.crf, bilateral=FINE), rotation))
        yield row(f"crf, C={classes}, 50/5", moved, solved)


def accuracy(setting: Setting) -> Iterator[Row]:
    """Against the CPU's kernels, which are held to pydensecrf; and whether two runs give the same bits."""
    for classes in (2, 4, 21):
        batch = _cuda.batch(setting.images, setting.repeats, classes, seed=0)
        cpu = wsss_fast.crf(
            batch.image.cpu(), batch.unary.cpu(), iterations=ITERATIONS, gaussian=GAUSSIAN, bilateral=FINE
        )
        found = _cuda.crf(batch, FINE).cpu()
        yield from _agreement(f"C={classes}, 50/5", "our CPU", found, cpu, judged=True)
        yield same_bits(f"C={classes}", partial(_cuda.crf, batch, FINE))


def _agreement(name: str, against: str, found: Tensor, expected: Tensor, *, judged: bool) -> Iterator[Row]:
    """Of Q [N,C,H,W], an entry an image."""
    same = (found.argmax(1) == expected.argmax(1)).flatten(1).double().mean(1)
    labels = (100 * same).tolist()
    differences = (found - expected).abs().double().flatten(1).mean(1).tolist()
    bars = (at_least(99.99), at_most(1e-5)) if judged else (None, None)
    yield Row(f"{name}: labels", labels, bars[0], "percent", worst=judged, against=against)
    yield Row(f"{name}: mean difference of Q", differences, bars[1], "small", worst=judged, against=against)


def monai(setting: Setting) -> Iterator[Row]:
    """The filter with its construction, and the mean field on it, on the same two kernels. MONAI refuses more
    than 16 channels, so C = 21 has no row."""
    try:
        theirs, source = _monai_peer.load()
    except _monai_peer.NoMonaiError as error:
        raise LeftOut(str(error)) from error
    for classes in _monai_peer.CHANNELS:
        rotation = setting.rotation(BATCH, classes)
        features = {
            "50/5": [_cuda.colour_features(b.image, FINE) for b in rotation],
            "3": [_cuda.position_features(BATCH, GAUSSIAN.scales[0]).to(DEVICE) for _ in rotation],
        }
        for kernel, of in features.items():
            pairs = [(b.unary, f) for b, f in zip(rotation, of, strict=True)]
            peer = setting.of_an_image([partial(theirs, *pair) for pair in pairs], BATCH)
            ours = setting.of_an_image([partial(_filter_over_ones, *pair) for pair in pairs], BATCH)
            yield times(f"filter of {kernel}, C={classes}, batch {BATCH}", source, peer, ours, at_least(10))

        weights = (APPEARANCE, SMOOTHNESS)
        kernels = [list(zip(of, weights, strict=True)) for of in zip(*features.values(), strict=True)]
        runs = [
            partial(_monai_peer.crf, theirs, b.unary, k, ITERATIONS)
            for b, k in zip(rotation, kernels, strict=True)
        ]
        after = partial(_cuda.crf, bilateral=FINE, normalization="after")
        peer = setting.of_an_image(runs, BATCH)
        ours = setting.of_an_image(_calls(after, rotation), BATCH)
        name = f"crf, C={classes}, 50/5, batch {BATCH}, normalised after"
        yield times(name, source, peer, ours, at_least(10))
        # Not judged: see _monai_peer.py for what MONAI does differently.
        yield from _agreement(name, source, after(rotation[0]), runs[0](), judged=False)


def _filter_over_ones(values: Tensor, features: Tensor) -> Tensor:
    filtered = PermutohedralLattice(features).filter(torch.cat([values, torch.ones_like(values[:, :1])], 1))
    return filtered[:, :-1] / filtered[:, -1:]


CASES: dict[str, Case] = {
    "c21": whole("crf, C=21, 50/5", 21, FINE, 1.0),
    "c4": whole("crf, C=4, 50/5", 4, FINE, 0.3),
    "accuracy": accuracy,
    "c21-coarse": whole("crf, C=21, 80/13", 21, COARSE, 1.0),
    "c2": whole("crf, C=2, 50/5", 2, FINE, None),
    "bandwidth": bandwidth,
    "capacity": capacity,
    "lattice": lattice,
    "training": training,
    "monai": monai,
}

SIZE = f"{WIDTH} x {HEIGHT}"
