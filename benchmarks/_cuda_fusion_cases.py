"""fuse_cams on a GPU: 20 classes, 4 scales and flip, to 375 x 500, in batches that keep the GPU busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import _fusion
import _work
from _compare import check_same
from _cuda_device import there
from _cuda_rows import beside_cpu, same_bits, share, times
from _cuda_setting import GpuSetting, OpsCase, of_peer
from _fusion import CLASSES, PRESENT
from _table import Bound, Row, at_least
from torch import Tensor


@dataclass(frozen=True)
class Fusion:
    images: int
    present: int
    bar: Bound | None

    @property
    def name(self) -> str:
        return f"fuse_cams, {self.present} of {CLASSES} classes, batch {self.images}"

    @property
    def moved(self) -> int:
        """Bytes."""
        return self.images * _work.fuse_cams(self.present).bytes

    def inputs(self, seed: int) -> list[Tensor]:
        """Maps on the GPU, and which classes are there on the CPU, where image labels come from."""
        cams, classes = _fusion.inputs(seed, CLASSES, self.present, self.images)
        return [*there(cams), classes]

    def ours(self, *inputs: Tensor) -> Sequence[Tensor]:
        *cams, classes = inputs
        if self.present == CLASSES:
            return [_fusion.ours_of_all(cams)]
        return _fusion.ours(cams, classes)

    def rivals(self, *inputs: Tensor) -> dict[str, Callable[[], Sequence[Tensor]]]:
        *cams, classes = inputs
        if self.present == CLASSES:
            return {
                "established order": lambda: [_fusion.established_of_all(cams)],
                "torch, adding first": lambda: [_fusion.adding_first(cams)],
            }
        (chosen,) = there([classes])
        return {
            "established order": partial(_fusion.established, cams, chosen),
            "torch, choosing first": partial(_fusion.choosing_first, cams, chosen),
        }


ALL = Fusion(32, CLASSES, at_least(70))
FEW = Fusion(64, PRESENT, None)


def speed(fusion: Fusion) -> OpsCase:
    def case(setting: GpuSetting) -> Iterator[Row]:
        inputs = setting.rotated(fusion.inputs)
        ours = setting.milliseconds([partial(fusion.ours, *one) for one in inputs])
        yield share(fusion.name, fusion.moved, ours, setting.bandwidth, fusion.bar)
        first = fusion.ours(*inputs[0])
        several = [fusion.rivals(*one) for one in inputs[:2]]
        for rival, run in several[0].items():
            check_same(f"{fusion.name}: {rival}", first, of_peer(rival, run), 1e-5)
            calls = [rivals[rival] for rivals in several]
            taken = of_peer(rival, partial(setting.milliseconds, calls))
            yield times(fusion.name, rival, taken, ours, None)

    return case


def accuracy(setting: GpuSetting) -> Iterator[Row]:
    inputs = FEW.inputs(0)
    yield same_bits(FEW.name, partial(FEW.ours, *inputs))
    one = Fusion(1, CLASSES, None)
    inputs = one.inputs(0)
    yield beside_cpu(one.name, one.ours(*inputs), one.ours(*(i.cpu() for i in inputs)))


CASES: dict[str, OpsCase] = {
    "fusion": speed(ALL),
    "fusion-few": speed(FEW),
    "fusion-accuracy": accuracy,
}
