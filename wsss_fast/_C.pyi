"""The compiled core. Private; see wsss_fast/_launch.py."""

def build_info() -> dict[str, object]: ...
def crf_float32(
    *,
    images: int,
    sets: int,
    classes: int,
    height: int,
    width: int,
    image_bytes: int,
    image: int,
    unary: int,
    probs: int,
    labels: int,
    label_bytes: int,
    kernels: list[tuple[str, list[float], int, int, str, int]],
    iterations: int,
    normalization: str,
    threads: int,
) -> None: ...
def crf_float64(
    *,
    images: int,
    sets: int,
    classes: int,
    height: int,
    width: int,
    image_bytes: int,
    image: int,
    unary: int,
    probs: int,
    labels: int,
    label_bytes: int,
    kernels: list[tuple[str, list[float], int, int, str, int]],
    iterations: int,
    normalization: str,
    threads: int,
) -> None: ...

class Lattice_float32:
    @property
    def vertices(self) -> int: ...
    @property
    def packed_bytes(self) -> int: ...
    def pack(self, block: int) -> None: ...

class Lattice_float64:
    @property
    def vertices(self) -> int: ...
    @property
    def packed_bytes(self) -> int: ...
    def pack(self, block: int) -> None: ...

def lattice_build_float32(*, features: int, dims: int, points: int, threads: int) -> Lattice_float32: ...
def lattice_build_float64(*, features: int, dims: int, points: int, threads: int) -> Lattice_float64: ...
def lattice_filter_float32(
    *,
    lattice: int,
    lattice_bytes: int,
    values: int,
    out: int,
    channels: int,
    transposed: bool,
    check: bool,
    threads: int,
) -> None: ...
def lattice_filter_float64(
    *,
    lattice: int,
    lattice_bytes: int,
    values: int,
    out: int,
    channels: int,
    transposed: bool,
    check: bool,
    threads: int,
) -> None: ...
def path_offsets(radius: int) -> list[tuple[int, int]]: ...
def path_affinity_float32(
    boundary: int, affinity: int, images: int, height: int, width: int, radius: int, threads: int
) -> None: ...
def path_affinity_float64(
    boundary: int, affinity: int, images: int, height: int, width: int, radius: int, threads: int
) -> None: ...
def path_affinity_backward_workspace_bytes_float32(
    images: int, height: int, width: int, radius: int
) -> int: ...
def path_affinity_backward_workspace_bytes_float64(
    images: int, height: int, width: int, radius: int
) -> int: ...
def path_affinity_backward_float32(
    grad_affinity: int,
    boundary: int,
    grad_boundary: int,
    workspace: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    threads: int,
) -> None: ...
def path_affinity_backward_float64(
    grad_affinity: int,
    boundary: int,
    grad_boundary: int,
    workspace: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    threads: int,
) -> None: ...
def chebyshev_of_power(n: int, tol: float) -> list[float]: ...

# The addresses of cam, boundary and out; images, maps, height and width.
_WalkBatch = tuple[tuple[int, int, int], tuple[int, int, int, int]]

def random_walk_workspace_bytes_float32(batches: list[_WalkBatch], radius: int, threads: int) -> int: ...
def random_walk_workspace_bytes_float64(batches: list[_WalkBatch], radius: int, threads: int) -> int: ...
def random_walk_float32(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    workspace: int,
    threads: int,
) -> None: ...
def random_walk_float64(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    workspace: int,
    threads: int,
) -> None: ...
def first_outside_float32(values: int, count: int, low: float, high: float) -> int: ...
def first_outside_float64(values: int, count: int, low: float, high: float) -> int: ...
