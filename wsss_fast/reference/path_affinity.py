"""Path affinity the way the published IRNet code does it: index tables, a gather, a maximum over paths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def path_offsets(radius: int) -> list[tuple[int, int]]:
    """(dy, dx) of the half-plane neighbours inside the radius, in our order.

    >>> import wsss_fast
    >>> from wsss_fast.reference.path_affinity import path_offsets
    >>> path_offsets(5) == [tuple(offset) for offset in wsss_fast.path_offsets(5).tolist()]
    True
    """
    offsets = [(0, dx) for dx in range(1, radius)]
    for dy in range(1, radius):
        for dx in range(-radius + 1, radius):
            if dy * dy + dx * dx < radius * radius:
                offsets.append((dy, dx))
    return offsets


def path_pixels(dy: int, dx: int) -> list[tuple[int, int]]:
    """The pixels of the straight path from (0, 0) to (dy, dx), both included."""
    return [
        (y, x)
        for y in range(min(0, dy), max(0, dy) + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    ]


def path_indices(radius: int, height: int, width: int) -> list[tuple[list[int], Tensor]]:
    """Flat indices of all paths of a map, grouped by the number of pixels of a path.

    Each group: the positions of its neighbours in ``path_offsets``, and indices
    ``[neighbours, pixels of a path, h' * w']`` into the flattened map.
    """
    reach = radius - 1
    flat = torch.arange(height * width).view(height, width)
    groups: dict[int, tuple[list[int], list[Tensor]]] = {}
    for p, (dy, dx) in enumerate(path_offsets(radius)):
        pixels = path_pixels(dy, dx)
        indices = torch.stack(
            [
                flat[y : y + height - reach, reach + x : reach + x + width - 2 * reach].reshape(-1)
                for y, x in pixels
            ]
        )
        members, tables = groups.setdefault(len(pixels), ([], []))
        members.append(p)
        tables.append(indices)
    return [(members, torch.stack(tables)) for _, (members, tables) in sorted(groups.items())]


def affinity_of_indices(
    boundary: Tensor, indices: list[tuple[list[int], Tensor]], size: tuple[int, int]
) -> Tensor:
    """``boundary`` [N,1,h,w] -> affinity [N,P,h',w'] over the tables of :func:`path_indices`."""
    flat = boundary.flatten(1)
    order: list[int] = []
    affinities = []
    for members, table in indices:
        paths = flat.index_select(1, table.view(-1)).view(flat.shape[0], *table.shape)
        largest = F.max_pool2d(paths, (table.shape[1], 1)).squeeze(2)
        affinities.append(1 - largest)
        order.extend(members)
    in_our_order = torch.cat(affinities, 1)[:, torch.tensor(order).argsort()]
    return in_our_order.view(boundary.shape[0], len(order), *size)


def path_affinity(boundary: Tensor, radius: int) -> Tensor:
    """See :func:`wsss_fast.path_affinity`. ``boundary`` is [N,1,h,w].

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.path_affinity import path_affinity
    >>> boundary = torch.rand(1, 1, 12, 16)
    >>> torch.allclose(path_affinity(boundary, 4), wsss_fast.path_affinity(boundary, 4))
    True
    """
    _, _, h, w = boundary.shape
    size = (h - (radius - 1), w - 2 * (radius - 1))
    return affinity_of_indices(boundary, path_indices(radius, h, w), size)


def path_affinity_by_slices(boundary: Tensor, radius: int) -> Tensor:
    """The same as a running maximum over shifted slices: what plain torch can do without tables."""
    reach = radius - 1
    _, _, h, w = boundary.shape
    affinities = []
    for dy, dx in path_offsets(radius):
        largest: Tensor | None = None
        for y, x in path_pixels(dy, dx):
            piece = boundary[:, 0, y : y + h - reach, reach + x : reach + x + w - 2 * reach]
            largest = piece if largest is None else torch.maximum(largest, piece)
        assert largest is not None
        affinities.append(1 - largest)
    return torch.stack(affinities, 1)
