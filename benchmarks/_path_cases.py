"""path_affinity and the training loss against their bars, forward and backward, radius 10, 128 x 128."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import _memory
import _path
from _compare import check_same
from _memory import MEGABYTE, Call
from _path import BATCH, LOSS_BATCH
from _setting import THREADS, Case, Setting, same_bits
from _table import Row, at_most, beside
from _timing import SETTLED, Way, in_turns

AFFINITY = f"path_affinity, batch {BATCH}"
LOSS = f"affinity loss, batch {LOSS_BATCH}"
PUBLISHED = "published way"


RIVALS = {PUBLISHED: 15, "shifted slices": 8}  # and their bars


def affinity(setting: Setting) -> Iterator[Row]:
    published = _path.published(_path.SIZE)
    functions = (published, _path.slices, _path.ours)

    def ways(seed: int) -> list[Way]:
        boundary, grad = _path.inputs(seed)
        if seed == 0:
            results = [_path.forward_backward(f, boundary, grad) for f in functions]
            check_same("path_affinity and the published way", results[2], results[0], 1e-5)
            check_same("path_affinity and slices", results[2], results[1], 1e-5)
        return [Way(partial(_path.forward_backward, f, boundary, grad), THREADS) for f in functions]

    *rivals, ours = in_turns(setting.rounds(ways), SETTLED)
    yield from beside(AFFINITY, RIVALS, rivals, ours, THREADS)


def loss(setting: Setting) -> Iterator[Row]:
    affinities = (_path.published(_path.SIZE), _path.slices)
    functions = (*(_path.reference_loss(a, _path.SIZE) for a in affinities), _path.our_loss())

    def ways(seed: int) -> list[Way]:
        inputs = _path.loss_inputs(seed)
        if seed == 0:
            results = [_path.loss_and_gradients(f, *inputs) for f in functions]
            check_same("the loss and its published form", results[2], results[0], 1e-4)
            check_same("the loss and its published form on slices", results[2], results[1], 1e-4)
        return [Way(partial(_path.loss_and_gradients, f, *inputs), THREADS) for f in functions]

    *rivals, ours = in_turns(setting.rounds(ways), SETTLED)
    yield from beside(LOSS, RIVALS, rivals, ours, THREADS)


def _memory_rows(name: str, call: Callable[[str], Call]) -> Iterator[Row]:
    published = _memory.peak(partial(call, "published"), THREADS) / MEGABYTE
    for count in (1, 2):
        ours = _memory.peak(partial(call, "ours"), count) / MEGABYTE
        yield Row(
            f"{name}: peak memory",
            [100 * ours / published],
            at_most(10),
            "share",
            threads=count,
            against=PUBLISHED,
            theirs=[published],
            ours=[ours],
            unit="MB",
        )


def memory(setting: Setting) -> Iterator[Row]:
    yield from _memory_rows(AFFINITY, _path.affinity_call)
    yield from _memory_rows(LOSS, _path.loss_call)


def bits(setting: Setting) -> Iterator[Row]:
    inputs, loss_inputs, loss = _path.inputs(0), _path.loss_inputs(0), _path.our_loss()
    yield same_bits(AFFINITY, lambda: _path.forward_backward(_path.ours, *inputs))
    yield same_bits(LOSS, lambda: _path.loss_and_gradients(loss, *loss_inputs))


CASES: dict[str, Case] = {
    "path": affinity,
    "path-loss": loss,
    "path-memory": memory,
    "path-bits": bits,
}
