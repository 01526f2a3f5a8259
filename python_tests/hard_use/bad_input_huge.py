"""Huge input: more elements than an int32 counts, sizes that no machine has memory for.

Run as a program it goes through the cases, from the one whose number it is given on, in a process that may
take 1 GiB more than it starts with, and tells of each before and after it: whoever started it sees which case
ended the process. A case that takes too long ends it, too.
"""

from __future__ import annotations

import faulthandler
import json
import re
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hard_use import bad_input_ops
from hard_use.bad_input import Entry
from hard_use.bad_tensors import ListOf, Of
from torch import Tensor

import wsss_fast
from wsss_fast import Gaussian, PermutohedralLattice, nn
from wsss_fast.compat.pydensecrf import densecrf, utils

MEMORY = 1 << 30
SECONDS = 20


@dataclass(frozen=True)
class Case:
    what: str
    run: Callable[[], Any]
    names: tuple[str, ...] = ()  # a ValueError that names one of them is right
    memory: bool = False  # so is that there is not enough memory
    shape: tuple[int, ...] | None = None  # so is a result of this shape


def huge(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros that take no memory."""
    return torch.zeros((), dtype=dtype).expand(shape)


# --- tensors of more than 2^31 elements, from the tables -------------------------------------------------


def _tensor_cases() -> Iterator[Case]:
    for entry in bad_input_ops.entries():
        kinds = {name: kind for name, kind in entry.kinds.items() if isinstance(kind, (Of, ListOf))}
        axes = {axis for kind in kinds.values() for axis in _item(kind).axes}
        for axis in sorted(axes):
            for elements in (2**31 + 1, 2**40):
                for names in {tuple(kinds), *((name,) for name in kinds)}:
                    if any(axis in _item(kinds[name]).axes for name in names):
                        yield _grown(entry, {name: kinds[name] for name in names}, axis, elements)


def _item(kind: Of | ListOf) -> Of:
    return kind.item if isinstance(kind, ListOf) else kind


def _grown(entry: Entry, kinds: dict[str, Of | ListOf], axis: str, elements: int) -> Case:
    """The good call with an axis of some arguments so long that each has that many elements."""
    arguments = entry.good()
    tensors = {
        name: arguments[name] if isinstance(kind, ListOf) else [arguments[name]]
        for name, kind in kinds.items()
    }
    having = [
        (tensor, _item(kinds[name]).axes.index(axis))
        for name, given in tensors.items()
        for tensor in given
        if axis in _item(kinds[name]).axes
    ]
    least = min(tensor.numel() // tensor.shape[at] for tensor, at in having)
    length = elements // least + 1
    for name, given in tensors.items():
        letters = _item(kinds[name]).axes
        grown = []
        for tensor in given:
            sizes = zip(letters, tensor.shape, strict=True)
            shape = [length if letter == axis else n for letter, n in sizes]
            grown.append(huge(*shape, dtype=tensor.dtype))
        arguments[name] = grown if isinstance(kinds[name], ListOf) else grown[0]
    what = f"{entry.name}: {axis} of {' and '.join(kinds)} is {length}"
    return Case(what, lambda: entry.call(**arguments), names=tuple(entry.kinds), memory=True)


# --- numbers and sizes -----------------------------------------------------------------------------------


def _number_cases() -> Iterator[Case]:
    logits, most = [torch.rand(1, 2, 4, 4)], 2**31 - 1
    for size in ((most, most), (most, 1), (1, most), (10**9, 10**9), (10**9, 1)):
        too_large = {"names": ("size",), "memory": True}
        yield Case(
            f"tta_merge to {size}",
            lambda s=size: wsss_fast.tta_merge(logits, s, flipped=[False]),
            **too_large,
        )
        yield Case(
            f"labels of tta_merge to {size}",
            lambda s=size: wsss_fast.tta_merge(logits, s, flipped=[False], output="labels"),
            **too_large,
        )
        yield Case(f"fuse_cams to {size}", lambda s=size: wsss_fast.fuse_cams(logits, s), **too_large)
        yield Case(
            f"fuse_cams to {size}, cropped",
            lambda s=size: wsss_fast.fuse_cams(logits, s, crop=(1, 1)),
            shape=(1, 2, 1, 1),
        )
    image, unary = torch.zeros(3, 4, 5), torch.zeros(2, 4, 5)
    zero = Gaussian(compat=0)
    yield Case("M = 0 of 10^9 images", lambda: _crf(10**9, 0, "probs"), shape=(10**9, 0, 2, 1, 1))
    yield Case("log of M = 0", lambda: _crf(10**9, 0, "log_probs"), shape=(10**9, 0, 2, 1, 1))
    yield Case(
        "N = 0 of 2^40 pixels",
        lambda: wsss_fast.crf(huge(0, 3, 2**20, 2**20), huge(0, 2, 2**20, 2**20)),
        shape=(0, 2, 2**20, 2**20),
    )
    yield Case(
        "1000 kernels",
        lambda: wsss_fast.crf(image, unary, kernels=[zero] * 1000, iterations=1),
        shape=(2, 4, 5),
    )
    yield Case("capacity 2^63 - 1", lambda: wsss_fast.crf(image, unary, capacity=2**63 - 1), shape=(2, 4, 5))
    empty = torch.empty(10**9, 0, 4, 4)
    walls = huge(10**9, 1, 4, 4)
    yield Case("a walk of 10^9 images without maps", lambda: wsss_fast.random_walk(empty, walls), memory=True)
    yield Case(
        "a walk of no image of 2^40 rows",
        lambda: wsss_fast.random_walk(huge(0, 2, 2**40, 4), huge(0, 1, 2**40, 4)),
        shape=(0, 2, 2**40, 4),
    )
    yield Case(
        "a walk of 2^20 steps",
        lambda: wsss_fast.random_walk(*_walked(), steps=2**20, method="power"),
        shape=(1, 4, 4),
    )
    yield Case(
        "all terms of a walk of 2^20 steps",
        lambda: wsss_fast.random_walk(*_walked(), steps=2**20, tol=0.0),
        shape=(1, 4, 4),
    )
    yield Case(
        "paths in no image of 2^60 pixels",
        lambda: wsss_fast.path_affinity(huge(0, 1, 2**40, 2**20), 64),
        names=("boundary",),
    )
    yield Case(
        "fuse_cams of 10^9 images without maps",
        lambda: wsss_fast.fuse_cams([empty], (4, 4)),
        shape=(10**9, 0, 4, 4),
    )
    yield Case(
        "fuse_cams of no image of 10^9 maps",
        lambda: wsss_fast.fuse_cams([torch.empty(0, 10**9, 4, 4)], (4, 4)),
        shape=(0, 10**9, 4, 4),
    )
    yield Case(
        "tta_merge of no image",
        lambda: wsss_fast.tta_merge([huge(0, 2, 4, 4)], (most, most), flipped=[False]),
        names=("size",),
        shape=(0, 2, most, most),
    )
    yield Case("10^4 sizes", lambda: wsss_fast.fuse_cams(logits, [(4, 4)] * 10**4)[-1], shape=(1, 2, 4, 4))
    yield Case(
        "10^4 inputs",
        lambda: wsss_fast.tta_merge(logits * 10**4, (4, 4), flipped=[False] * 10**4),
        shape=(1, 2, 4, 4),
    )
    yield Case(
        "2^40 channels of no point",
        lambda: PermutohedralLattice(torch.rand(2, 0)).filter(huge(2**40, 0)),
        shape=(2**40, 0),
    )
    yield Case(
        "a lattice of no image",
        lambda: PermutohedralLattice(huge(0, 2, 2**40)[0:0, :, :, None]).filter(huge(0, 1, 2**40, 1)),
        shape=(0, 1, 2**40, 1),
    )
    labels = torch.zeros(2, 2, dtype=torch.uint8)
    for n in (10**9, most):
        yield Case(f"{n} labels", lambda n=n: wsss_fast.unary_from_labels(labels, n), memory=True)
    yield Case(
        "labels of 2^62 numbers",
        lambda: wsss_fast.unary_from_labels(huge(2**20, 2**20, dtype=torch.uint8), most),
        names=("n_labels",),
    )
    for n in (10**5, 10**6, 10**9, most):
        yield Case(f"a layer of {n} classes", lambda n=n: nn.DenseCRF(n), names=("classes",), memory=True)
    loss = nn.DenseCRFLoss(1e308, 15.0, 100.0)
    yield Case(
        "a loss of no image of 2^40 pixels",
        lambda: loss(huge(0, 3, 2**20, 2**20), huge(0, 2, 2**20, 2**20)),
        memory=True,
    )
    network = torch.nn.Conv2d(3, 2, 1)
    for scale in (1e4, 1e5, 1e8, 1e300):
        yield Case(
            f"images {scale:g} times as large",
            lambda s=scale: nn.TTA(network, [s])(torch.rand(1, 3, 4, 4)),
            names=("scales",),
            memory=True,
        )
    for stride in (10**5, 10**9, most):
        yield Case(
            f"a stride of {stride}",
            lambda s=stride: nn.TTA(network, stride=s)(torch.rand(1, 3, 4, 4)),
            names=("scales", "stride"),
            memory=True,
        )
    yield from _compat_cases(most)


def _crf(images: int, sets: int, output: str) -> Tensor:
    return wsss_fast.crf(huge(images, 3, 1, 1, dtype=torch.uint8), huge(images, sets, 2, 1, 1), output=output)


def _walked() -> tuple[Tensor, Tensor]:
    return torch.rand(1, 4, 4), torch.rand(1, 4, 4)


def _compat_cases(most: int) -> Iterator[Case]:
    yield Case(
        "a model of 2^31 points",
        lambda: densecrf.DenseCRF(most, 2).inference(1),
        memory=True,
        names=("unary",),
    )
    yield Case("a model of 2^62 energies", lambda: densecrf.DenseCRF(most, most).inference(1), memory=True)
    yield Case("started", lambda: densecrf.DenseCRF(most, most).startInference(), memory=True)
    yield Case("an image of 2^62 pixels", lambda: densecrf.DenseCRF2D(most, most, 2), names=("w and h",))
    wide = densecrf.DenseCRF2D(40_000, 40_000, 2)
    yield Case("its positions", lambda: wide.addPairwiseGaussian(3, 3), memory=True)
    labels = np.zeros((2, 2), dtype=int)
    yield Case("10^9 labels", lambda: utils.unary_from_labels(labels, 10**9, 0.5), memory=True)
    for shape in ((10**5, 10**5), (10**9, 10**9), (most, most, most)):
        yield Case(
            f"a grid of {shape}",
            lambda s=shape: utils.create_pairwise_gaussian((1,) * len(s), s),
            names=("shape",),
            memory=True,
        )
    zeros = np.broadcast_to(np.float32(0), (2, 2**32))
    yield Case("2^33 probabilities", lambda: utils.unary_from_softmax(zeros), memory=True)
    yield Case(
        "2^33 features", lambda: densecrf.DenseCRF(most, 2).addPairwiseEnergy(zeros, 3), names=("features",)
    )


def cases() -> list[Case]:
    return [*_tensor_cases(), *_number_cases()]


# --- the program -----------------------------------------------------------------------------------------


def failure(case: Case) -> str | None:
    try:
        result = case.run()
    except ValueError as error:
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(error)) for name in case.names):
            return None
        return f"ValueError: {str(error)[:300]}"
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for the errors of its allocator for the CPU and of C++.
        told = "can't allocate memory" in str(error) or str(error) == "std::bad_alloc"
        out_of_memory = isinstance(error, MemoryError) or told
        return None if out_of_memory and case.memory else f"{type(error).__name__}: {str(error)[:300]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    if case.shape is None:
        return f"expected an error, got a {type(result).__name__}"
    return None if tuple(result.shape) == case.shape else f"expected {case.shape}, got {tuple(result.shape)}"


def main(first: int) -> None:
    torch.set_num_threads(2)
    wsss_fast.crf(torch.zeros(3, 4, 5), torch.zeros(2, 4, 5))  # what starts with the first call has started
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number, case in list(enumerate(cases()))[first:]:
        print(json.dumps([number, case.what, "begins"]), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        text = failure(case)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([number, case.what, text]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
