"""Dense CRF in plain torch: a permutohedral lattice from sorted keys, and mean field on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast.kernels import Bilateral, Features, Gaussian, Kernel


def _row_numbers(rows: Tensor) -> Tensor:
    """Numbers the distinct rows of an integer matrix: equal rows get equal numbers, 0, 1, ..."""
    code = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    size = 1
    for column in rows.T:
        low = int(column.min())
        span = int(column.max()) - low + 1
        if size * span >= 2**62:  # would overflow: close the gaps first
            code = torch.unique(code, return_inverse=True)[1]
            size = int(code.max()) + 1
        code = code * span + (column - low)
        size *= span
    return torch.unique(code, return_inverse=True)[1]


class PermutohedralLattice:
    """Gaussian filter for points with features [d,P], in units of the standard deviation.

    >>> import torch
    >>> from wsss_fast.reference.crf import PermutohedralLattice
    >>> PermutohedralLattice(torch.rand(2, 100)).filter(torch.rand(3, 100)).shape
    torch.Size([3, 100])
    """

    def __init__(self, features: Tensor) -> None:
        d, points = features.shape
        self.dims, self.points = d, points
        if points == 0:
            return

        # Into the hyperplane of coordinates that sum to zero. The scale makes the whole filter's variance 1.
        deviation = torch.tensor(math.sqrt(2 / 3) * (d + 1), dtype=features.dtype).item()
        partial = torch.zeros_like(features[0])
        elevated = torch.empty_like(features[:1].expand(d + 1, -1))
        for j in range(d, 0, -1):
            scale = torch.tensor(1 / math.sqrt(j * (j + 1)) * deviation, dtype=features.dtype)
            scaled = features[j - 1] * scale
            elevated[j] = partial - j * scaled
            partial = partial + scaled
        elevated[0] = partial

        # The nearest point with coordinates that are all multiples of d+1, and the order of what is left.
        inverse = torch.tensor(1 / (d + 1), dtype=features.dtype)
        rounded = torch.round(inverse * elevated)  # half to even
        excess = rounded.sum(0).long()
        rest = elevated - rounded * (d + 1)
        rank = rest.argsort(dim=0, descending=True, stable=True).argsort(dim=0) + excess
        step = (rank < 0).long() - (rank > d).long()  # back onto the hyperplane
        rank = rank + step * (d + 1)
        origin = (rounded.long() + step) * (d + 1)

        # Barycentric weights from the sorted rests.
        rest = torch.empty_like(rest).scatter_(0, rank, (elevated - origin) * inverse)
        weight = torch.empty_like(rest)
        weight[0] = rest[d] + (1 - rest[0])
        weight[1:] = rest[:d].flip(0) - rest[1:].flip(0)
        self.weight = weight.T.contiguous()  # [P,d+1]

        # Corner r lies r steps along all coordinates and d+1 back along the last r in the order.
        r = torch.arange(d + 1, device=features.device).reshape(-1, 1, 1)
        corners = origin + r - (d + 1) * (rank > d - r).long()  # [corner,coordinate,point]
        keys = corners[:, :d].permute(2, 0, 1).reshape(-1, d)
        number = _row_numbers(keys)
        self.vertices = int(number.max()) + 1
        self.corner = number.reshape(points, d + 1)
        position = torch.empty(self.vertices, d, dtype=torch.int64, device=features.device)
        position[number] = keys

        # Neighbours along each axis; `vertices` stands for none.
        self.before, self.after = [], []
        own = torch.arange(self.vertices, device=features.device)
        for axis in range(d + 1):
            move = torch.full((d,), -1, device=features.device)
            if axis < d:
                move[axis] = d
            both = _row_numbers(torch.cat([position, position + move]))
            there = torch.full((2 * self.vertices,), self.vertices, device=features.device)
            there[both[: self.vertices]] = own
            after = there[both[self.vertices :]]
            before = torch.full((self.vertices + 1,), self.vertices, device=features.device)
            before[after] = own
            self.after.append(after)
            self.before.append(before[:-1])

    def filter(self, values: Tensor) -> Tensor:
        """Values [C,P] to values [C,P]."""
        if self.points == 0:
            return values.clone()
        channels = values.shape[0]
        splat = (values.T.unsqueeze(1) * self.weight.unsqueeze(2)).flatten(0, 1)
        at = values.new_zeros(self.vertices, channels).index_add(0, self.corner.reshape(-1), splat)
        for before, after in zip(self.before, self.after, strict=True):
            padded = torch.cat([at, at.new_zeros(1, channels)])
            at = at + (padded[before] + padded[after]) / 2
        out = torch.zeros_like(values.T)
        for r in range(self.dims + 1):
            out = out + at[self.corner[:, r]] * self.weight[:, r : r + 1]
        return (out / (1 + 2.0**-self.dims)).T


def _features(kernel: Kernel, image: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Features [d,H*W] of a kernel for image n of a batch."""
    if isinstance(kernel, Features):
        guide = kernel.features
        assert isinstance(guide, Tensor)
        return guide[n].to(dtype).flatten(1)
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=image.device),
        torch.arange(width, dtype=dtype, device=image.device),
        indexing="ij",
    )
    planes = torch.stack([x, y])
    if isinstance(kernel, Bilateral):
        planes = torch.cat([planes, image[n].to(dtype)])
    return planes.flatten(1) / torch.tensor(kernel.scales, dtype=dtype, device=image.device).unsqueeze(1)


# What a kernel adds: its compat, its lattice, and what its filter is multiplied with before and after.
Term = tuple[Tensor, PermutohedralLattice, Tensor, Tensor]


def pairwise_terms(
    image: Tensor, kernels: Sequence[Kernel], normalizations: Sequence[str], n: int, like: Tensor
) -> list[Term]:
    """The kernels for image n of a batch, in the dtype of ``like``."""
    terms = []
    for kernel, name in zip(kernels, normalizations, strict=True):
        lattice = PermutohedralLattice(_features(kernel, image, n, like.dtype))
        mass = lattice.filter(like.new_ones(1, lattice.points)) + 1e-20
        one = torch.ones_like(mass)
        before, after = {
            "symmetric": (mass.rsqrt(), mass.rsqrt()),
            "before": (1 / mass, one),
            "after": (one, 1 / mass),
            "none": (one, one),
        }[name]
        terms.append((torch.as_tensor(kernel.compat, dtype=like.dtype), lattice, before, after))
    return terms


def next_logits(energy: Tensor, terms: Sequence[Term], q: Tensor) -> Tensor:
    """What the Q that follows ``q`` is the softmax of; all [C,P]."""
    logits = -energy
    for compat, lattice, before, after in terms:
        message = lattice.filter(q * before) * after
        if compat.dim() == 0:
            logits = logits + compat * message
        elif compat.dim() == 1:
            logits = logits - compat.unsqueeze(1) * message
        else:
            logits = logits - compat @ message
    return logits


def crf(
    image: Tensor,
    unary: Tensor,
    *,
    iterations: int = 10,
    gaussian: Gaussian | None = Gaussian(sxy=3, compat=3),  # noqa: B008  frozen
    bilateral: Bilateral | None = Bilateral(sxy=50, srgb=5, compat=10),  # noqa: B008  frozen
    kernels: Sequence[Kernel] | None = None,
    normalization: str | Sequence[str] = "symmetric",
    output: str = "probs",
) -> Tensor:
    """Mean field for ``image`` [N,3,H,W] and ``unary`` [N,C,H,W] or [N,M,C,H,W].

    As :func:`wsss_fast.crf`, with checks of its own for nothing and without lists, ``capacity`` and
    ``output="log_probs"``. Hundreds of times slower; memory grows with pixels times classes.

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.crf import crf
    >>> image = torch.randint(0, 256, (1, 3, 12, 16), dtype=torch.uint8)
    >>> unary = torch.rand(1, 4, 12, 16)
    >>> torch.allclose(crf(image, unary), wsss_fast.crf(image, unary), atol=1e-4)
    True
    """
    if kernels is None:
        kernels = [k for k in (gaussian, bilateral) if k is not None]
    normalizations = [normalization] * len(kernels) if isinstance(normalization, str) else normalization
    out = torch.empty_like(unary, memory_format=torch.contiguous_format)
    for n in range(len(unary)):
        terms = pairwise_terms(image, kernels, normalizations, n, unary)
        sets = unary[n] if unary.dim() == 5 else unary[n].unsqueeze(0)
        for m, energy in enumerate(sets.flatten(2)):
            q = torch.softmax(-energy, dim=0)
            for _ in range(iterations):
                q = torch.softmax(next_logits(energy, terms, q), dim=0)
            (out[n] if unary.dim() == 4 else out[n, m]).copy_(q.reshape(sets.shape[1:]))
    return out.argmax(-3) if output == "labels" else out
