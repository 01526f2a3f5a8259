"""path_affinity and the training loss on a GPU, forward and backward, radius 10, 128 x 128, batch 32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import _path
import _work
from _compare import check_same
from _cuda_device import making_there, there
from _cuda_rows import beside_cpu, memory, peak, same_bits, share, times
from _cuda_setting import GpuSetting, OpsCase, of_peer
from _table import Bound, Row, at_least, at_most
from torch import Tensor

BATCH = 32
PUBLISHED, SLICES = "gather, as published", "shifted slices"


@dataclass(frozen=True)
class Way:
    """One of the two ops, forward and backward."""

    name: str
    inputs: Callable[[int, int], Sequence[Tensor]]  # seed, batch
    run: Callable[..., Sequence[Tensor]]  # a function, and its inputs
    ours: Callable[[], Callable[..., Any]]
    rivals: Callable[[], dict[str, Callable[..., Any]]]  # their tables made
    moved: int  # bytes
    within: float  # results of float32 agree

    def call(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
        return partial(self.run, function, *inputs)

    def on_gpu(self, seed: int, batch: int = BATCH) -> list[Tensor]:
        return there(self.inputs(seed, batch))


def _affinities() -> dict[str, Callable[..., Any]]:
    published = making_there(_path.published)(_path.SIZE)
    return {PUBLISHED: making_there(published), SLICES: _path.slices}


def _losses() -> dict[str, Callable[..., Any]]:
    published = making_there(_path.published)(_path.SIZE)
    loss = making_there(_path.reference_loss)(making_there(published), _path.SIZE)
    return {PUBLISHED: loss}


AFFINITY = Way(
    f"path_affinity, batch {BATCH}, and backward",
    lambda seed, batch: _path.inputs(seed, batch=batch),
    _path.forward_backward,
    lambda: _path.ours,
    _affinities,
    _work.path_affinity(BATCH).bytes,
    1e-5,
)
LOSS = Way(
    f"affinity loss, batch {BATCH}, and backward",
    lambda seed, batch: _path.loss_inputs(seed, batch=batch),
    _path.loss_and_gradients,
    _path.our_loss,
    _losses,
    _work.affinity_loss_bytes(BATCH),
    1e-4,
)


def speed(way: Way) -> OpsCase:
    def case(setting: GpuSetting) -> Iterator[Row]:
        inputs = setting.rotated(way.on_gpu)
        calls = [way.call(way.ours(), one) for one in inputs]
        ours = setting.milliseconds(calls)
        yield Row(way.name, ours, None, "ms")
        yield share(way.name, way.moved, ours, setting.bandwidth)
        bars: dict[str, Bound | None] = {PUBLISHED: at_least(10), SLICES: None}
        for rival, function in way.rivals().items():
            theirs = [way.call(function, one) for one in inputs[:2]]
            expected = of_peer(rival, theirs[0])
            check_same(f"{way.name}: {rival}", calls[0](), expected, way.within)
            del expected
            taken = of_peer(rival, partial(setting.milliseconds, theirs))
            yield times(way.name, rival, taken, ours, bars[rival])

    return case


def memories(setting: GpuSetting) -> Iterator[Row]:
    for way in (AFFINITY, LOSS):
        inputs = way.on_gpu(0)
        published = way.call(way.rivals()[PUBLISHED], inputs)
        theirs = of_peer(PUBLISHED, partial(peak, published))
        yield memory(way.name, PUBLISHED, theirs, peak(way.call(way.ours(), inputs)), at_most(5))


def accuracy(setting: GpuSetting) -> Iterator[Row]:
    for way in (AFFINITY, LOSS):
        inputs, ours = way.on_gpu(0), way.ours()
        yield same_bits(way.name, way.call(ours, inputs))
        few = way.inputs(0, 4)
        yield beside_cpu(
            way.name.replace(f"batch {BATCH}", "batch 4"), way.run(ours, *there(few)), way.run(ours, *few)
        )


CASES: dict[str, OpsCase] = {
    "path": speed(AFFINITY),
    "path-loss": speed(LOSS),
    "path-memory": memories,
    "path-accuracy": accuracy,
}
