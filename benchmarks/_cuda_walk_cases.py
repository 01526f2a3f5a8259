"""random_walk on a GPU: 94 x 125, radius 5, beta 10, 256 steps, 4 maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import _walk
import _work
from _compare import check_same
from _cuda_device import making_there, there
from _cuda_rows import beside_cpu, same_bits, share, times
from _cuda_setting import GpuSetting, OpsCase, of_peer
from _peaks import core_cache
from _table import Row, at_least, at_most
from torch import Tensor

MAPS, BATCH = 4, 16
ROUGHLY = 1e-3  # the peers' products in float32 are off by 3e-4 themselves
NAME = f"random_walk, K={MAPS}"


def _inputs(images: int, seed: int) -> list[Tensor]:
    """[N,K,h,w] and [N,1,h,w]"""
    return there(_walk.inputs(MAPS, seed, images))


def _ours(setting: GpuSetting, images: int = BATCH) -> list[float]:
    """Milliseconds of an image."""
    inputs = setting.rotated(partial(_inputs, images))
    return setting.of_an_image([partial(_walk.ours, *one) for one in inputs], images)


def speed(setting: GpuSetting) -> Iterator[Row]:
    yield Row(f"{NAME}, batch 1", _ours(setting, 1), None, "ms")
    ours = _ours(setting)
    yield Row(f"{NAME}, batch {BATCH}", ours, at_most(0.15), "ms")
    moved = _work.random_walk(MAPS, 1, core_cache()).bytes
    yield share(f"{NAME}, batch {BATCH}", moved, ours, setting.bandwidth)


def _alone(count: int) -> list[list[Tensor]]:
    """cam [K,h,w] and boundary [1,h,w] of so many images."""
    return [there(_walk.inputs(MAPS, seed)) for seed in range(count)]


def sparse(setting: GpuSetting) -> Iterator[Row]:
    """Products alone: the matrix is there."""
    name = "torch sparse products"
    transition = making_there(_walk.transition)
    images = _alone(3)

    def peer(cam: Tensor, boundary: Tensor) -> Callable[[], Tensor]:
        return partial(_walk.sparse_steps, transition(boundary), _walk.seeds(cam, boundary))

    calls = of_peer(name, lambda: [peer(*image) for image in images])
    cam, boundary = images[0]
    expected = calls[0]().t().reshape(cam.shape)
    check_same(f"random_walk and {name}", [_walk.ours(cam, boundary)], [expected], ROUGHLY)
    theirs = of_peer(name, partial(setting.milliseconds, calls))
    yield times(f"{NAME}, batch {BATCH}", f"{name}, matrix ready", theirs, _ours(setting), at_least(20))


def dense(setting: GpuSetting) -> Iterator[Row]:
    """The matrix, its eight squares and the product, in float32 as torch takes it by default."""
    name = "powers of the dense matrix"
    (image,) = _alone(1)
    call = partial(making_there(_walk.dense), *image)
    expected = of_peer(name, call)
    check_same(f"random_walk and {name}", [_walk.ours(*image)], [expected], ROUGHLY)
    theirs = of_peer(name, partial(setting.milliseconds, [call]))
    yield times(f"{NAME}, batch {BATCH}", name, theirs, _ours(setting), at_least(500))


def accuracy(setting: GpuSetting) -> Iterator[Row]:
    cpu = _walk.inputs(MAPS, 0, BATCH)
    gpu = there(cpu)
    yield beside_cpu(f"{NAME}, batch {BATCH}", _walk.ours(*gpu).unbind(), _walk.ours(*cpu).unbind())
    yield same_bits(f"{NAME}, batch {BATCH}", partial(_walk.ours, *gpu))


CASES: dict[str, OpsCase] = {
    "walk": speed,
    "walk-sparse": sparse,
    "walk-dense": dense,
    "walk-accuracy": accuracy,
}
