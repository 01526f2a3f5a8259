"""The cases of the CRF table: each measures something and yields rows.

500 x 375 pixels unless a case says otherwise, 10 iterations, Gaussian 3/3, compat 10. A ratio of times is the
median of the ratios on the single pictures; the worst picture counts where results are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import _memory
import _ours
import _peer
import numpy as np
import torch
from _memory import Call
from _photos import HEIGHT, WIDTH, Picture
from _problem import problem
from _table import Bound, LeftOut, Row, at_least, ratios
from _timing import Way, in_turns, threads
from torch import Tensor

import wsss_fast
from wsss_fast import Bilateral, Gaussian

PEER = "pydensecrf"
# Memory hardly varies, and each measurement is a process that imports torch.
MEMORY_PICTURES = 3


@dataclass(frozen=True)
class Setting:
    """What a case measures on: the first picture warms up."""

    pictures: Sequence[Picture]
    shared: Path  # the folder that has golden/

    def rounds(self, ways: Callable[[Picture, int], Sequence[Way]]) -> list[Callable[[], Sequence[Way]]]:
        """Made as late as possible, so that only one picture is in memory."""
        return [partial(ways, picture, seed) for seed, picture in enumerate(self.pictures)]


Case = Callable[[Setting], Iterator[Row]]


def against_peer(
    name: str,
    classes: int,
    bars: tuple[float, float],
    aims: tuple[float, float],
    *,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    scales: tuple[float, float] = (50, 5),
    sets: int = 1,
) -> Case:
    """The whole of `crf` on one and on two threads. The peer solves each unary anew, as it must."""
    bilateral = Bilateral(*scales, compat=10)

    def ways(picture: Picture, seed: int) -> list[Way]:
        p = problem(picture.at(*size), classes, seed, sets)
        image, unary = (p.image, p.unary[0]) if sets == 1 else (p.image.unsqueeze(0), p.unary.unsqueeze(0))

        def peer() -> list[np.ndarray]:
            return [_peer.crf(p.peer_image, u, bilateral) for u in p.peer_unaries]

        def ours() -> Tensor:
            return _ours.crf(image, unary, bilateral)

        return [Way(peer), Way(ours), Way(ours, threads=2)]

    def case(setting: Setting) -> Iterator[Row]:
        peer, *both = in_turns(setting.rounds(ways))
        for count, ours, bar, aim in zip((1, 2), both, bars, aims, strict=True):
            yield Row(
                name,
                ratios(peer, ours),
                at_least(bar),
                aim=at_least(aim),
                threads=count,
                against=PEER,
                theirs=peer,
                ours=ours,
            )

    return case


def construction(setting: Setting) -> Iterator[Row]:
    """Both lattices and their normalisation, without mean field. The peer's model is made beforehand."""

    def ways(picture: Picture, seed: int) -> list[Way]:
        p = problem(picture.at(HEIGHT, WIDTH), 2, seed)
        model = _peer.model(HEIGHT, WIDTH, 2)
        unary = torch.zeros(1, HEIGHT, WIDTH)

        def peer() -> None:
            _peer.construct(model, p.peer_image, Bilateral(50, 5, compat=10))

        def ours() -> Tensor:
            return _ours.construct_ours(p.image, unary, sxy=50, srgb=5)

        return [Way(peer), Way(ours), Way(ours, threads=2)]

    peer, *both = in_turns(setting.rounds(ways))
    for count, ours, bar in zip((1, 2), both, (4, 7), strict=True):
        yield Row(
            "construction of both lattices, 50/5",
            ratios(peer, ours),
            at_least(bar),
            threads=count,
            against=PEER,
            theirs=peer,
            ours=ours,
        )


def shared_lattice(setting: Setting) -> Iterator[Row]:
    bilateral = Bilateral(50, 5, compat=10)

    def ways(picture: Picture, seed: int) -> list[Way]:
        p = problem(picture.at(HEIGHT, WIDTH), 3, seed, sets=2)
        image, unary = p.image.unsqueeze(0), p.unary.unsqueeze(0)
        return [
            Way(partial(_ours.crf, image, unary[:, :sets], bilateral), threads=count)
            for count in (1, 2)
            for sets in (1, 2)
        ]

    one_1, two_1, one_2, two_2 = in_turns(setting.rounds(ways))
    for count, one, two in ((1, one_1, two_1), (2, one_2, two_2)):
        yield Row(
            "[1,2,C,H,W] to [1,1,C,H,W], C=3, 50/5",
            ratios(two, one),
            Bound("<", 1.6),
            threads=count,
            against="one unary",
            theirs=one,
            ours=two,
        )


def growth(setting: Setting) -> Iterator[Row]:
    """Four times the pixels of the same picture."""
    bilateral = Bilateral(50, 5, compat=10)
    for classes in (4, 21):

        def ways(picture: Picture, seed: int, classes: int = classes) -> list[Way]:
            small, large = (problem(picture.at(*size), classes, seed) for size in ((750, 1000), (1500, 2000)))
            return [
                Way(partial(_ours.crf, p.image, p.unary[0], bilateral), threads=count)
                for count in (1, 2)
                for p in (small, large)
            ]

        small_1, large_1, small_2, large_2 = in_turns(setting.rounds(ways))
        for count, small, large in ((1, small_1, large_1), (2, small_2, large_2)):
            yield Row(
                f"2000 x 1500 to 1000 x 750, C={classes}, 50/5",
                ratios(large, small),
                Bound("<=", 1.25 * 4),
                threads=count,
                against="1000 x 750",
                theirs=small,
                ours=large,
            )


def _first_call(
    run: Callable[[np.ndarray, np.ndarray], object], image: np.ndarray, unary: np.ndarray, threads: int
) -> float:
    """Peak memory in bytes for one unary. Files take the input to the other process: what unpickling frees
    would change how the allocator serves the call."""
    with TemporaryDirectory() as folder:
        np.save(Path(folder, "image.npy"), image)
        np.save(Path(folder, "unary.npy"), unary)
        return _memory.peak(partial(_prepare, run, folder), threads)


def _prepare(run: Callable[[np.ndarray, np.ndarray], object], folder: str) -> Call:
    # Loaded without a temporary copy, and touched: an input is resident before the call.
    image, unary = np.load(Path(folder, "image.npy")), np.load(Path(folder, "unary.npy"))
    height, width = 12, 16
    noise = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    ones: np.ndarray = np.ones((len(unary), height, width), np.float32)
    if unary.ndim == 2:  # the peer's layout
        noise, ones = np.ascontiguousarray(noise.transpose(1, 2, 0)), ones.reshape(len(unary), -1)
    return Call(warm_up=partial(run, noise, ones), run=partial(run, image, unary))


def _peer_of_arrays(image: np.ndarray, unary: np.ndarray) -> np.ndarray:
    return _peer.crf(image, unary, Bilateral(50, 5, compat=10))


def _ours_of_arrays(image: np.ndarray, unary: np.ndarray) -> Tensor:
    return _ours.crf(torch.from_numpy(image), torch.from_numpy(unary), Bilateral(50, 5, compat=10))


def memory(setting: Setting) -> Iterator[Row]:
    mebibyte = 1024**2
    for classes, bar in ((2, 0.6), (4, 0.6), (21, 0.5)):
        problems = [
            problem(picture.at(HEIGHT, WIDTH), classes, seed)
            for seed, picture in enumerate(setting.pictures[1 : 1 + MEMORY_PICTURES], start=1)
        ]
        peer = [_first_call(_peer_of_arrays, p.peer_image, p.peer_unaries[0], 1) / mebibyte for p in problems]
        for count in (1, 2):
            ours = [
                _first_call(_ours_of_arrays, p.image.numpy(), p.unary[0].numpy(), count) / mebibyte
                for p in problems
            ]
            yield Row(
                f"peak memory, C={classes}, 50/5",
                ratios(ours, peer),
                Bound("<=", bar),
                threads=count,
                against=PEER,
                theirs=peer,
                ours=ours,
                unit="MiB",
            )


def _agreement(q: Tensor, expected: Tensor) -> float:
    """Percent of the pixels, of [C,...] each."""
    return 100 * (q.argmax(0) == expected.argmax(0)).double().mean().item()


def _difference(q: Tensor, expected: Tensor) -> float:
    return (q - expected).abs().double().mean().item()


def _accuracy_rows(name: str, against: str, agreements: list[float], differences: list[float]) -> list[Row]:
    return [
        Row(f"{name}: labels", agreements, at_least(99.99), "percent", worst=True, against=against),
        Row(
            f"{name}: mean difference of Q",
            differences,
            Bound("<=", 1e-5),
            "small",
            worst=True,
            against=against,
        ),
    ]


def accuracy(setting: Setting) -> Iterator[Row]:
    """On the pictures that were timed."""
    bilateral = Bilateral(50, 5, compat=10)
    for classes in (2, 4, 21):
        agreements, differences, unequal = [], [], []
        for seed, picture in enumerate(setting.pictures[1:], start=1):
            p = problem(picture.at(HEIGHT, WIDTH), classes, seed)
            peer = torch.from_numpy(_peer.crf(p.peer_image, p.peer_unaries[0], bilateral))
            found = []
            for count in (1, 2, 4):
                with threads(count):
                    found.append(_ours.crf(p.image, p.unary[0], bilateral).flatten(1))
            agreements.append(_agreement(found[0], peer))
            differences.append(_difference(found[0], peer))
            bits = [q.view(torch.int32) for q in found]
            unequal.append(max(int((b != bits[0]).sum()) for b in bits))
        yield from _accuracy_rows(f"accuracy, C={classes}, 50/5", PEER, agreements, differences)
        yield Row(
            f"values that differ by threads, C={classes}",
            unequal,
            Bound("<=", 0),
            "count",
            worst=True,
            against="1, 2 and 4 threads",
        )


def golden(setting: Setting) -> Iterator[Row]:
    """Against recorded results of the peer, where there are any; each file is an entry of the rows."""
    paths = sorted((setting.shared / "golden").glob("crf_*.npz"))
    if not paths:
        raise LeftOut(f"no crf_*.npz in {setting.shared / 'golden'} (set WSSS_FAST_SHARED)")
    agreements, differences = [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
        p = json.loads(str(arrays["params"]))
        if "labels" in arrays:
            labels = torch.from_numpy(arrays["labels"])
            unary = wsss_fast.unary_from_labels(labels, p["C"], gt_prob=p["gt_prob"])
        else:
            unary = torch.from_numpy(arrays["unary"])
        q = wsss_fast.crf(
            torch.from_numpy(arrays["image"]).permute(2, 0, 1),
            unary,
            iterations=p["t"],
            gaussian=Gaussian(p["gauss_sxy"], p["gauss_compat"]),
            bilateral=Bilateral(p["bilat_sxy"], p["bilat_srgb"], p["bilat_compat"]),
        )
        agreements.append(100 * (q.argmax(0) == torch.from_numpy(arrays["map"])).double().mean().item())
        if "Q" in arrays:
            differences.append(_difference(q, torch.from_numpy(arrays["Q"])))
        else:  # of the larger ones a sample of the pixels was kept
            sample = q.flatten(1)[:, torch.from_numpy(arrays["pixels"])]
            differences.append(_difference(sample, torch.from_numpy(arrays["Q_pixels"])))
    yield from _accuracy_rows(f"golden, {len(paths)} files", "recorded results", agreements, differences)


CASES: dict[str, Case] = {
    "c2": against_peer("crf, C=2, 50/5", 2, (5, 9), (8, 15)),
    "c4": against_peer("crf, C=4, 50/5", 4, (5, 9), (8, 15)),
    "c21": against_peer("crf, C=21, 50/5", 21, (4, 7), (6, 11)),
    "c21-coarse": against_peer("crf, C=21, 80/13", 21, (4, 7), (6, 11), scales=(80, 13)),
    "c21-large": against_peer("crf, 1024 x 768, C=21, 50/5", 21, (4, 7), (6, 11), size=(768, 1024)),
    "ir-labels": against_peer("IR labels: 2 unaries, C=3, 50/5", 3, (7, 12), (10, 18), sets=2),
    "construction": construction,
    "shared-lattice": shared_lattice,
    "growth": growth,
    "memory": memory,
    "accuracy": accuracy,
    "golden": golden,
}
