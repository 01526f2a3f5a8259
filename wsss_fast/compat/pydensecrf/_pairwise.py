"""One pairwise term of a dense CRF."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsss_fast import Features, PermutohedralLattice


class Pairwise:
    """A Gaussian of the distance of features [d,N], normalised, times a compatibility of labels."""

    def __init__(self, features: np.ndarray, compat: Tensor, normalization: str) -> None:
        self.features = torch.from_numpy(features)
        self.compat = compat
        self.normalization = normalization
        self._made: tuple[PermutohedralLattice, Tensor | None, Tensor | None] | None = None

    def kernel(self, plane: tuple[int, int]) -> Features:
        """The term as :func:`wsss_fast.crf` takes it for the points as an image of that height and width."""
        return Features(self.features.unflatten(1, plane), self.compat)

    def _lattice(self) -> tuple[PermutohedralLattice, Tensor | None, Tensor | None]:
        """The lattice, and by what to multiply before and after it filters: made once.

        Not a functools.cached_property: up to Python 3.11 that holds a lock meanwhile, one for all terms,
        which in a child forked meanwhile nobody gives back.
        """
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> tuple[PermutohedralLattice, Tensor | None, Tensor | None]:
        lattice = PermutohedralLattice(self.features)
        if self.normalization == "none":
            return lattice, None, None
        mass = lattice.filter(torch.ones_like(self.features[:1])) + 1e-20
        if self.normalization == "symmetric":
            return lattice, mass.rsqrt(), mass.rsqrt()
        return (lattice, 1 / mass, None) if self.normalization == "before" else (lattice, None, 1 / mass)

    def energy(self, q: Tensor) -> Tensor:
        """What the term adds to the energies [C,N], given the marginals [C,N]."""
        lattice, before, after = self._lattice()
        message = lattice.filter(q if before is None else q * before)
        if after is not None:
            message *= after
        if self.compat.dim() == 0:
            return -self.compat * message
        return self.compat.unsqueeze(1) * message if self.compat.dim() == 1 else self.compat @ message
