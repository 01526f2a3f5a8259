"""Permutohedral lattices on CUDA: one for all images of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._launch._memory import address, cuda_place, new_workspace


class CudaLatticeBuild:
    """A lattice half made: its points' corners are being sorted.

    ``vertices``, int32 ``[images]`` on the device, will hold how many vertices each image has.
    """

    def __init__(
        self,
        kind: str,
        images: int,
        size: tuple[int, int],
        dims: int,
        scales: Sequence[float],
        like: Tensor,
        *,
        image: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """``like`` has the dtype and device of the lattice; the tensors are contiguous and, but for an
        image of bytes, of that dtype."""
        self._like = like
        self._keep = image, features
        is_bytes = image is not None and image.dtype == torch.uint8
        builder = {
            torch.float32: _C.CudaLatticeBuilder_float32,
            torch.float64: _C.CudaLatticeBuilder_float64,
        }[like.dtype]
        self._builder = builder(
            kind=kind,
            images=images,
            height=size[0],
            width=size[1],
            dims=dims,
            scales=list(scales),
            image_bytes=address(image) if image is not None and is_bytes else 0,
            image=address(image) if image is not None and not is_bytes else 0,
            features=0 if features is None else address(features),
            place=cuda_place(like),
        )
        self.vertices = torch.empty(images, dtype=torch.int32, device=like.device)
        self._sorting = new_workspace(self._builder.sorting_bytes(), like.device)
        self._builder.sort(address(self._sorting), address(self.vertices))

    def with_rows(self, rows: int) -> Tensor:
        """The lattice; ``rows`` is the sum of ``vertices``."""
        return self._link(rows, 0)

    def with_capacity(self, capacity: int) -> Tensor:
        """The lattice, with room for ``capacity`` vertices of each image; results of an image that has more
        will be NaN."""
        return self._link(self._builder.rows_of_capacity(capacity), capacity)

    def _link(self, rows: int, capacity: int) -> Tensor:
        device = self._like.device
        linking = new_workspace(self._builder.linking_bytes(rows), device)
        # int64 elements, so that the memory is aligned for every array inside.
        lattice = torch.empty(self._builder.lattice_bytes(rows) // 8, dtype=torch.int64, device=device)
        self._builder.link(rows, capacity, address(linking), address(lattice))
        return lattice


def finished(builds: Sequence[CudaLatticeBuild], capacities: Sequence[int | None]) -> list[Tensor]:
    """The lattices. For those without a capacity this waits for the device, once for all of them."""
    counted = [build for build, capacity in zip(builds, capacities, strict=True) if capacity is None]
    rows = iter(torch.stack([build.vertices.sum() for build in counted]).tolist() if counted else [])
    return [
        build.with_rows(next(rows)) if capacity is None else build.with_capacity(capacity)
        for build, capacity in zip(builds, capacities, strict=True)
    ]


def cuda_lattice_build(features: Tensor, capacity: int | None) -> tuple[Tensor, Tensor]:
    """One lattice of features [G,d,P], and how many vertices each of its images has: [G]."""
    images, dims, points = features.shape
    features = features.contiguous()
    build = CudaLatticeBuild("features", images, (1, points), dims, [1.0] * 5, features, features=features)
    (lattice,) = finished([build], [capacity])
    return lattice, build.vertices


def cuda_lattice_filter(lattice: Tensor, values: Tensor, dims: int, transposed: bool) -> Tensor:
    """Values [G,C,P] filtered on the lattice of their G images."""
    lattice, values = lattice.contiguous(), values.contiguous()
    out = torch.empty_like(values)
    images, channels, points = values.shape
    run, workspace_bytes = {
        torch.float32: (_C.cuda_lattice_filter_float32, _C.cuda_lattice_filter_workspace_bytes_float32),
        torch.float64: (_C.cuda_lattice_filter_float64, _C.cuda_lattice_filter_workspace_bytes_float64),
    }[values.dtype]
    sizes = {
        "lattice": address(lattice),
        "lattice_bytes": lattice.numel() * lattice.element_size(),
        "images": images,
        "points": points,
        "dims": dims,
        "channels": channels,
    }
    workspace = new_workspace(workspace_bytes(**sizes), values.device)
    run(
        **sizes,
        values=address(values),
        out=address(out),
        transposed=transposed,
        workspace=address(workspace),
        place=cuda_place(values),
    )
    return out
