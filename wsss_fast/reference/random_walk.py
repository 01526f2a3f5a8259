"""The random walk with its transition matrix, the way the published IRNet code does it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_fast.reference.path_affinity import path_affinity, path_offsets


def affinity_matrix(boundary: Tensor, radius: int, beta: float) -> Tensor:
    """S [h*w, h*w] (sparse, COO) of one boundary map [1,h,w]: affinities, and ones on the diagonal."""
    _, h, w = boundary.shape
    reach = radius - 1
    # Beyond the image stands a wall, which nothing passes: its pixels have no affinity with anything.
    walled = F.pad(boundary, (reach, reach, 0, reach), value=1.0)
    affinity = path_affinity(walled.unsqueeze(0), radius)[0] ** beta
    flat = F.pad(torch.arange(h * w).view(h, w), (reach, reach, 0, reach), value=-1)
    rows, columns, values = [], [], []
    for (dy, dx), value in zip(path_offsets(radius), affinity, strict=True):
        source = flat[:h, reach : reach + w]
        target = flat[dy : dy + h, reach + dx : reach + dx + w]
        inside = target >= 0
        rows.append(source[inside])
        columns.append(target[inside])
        values.append(value[inside])
    source, target, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    diagonal = torch.arange(h * w)
    indices = torch.stack(
        [torch.cat([source, target, diagonal]), torch.cat([target, source, diagonal])],
    )
    values_both_ways = torch.cat([value, value, torch.ones(h * w, dtype=value.dtype)])
    return torch.sparse_coo_tensor(indices, values_both_ways, (h * w, h * w), check_invariants=False)


def _seed(cam: Tensor, boundary: Tensor) -> Tensor:
    return (cam * (1 - boundary)).flatten(1)


def random_walk(
    cam: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """``cam`` [K,h,w], ``boundary`` [1,h,w]: the dense transition matrix, squared ``exp_times`` times.

    Needs several matrices of (h*w)**2 entries.

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.random_walk import random_walk
    >>> cam, boundary = torch.rand(2, 8, 10), torch.rand(1, 8, 10)
    >>> torch.allclose(random_walk(cam, boundary), wsss_fast.random_walk(cam, boundary), atol=1e-4)
    True
    """
    dense = affinity_matrix(boundary, radius, beta).to_dense()
    transition = dense / dense.sum(0, keepdim=True)
    for _ in range(exp_times):
        transition = transition @ transition
    return (_seed(cam, boundary) @ transition).view(cam.shape)


def random_walk_sparse(
    cam: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """The same with a sparse (CSR) matrix and ``2 ** exp_times`` products of it with the maps.

    >>> import torch, wsss_fast
    >>> from wsss_fast.reference.random_walk import random_walk_sparse
    >>> cam, boundary = torch.rand(2, 8, 10), torch.rand(1, 8, 10)
    >>> torch.allclose(random_walk_sparse(cam, boundary), wsss_fast.random_walk(cam, boundary), atol=1e-4)
    True
    """
    matrix = affinity_matrix(boundary, radius, beta).coalesce()
    degree = torch.zeros(matrix.shape[0], dtype=matrix.dtype)
    degree.index_add_(0, matrix.indices()[1], matrix.values())
    # Rows of the transposed transition matrix, so that maps are columns: v <- T^t v.
    transposed = torch.sparse_coo_tensor(
        matrix.indices().flip(0),
        matrix.values() / degree[matrix.indices()[1]],
        matrix.shape,
        check_invariants=False,
    ).to_sparse_csr()
    maps = _seed(cam, boundary).t().contiguous()
    for _ in range(2**exp_times):
        maps = transposed @ maps
    return maps.t().reshape(cam.shape)
