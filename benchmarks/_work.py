"""What the ops have to do at the least, in bytes and operations on floats, from their sizes.

Bytes: inputs read once, outputs written once. An operation is one arithmetic instruction's worth on one
value: an addition, subtraction, comparison or maximum counts as an addition, a multiplication or division as
a multiplication. An exponential counts as what it costs as a polynomial, 10 of each.

Where an algorithm has a choice the cheaper count stands, so that the floor is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import _fusion
import _path
import _tta
import _walk
from _peaks import Peaks

import wsss_fast

_FLOAT = 4  # bytes
_EXP = 10  # of each kind


@dataclass(frozen=True)
class Work:
    bytes: int
    multiplications: float
    additions: float
    # Bytes read again and again, from the last cache as no core's own holds them.
    streamed: int = 0

    @property
    def operations(self) -> float:
        return self.multiplications + self.additions

    def memory_ms(self, peaks: Peaks, stream: float) -> float:
        """``stream``: bytes a second of what is streamed."""
        return 1000 * (self.bytes / peaks.memory + self.streamed / stream)

    def arithmetic_ms(self, peaks: Peaks) -> float:
        """Whichever runs out first: the units of one kind, or the slots for both."""
        return 1000 * max(
            self.multiplications / peaks.multiplications,
            self.additions / peaks.additions,
            self.operations / peaks.both,
        )


def degree(steps: int, tol: float = 1e-5) -> int:
    """Of the shortest sum of Chebyshev polynomials that is x^steps but for coefficients of ``tol`` in all:
    as many applications of the transition matrix does a walk need. See DESIGN, random_walk."""
    dropped = 0.0
    k = steps
    while True:
        # 2^-n binom(n, (n-k)/2), twice that but for k = 0, in logarithms
        chosen = (steps - k) // 2
        logarithm = math.lgamma(steps + 1) - math.lgamma(chosen + 1) - math.lgamma(steps - chosen + 1)
        coefficient = (1 if k == 0 else 2) * math.exp(logarithm - steps * math.log(2))
        if dropped + coefficient > tol:
            return k
        dropped += coefficient
        k -= 2


def random_walk(maps: int, threads: int, core_cache: int) -> Work:
    h, w, applications = _walk.HEIGHT, _walk.WIDTH, degree(_walk.STEPS)
    pixels = h * w
    # Neighbours inside the image, each pair once: S is symmetric.
    pairs = sum((h - dy) * (w - abs(dx)) for dy, dx in wsss_fast.path_offsets(_walk.RADIUS).tolist())
    # A weight: of a path of at least two pixels one maximum, 1 - m, its 10th power in four multiplications,
    # and an addition to the column sums of both ends. Another division a pixel.
    build_multiplications = 4 * pairs + pixels
    build_additions = (1 + 1 + 2) * pairs
    # An application, a map: both directions of a pair and the pixel itself (whose weight is 1), divided by
    # the column sums, with the recurrence's factor 2 in them; minus the polynomial before; and every second
    # one goes into the result, as only even ones have a coefficient.
    multiplications = 2 * pairs + 1.0 * pixels + 0.5 * pixels
    additions = 2 * pairs + 1.0 * pixels + 0.5 * pixels
    weights = _FLOAT * pairs
    return Work(
        # cam and boundary in, result out
        bytes=_FLOAT * pixels * (maps + 1 + maps),
        # and cam * (1 - boundary)
        multiplications=build_multiplications + maps * (applications * multiplications + pixels),
        additions=build_additions + maps * applications * additions + pixels,
        streamed=applications * weights if weights / threads > core_cache else 0,
    )


def path_affinity(batch: int = _path.BATCH) -> Work:
    """Forward and backward."""
    h, w = _path.SIZE - (_path.RADIUS - 1), _path.SIZE - 2 * (_path.RADIUS - 1)
    entries = batch * len(wsss_fast.path_offsets(_path.RADIUS)) * h * w
    boundary = batch * _path.SIZE**2
    return Work(
        # Forward: boundary in, affinity out. Backward: boundary and gradient in, gradient out.
        bytes=_FLOAT * (boundary + entries + boundary + entries + boundary),
        multiplications=0,
        # A maximum has at least two operands, be it of a path or of two that make it up: one maximum and
        # 1 - m forward; one comparison to find where it was and one addition there backward.
        additions=(2 + 2) * entries,
    )


def affinity_loss_bytes(batch: int) -> int:
    """Forward and backward, with labels of a byte."""
    pixels = batch * _path.SIZE**2
    floats = 1 + 2  # boundary and displacement, whose gradients are as large
    return pixels * (2 * (_FLOAT * floats + 1) + _FLOAT * floats)


def fuse_cams(present: int) -> Work:
    height, width = _fusion.SIZE
    pixels = height * width
    small = sum(h * w for h, w in _fusion.SIZES)
    # Both orientations of a size are added first. A blend of two values is two multiplications and an
    # addition: of columns for every row of the maps, then of rows for every pixel of the result. The blends
    # of the sizes are added up.
    rows = sum(h for h, _ in _fusion.SIZES) * width
    sizes = len(_fusion.SIZES)
    return Work(
        bytes=_FLOAT * present * (2 * small + pixels),
        # and the division by the maximum
        multiplications=present * (2 * rows + (2 * sizes + 1) * pixels),
        # and ReLU and the maximum
        additions=present * (small + rows + (2 * sizes - 1 + 2) * pixels),
    )


def tta_merge(classes: int, stride: int, output: _tta.Output) -> Work:
    """With softmax; a single class has the sigmoid, its softmax being 1 whatever it is given."""
    size, sides = _tta.SIZE, _tta.sides(stride)
    pixels = size * size
    # Blends, of rows for every column of the input and then of columns; none where sizes agree.
    blends = sum(size * side + pixels for side in sides if side != size)
    values = len(sides) * pixels
    if classes == 1:
        # 1 / (1 + exp(-x)), and the sum over the inputs
        multiplications = 2 * blends + (_EXP + 1) * values
        additions = blends + (1 + _EXP + 1) * values
    else:
        # A class: exp(x - max), its share of the maximum and of the sum, times 1 / sum, added up over the
        # inputs. A pixel: that division.
        multiplications = classes * (2 * blends + (_EXP + 1) * values) + values
        additions = classes * (blends + (_EXP + 4) * values)
    results = classes * pixels
    return Work(
        bytes=_FLOAT * classes * sum(side * side for side in sides)
        + (_FLOAT * results if output == "mean" else pixels),
        # The mean divides, labels compare.
        multiplications=multiplications + (results if output == "mean" else 0),
        additions=additions + (results if output == "labels" else 0),
    )
