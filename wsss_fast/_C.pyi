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
