"""What the passes of the dense CRF move on a GPU, in bytes, from the sizes.

Each pass reads its inputs once and writes its outputs once; what threads of one pass read again comes from a
cache, and costs nothing here. Indices and weights are 4 bytes, values float32, lattice keys 8 bytes. Sorting
counts as one pass, though a radix sort takes several: so construction is a lower bound, and the rest is what
these passes move without any cache between them. A GPU whose cache holds a lattice can be faster than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_VALUE = 4  # bytes, of indices and weights too
_KEY = 8


@dataclass(frozen=True)
class Lattice:
    dims: int  # d
    points: int  # pixels of all images that it is built for
    vertices: int  # of all of them
    shared_by: int = 1  # images that use the very same one: a kernel of position alone has one for all

    @property
    def corners(self) -> int:
        """Of all points."""
        return self.points * (self.dims + 1)


def construction(lattice: Lattice, features: int) -> int:
    """``features``: bytes that say where the points lie."""
    pair = _KEY + _VALUE  # of a vertex's key and the corner that it is of
    written = lattice.corners * pair
    sort = 2 * lattice.corners * pair
    # Read back: each corner gets its vertex and weight, each vertex its list of points and weights.
    numbered = lattice.corners * (pair + 2 * _VALUE + 2 * _VALUE)
    # Two neighbours of each vertex along each axis, found by the keys.
    neighbours = lattice.vertices * (_KEY + 2 * (lattice.dims + 1) * _VALUE)
    return features + written + sort + numbered + neighbours


def splat(lattice: Lattice, channels: int) -> int:
    """A vertex gathers its points' values."""
    values = channels * lattice.shared_by * (lattice.points + lattice.vertices)
    return _VALUE * (2 * lattice.corners + values)


def blur(lattice: Lattice, channels: int) -> int:
    """All axes, two in one pass over the rows."""
    neighbours = 2 * (lattice.dims + 1) * lattice.vertices
    passes = (lattice.dims + 2) // 2
    return _VALUE * (neighbours + passes * 2 * channels * lattice.shared_by * lattice.vertices)


def gather(lattice: Lattice, channels: int) -> int:
    """Slicing, without what becomes of the values."""
    return _VALUE * (2 * lattice.corners + channels * lattice.shared_by * lattice.vertices)


def lattice_filter(lattice: Lattice, channels: int) -> int:
    out = _VALUE * channels * lattice.shared_by * lattice.points
    return splat(lattice, channels) + blur(lattice, channels) + gather(lattice, channels) + out


def normalisation(lattice: Lattice) -> int:
    """A filter of ones, once for all that share the lattice; the ones are nowhere."""
    once = Lattice(lattice.dims, lattice.points, lattice.vertices)
    return lattice_filter(once, 1) - _VALUE * lattice.points


def update(lattices: Sequence[Lattice], pixels: int, classes: int) -> int:
    """One iteration on ``pixels`` of all images: slicing, the sum of the messages and the unary, and the
    softmax are one pass that writes Q."""
    messages = sum(
        # The normalisation is read before the splat and after the slicing.
        splat(lattice, classes)
        + blur(lattice, classes)
        + gather(lattice, classes)
        + 2 * _VALUE * lattice.points
        for lattice in lattices
    )
    return messages + 2 * _VALUE * pixels * classes


def crf(lattices: Sequence[tuple[Lattice, int]], pixels: int, classes: int, iterations: int) -> int:
    """The whole of it. A lattice comes with the bytes that say where its points lie."""
    built = sum(construction(lattice, features) + normalisation(lattice) for lattice, features in lattices)
    start = 3 * _VALUE * pixels * classes  # Q = softmax(-unary), and the unary in the order of the updates
    return built + start + iterations * update([lattice for lattice, _ in lattices], pixels, classes)
