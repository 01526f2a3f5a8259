"""Calls of every op that last many seconds, to be interrupted; run as a script, how long that takes.

PYTHONPATH=python_tests python -m hard_use.long_calls --times 5
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral
from wsss_fast.nn import AffinityDisplacementLoss

# Each prepares its inputs and returns what is to be interrupted.
LONG: dict[str, Callable[[], Callable[[], object]]] = {}


def long(function: Callable[[], Callable[[], object]]) -> Callable[[], Callable[[], object]]:
    LONG[function.__name__] = function
    return function


def backward(of: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """The gradient of ``of``, which is called beforehand."""
    out = of(*(value.requires_grad_() for value in inputs))
    return lambda: torch.autograd.grad(out.sum(), inputs)


def _image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


@long
def crf() -> Callable[[], object]:
    image, unary = _image(300, 400), torch.randn(21, 300, 400)
    return lambda: wsss_fast.crf(image, unary, iterations=10**6)


@long
def crf_building_lattices() -> Callable[[], object]:
    """Noise: every pixel has vertices of its own."""
    image, unary = _image(1200, 1000), torch.randn(2, 1200, 1000)
    bilateral = Bilateral(sxy=2, srgb=1, compat=1)
    return lambda: [wsss_fast.crf(image, unary, iterations=0, bilateral=bilateral) for _ in range(10)]


@long
def crf_backward() -> Callable[[], object]:
    image = _image(60, 80)

    def of(unary: Tensor) -> Tensor:
        return wsss_fast.crf(image, unary, iterations=1000)

    return backward(of, torch.randn(3, 60, 80))


@long
def lattice_build() -> Callable[[], object]:
    features = torch.rand(8, 300_000) * 50
    return lambda: [wsss_fast.PermutohedralLattice(features) for _ in range(10)]


@long
def lattice_filter() -> Callable[[], object]:
    lattice = wsss_fast.PermutohedralLattice(torch.rand(5, 40_000) * 9)
    values = torch.rand(2000, 40_000)
    return lambda: lattice.filter(values)


@long
def random_walk() -> Callable[[], object]:
    cam, boundary = torch.rand(8, 300, 300), torch.rand(1, 300, 300) / 2
    return lambda: wsss_fast.random_walk(cam, boundary, steps=2**20)


@long
def random_walk_by_steps_of_a_small_map() -> Callable[[], object]:
    cam, boundary = torch.rand(1, 30, 30), torch.rand(1, 30, 30) / 2
    return lambda: wsss_fast.random_walk(cam, boundary, steps=2**20, method="power")


@long
def random_walk_backward() -> Callable[[], object]:
    def of(cam: Tensor, boundary: Tensor) -> Tensor:
        return wsss_fast.random_walk(cam, boundary, radius=15, steps=300, method="power")

    return backward(of, torch.rand(2, 2, 60, 60), torch.rand(2, 1, 60, 60) / 2)


@long
def path_affinity() -> Callable[[], object]:
    boundary = torch.rand(1, 200, 240)
    return lambda: [wsss_fast.path_affinity(boundary, 48) for _ in range(30)]


@long
def path_affinity_backward() -> Callable[[], object]:
    boundary = torch.rand(1, 200, 240).requires_grad_()
    affinity = wsss_fast.path_affinity(boundary, 48)
    grad = torch.rand(affinity.shape)
    return lambda: [torch.autograd.grad(affinity, boundary, grad, retain_graph=True) for _ in range(30)]


def _pairs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(3, 1, 250, 250), torch.randn(3, 2, 250, 250), torch.randint(0, 4, (3, 250, 250))


@long
def affinity_displacement_loss() -> Callable[[], object]:
    loss, inputs = AffinityDisplacementLoss(64), _pairs()
    return lambda: [loss(*inputs) for _ in range(9)]


@long
def affinity_displacement_loss_backward() -> Callable[[], object]:
    logits, displacement, labels = _pairs()
    total = AffinityDisplacementLoss(20)(logits.requires_grad_(), displacement.requires_grad_(), labels).total
    return lambda: [torch.autograd.grad(total, [logits, displacement], retain_graph=True) for _ in range(100)]


@long
def fuse_cams() -> Callable[[], object]:
    cams = [torch.randn(1, 4, 30 + k, 40) for k in range(200)]
    return lambda: wsss_fast.fuse_cams(cams, (4000, 4000))


@long
def tta_merge() -> Callable[[], object]:
    logits = [torch.randn(1, 201, 32, 32)] * 6
    return lambda: wsss_fast.tta_merge(logits, (4000, 4000), flipped=[False] * 6, output="labels")


def interrupted(call: Callable[[], object], after: float) -> float:
    """Seconds from SIGINT, which comes ``after`` seconds into the call, to the KeyboardInterrupt."""
    sent = []

    def send() -> None:
        time.sleep(after)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    begin = time.perf_counter()
    try:
        call()
        seconds = time.perf_counter() - begin
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    finally:
        sender.join()
    raise AssertionError(f"ended within {seconds:.2f} s, without a KeyboardInterrupt")


def main() -> None:
    """Prints ``name threads seconds`` for each interrupted call, and checks that the next call is right."""
    from hard_use.every_op import CASES

    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 16])
    parser.add_argument("--ops", nargs="+", default=list(LONG))
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
    torch.set_num_threads(1)
    after_it = [name for name in CASES if any(name.startswith(op) for op in ("crf_g", "random", "tta_m"))]
    expected = [CASES[name]() for name in after_it]
    for op in arguments.ops:
        call = LONG[op]()
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for turn in range(arguments.times):
                seconds = interrupted(call, after=0.15 + 0.07 * turn)
                print(op, threads, f"{seconds:.3f}", flush=True)
            assert [CASES[name]() for name in after_it] == expected, op


if __name__ == "__main__":
    main()
