"""tta_merge on a GPU: 6 predictions (scales 0.5, 1 and 2, each mirrored too) at stride 4, to 512 x 512, in
batches that keep the GPU busy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import _tta
import _work
from _compare import check_same
from _cuda_device import there
from _cuda_rows import beside_cpu, memory, peak, same_bits, share, times
from _cuda_setting import GpuSetting, OpsCase, of_peer
from _table import Row, at_least, at_most
from torch import Tensor

STRIDE = 4
BATCHES = {21: 16, 201: 2}  # by the number of classes
OUTPUTS: tuple[_tta.Output, ...] = ("labels", "mean")


def _name(classes: int, output: str, images: int) -> str:
    return f"tta_merge, C={classes}, {output}, batch {images}"


def _inputs(classes: int, images: int, seed: int) -> list[Tensor]:
    return there(_tta.inputs(seed, classes, STRIDE, images=images))


def speed(classes: int) -> OpsCase:
    def case(setting: GpuSetting) -> Iterator[Row]:
        images = BATCHES[classes]
        inputs = setting.rotated(partial(_inputs, classes, images))
        ours = {
            output: setting.milliseconds([partial(_tta.ours, logits, output) for logits in inputs])
            for output in OUTPUTS
        }
        for output in OUTPUTS:
            moved = images * _work.tta_merge(classes, STRIDE, output).bytes
            name = _name(classes, output, images)
            yield share(name, moved, ours[output], setting.bandwidth, at_least(70))
        _tta.require()
        expected = of_peer("ttach", partial(_tta.ttach, inputs[0], "mean"))
        check_same("tta_merge and ttach", [_tta.ours(inputs[0], "mean")], [expected], 1e-4)
        del expected
        for output in OUTPUTS:
            calls = [partial(_tta.ttach, logits, output) for logits in inputs[:2]]
            taken = of_peer("ttach", partial(setting.milliseconds, calls))
            yield times(_name(classes, output, images), "ttach", taken, ours[output], None)

    return case


def memories(setting: GpuSetting) -> Iterator[Row]:
    _tta.require()
    for classes in BATCHES:
        logits = _inputs(classes, 1, 0)
        theirs = peak(partial(_tta.ttach, logits, "labels"))
        ours = peak(partial(_tta.ours, logits, "labels"))
        yield memory(_name(classes, "labels", 1), "ttach", theirs, ours, at_most(1))


def accuracy(setting: GpuSetting) -> Iterator[Row]:
    for classes, images in BATCHES.items():
        logits = _inputs(classes, images, 0)
        for output in OUTPUTS:
            name = _name(classes, output, images)
            yield same_bits(name, partial(_tta.ours, logits, output))
        one = _inputs(classes, 1, 0)
        cpu = [maps.cpu() for maps in one]
        yield beside_cpu(_name(classes, "mean", 1), [_tta.ours(one, "mean")], [_tta.ours(cpu, "mean")])
        same = _tta.ours(one, "labels").cpu() == _tta.ours(cpu, "labels")
        share_of_same = 100 * same.double().mean().item()
        name = _name(classes, "labels", 1)
        yield Row(f"{name}: the same", [share_of_same], at_least(99.99), "percent", against="our CPU")


CASES: dict[str, OpsCase] = {
    **{f"tta-c{classes}": speed(classes) for classes in BATCHES},
    "tta-memory": memories,
    "tta-accuracy": accuracy,
}
