"""The compiled core. Private; see wsss_fast/_launch."""

CUDA: str  # "none", "device", or "host" where the CUDA kernels run on the host

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
    kernels: list[tuple[str, list[float], int, int, str, int, str]],
    iterations: int,
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
    kernels: list[tuple[str, list[float], int, int, str, int, str]],
    iterations: int,
    threads: int,
) -> None: ...
def check_lattice_reach_float32(name: str, low: list[float], high: list[float]) -> None: ...
def check_lattice_reach_float64(name: str, low: list[float], high: list[float]) -> None: ...

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
def affinity_displacement_float32(
    *,
    boundary_logits: int,
    displacement: int,
    labels: int,
    sums: int,
    counts: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    threads: int,
) -> None: ...
def affinity_displacement_backward_workspace_bytes_float32(
    *, images: int, height: int, width: int, radius: int
) -> int: ...
def affinity_displacement_backward_float32(
    *,
    grad_sums: int,
    boundary_logits: int,
    displacement: int,
    labels: int,
    grad_boundary_logits: int,
    grad_displacement: int,
    workspace: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    threads: int,
) -> None: ...
def affinity_displacement_float64(
    *,
    boundary_logits: int,
    displacement: int,
    labels: int,
    sums: int,
    counts: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    threads: int,
) -> None: ...
def affinity_displacement_backward_workspace_bytes_float64(
    *, images: int, height: int, width: int, radius: int
) -> int: ...
def affinity_displacement_backward_float64(
    *,
    grad_sums: int,
    boundary_logits: int,
    displacement: int,
    labels: int,
    grad_boundary_logits: int,
    grad_displacement: int,
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
# The addresses of grad_out, cam, boundary, grad_cam and grad_boundary, 0 for what is not there; the same.
_WalkGradientBatch = tuple[tuple[int, int, int, int, int], tuple[int, int, int, int]]

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
def random_walk_backward_workspace_bytes_float32(
    batches: list[_WalkGradientBatch], radius: int, threads: int
) -> int: ...
def random_walk_backward_workspace_bytes_float64(
    batches: list[_WalkGradientBatch], radius: int, threads: int
) -> int: ...
def random_walk_backward_float32(
    batches: list[_WalkGradientBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    workspace: int,
    threads: int,
) -> None: ...
def random_walk_backward_float64(
    batches: list[_WalkGradientBatch],
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
def copy_labels_uint8(source: int, count: int, out: int) -> int: ...
def copy_labels_int8(source: int, count: int, out: int) -> int: ...
def copy_labels_int16(source: int, count: int, out: int) -> int: ...
def copy_labels_int32(source: int, count: int, out: int) -> int: ...
def copy_labels_int64(source: int, count: int, out: int) -> int: ...

# ---- cam_fusion and tta: (address, height, width, flipped) of each input ----

_Input = tuple[int, int, int, bool]
# (input, flat offset, value) of the first value that was refused.
_BadValue = tuple[int, int, float]

class CamRelu:
    none: CamRelu
    each: CamRelu
    sum: CamRelu

class CamNormalize:
    none: CamNormalize
    class_: CamNormalize
    image: CamNormalize

# (height, width, crop height, crop width, addresses of the images' outputs).
_CamTarget = tuple[int, int, int, int, list[int]]

def cam_fusion_workspace_bytes_float32(inputs: list[_Input], maps: int) -> int: ...
def cam_fusion_workspace_bytes_float64(inputs: list[_Input], maps: int) -> int: ...
def cam_fusion_float32(
    inputs: list[_Input],
    targets: list[_CamTarget],
    maps: list[int],
    image_begin: list[int],
    relu: CamRelu,
    normalize: CamNormalize,
    workspace: int,
    threads: int,
) -> _BadValue | None: ...
def cam_fusion_float64(
    inputs: list[_Input],
    targets: list[_CamTarget],
    maps: list[int],
    image_begin: list[int],
    relu: CamRelu,
    normalize: CamNormalize,
    workspace: int,
    threads: int,
) -> _BadValue | None: ...

class TtaActivation:
    none: TtaActivation
    softmax: TtaActivation
    sigmoid: TtaActivation

class LabelType:
    uint8: LabelType
    int16: LabelType
    int32: LabelType

def tta_merge_float32(
    inputs: list[_Input],
    images: int,
    classes: int,
    height: int,
    width: int,
    activation: TtaActivation,
    mean: int,
    labels: int,
    label_type: LabelType,
    threads: int,
) -> _BadValue | None: ...
def tta_merge_float64(
    inputs: list[_Input],
    images: int,
    classes: int,
    height: int,
    width: int,
    activation: TtaActivation,
    mean: int,
    labels: int,
    label_type: LabelType,
    threads: int,
) -> _BadValue | None: ...

# ---- CUDA: not there where CUDA is "none" ----

# The number of a device and the address of a stream.
_Place = tuple[int, int]

class Element:
    float32: Element
    float64: Element
    float16: Element
    bfloat16: Element

class CrfOutput:
    probs: CrfOutput
    log_probs: CrfOutput
    labels: CrfOutput

class _CudaLatticeBuilder:
    def __init__(
        self,
        *,
        kind: str,
        images: int,
        height: int,
        width: int,
        dims: int,
        scales: list[float],
        image_bytes: int,
        image: int,
        features: int,
        place: _Place,
    ) -> None: ...
    def sorting_bytes(self) -> int: ...
    def sort(self, workspace: int, vertices: int) -> None: ...
    def rows_of_capacity(self, capacity: int) -> int: ...
    def linking_bytes(self, rows: int) -> int: ...
    def lattice_bytes(self, rows: int) -> int: ...
    def link(self, rows: int, capacity: int, workspace: int, lattice: int) -> None: ...

class CudaLatticeBuilder_float32(_CudaLatticeBuilder): ...
class CudaLatticeBuilder_float64(_CudaLatticeBuilder): ...

def cuda_lattice_filter_workspace_bytes_float32(
    *, lattice: int, lattice_bytes: int, images: int, points: int, dims: int, channels: int
) -> int: ...
def cuda_lattice_filter_workspace_bytes_float64(
    *, lattice: int, lattice_bytes: int, images: int, points: int, dims: int, channels: int
) -> int: ...
def cuda_lattice_filter_float32(
    *,
    lattice: int,
    lattice_bytes: int,
    images: int,
    points: int,
    dims: int,
    channels: int,
    values: int,
    out: int,
    transposed: bool,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_lattice_filter_float64(
    *,
    lattice: int,
    lattice_bytes: int,
    images: int,
    points: int,
    dims: int,
    channels: int,
    values: int,
    out: int,
    transposed: bool,
    workspace: int,
    place: _Place,
) -> None: ...

# Kind, lattice, its bytes, dims, kind of compat, compat, normalisation.
_CudaTerm = tuple[str, int, int, int, str, int, str]

def cuda_crf_workspace_bytes_float32(
    *, images: int, sets: int, classes: int, points: int, terms: list[_CudaTerm]
) -> int: ...
def cuda_crf_float32(
    *,
    images: int,
    sets: int,
    classes: int,
    points: int,
    terms: list[_CudaTerm],
    unary: int,
    element: Element,
    output: CrfOutput,
    out: int,
    label_bytes: int,
    iterations: int,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_crf_workspace_bytes_float64(
    *, images: int, sets: int, classes: int, points: int, terms: list[_CudaTerm]
) -> int: ...
def cuda_crf_float64(
    *,
    images: int,
    sets: int,
    classes: int,
    points: int,
    terms: list[_CudaTerm],
    unary: int,
    element: Element,
    output: CrfOutput,
    out: int,
    label_bytes: int,
    iterations: int,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_path_affinity_float32(
    *,
    boundary: int,
    affinity: int,
    element: Element,
    images: int,
    height: int,
    width: int,
    radius: int,
    place: _Place,
) -> None: ...
def cuda_path_affinity_backward_workspace_bytes_float32(
    *, images: int, height: int, width: int, radius: int
) -> int: ...
def cuda_path_affinity_backward_float32(
    *,
    grad_affinity: int,
    boundary: int,
    element: Element,
    grad_boundary: int,
    workspace: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    place: _Place,
) -> None: ...
def cuda_path_affinity_float64(
    *,
    boundary: int,
    affinity: int,
    element: Element,
    images: int,
    height: int,
    width: int,
    radius: int,
    place: _Place,
) -> None: ...
def cuda_path_affinity_backward_workspace_bytes_float64(
    *, images: int, height: int, width: int, radius: int
) -> int: ...
def cuda_path_affinity_backward_float64(
    *,
    grad_affinity: int,
    boundary: int,
    element: Element,
    grad_boundary: int,
    workspace: int,
    images: int,
    height: int,
    width: int,
    radius: int,
    place: _Place,
) -> None: ...

# Addresses of logits and displacement, and their element; that of labels, their bytes and whether they are
# signed; images, height, width, radius.
_CudaPairs = tuple[int, int, Element, int, int, bool, int, int, int, int]

def cuda_affinity_displacement_workspace_bytes_float32(*, inputs: _CudaPairs) -> int: ...
def cuda_affinity_displacement_float32(
    *, inputs: _CudaPairs, sums: int, counts: int, workspace: int, place: _Place
) -> None: ...
def cuda_affinity_displacement_backward_workspace_bytes_float32(*, inputs: _CudaPairs) -> int: ...
def cuda_affinity_displacement_backward_float32(
    *,
    inputs: _CudaPairs,
    grad_sums: int,
    grad_boundary_logits: int,
    grad_displacement: int,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_affinity_displacement_workspace_bytes_float64(*, inputs: _CudaPairs) -> int: ...
def cuda_affinity_displacement_float64(
    *, inputs: _CudaPairs, sums: int, counts: int, workspace: int, place: _Place
) -> None: ...
def cuda_affinity_displacement_backward_workspace_bytes_float64(*, inputs: _CudaPairs) -> int: ...
def cuda_affinity_displacement_backward_float64(
    *,
    inputs: _CudaPairs,
    grad_sums: int,
    grad_boundary_logits: int,
    grad_displacement: int,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_random_walk_workspace_bytes_float32(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
) -> int: ...
def cuda_random_walk_float32(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_random_walk_workspace_bytes_float64(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
) -> int: ...
def cuda_random_walk_float64(
    batches: list[_WalkBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_random_walk_backward_workspace_bytes_float32(
    batches: list[_WalkGradientBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
) -> int: ...
def cuda_random_walk_backward_float32(
    batches: list[_WalkGradientBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_random_walk_backward_workspace_bytes_float64(
    batches: list[_WalkGradientBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
) -> int: ...
def cuda_random_walk_backward_float64(
    batches: list[_WalkGradientBatch],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
    element: Element,
    workspace: int,
    place: _Place,
) -> None: ...

CUDA_MOST_INPUTS: int  # of cam_fusion and tta

def cuda_cam_fusion_workspace_bytes_float32(
    *, inputs: list[_Input], targets: int, maps: int, images: int, normalize: CamNormalize
) -> int: ...
def cuda_cam_fusion_workspace_bytes_float64(
    *, inputs: list[_Input], targets: int, maps: int, images: int, normalize: CamNormalize
) -> int: ...
def cuda_cam_fusion_float32(
    *,
    inputs: list[_Input],
    targets: list[_CamTarget],
    maps: list[int],
    image_begin: list[int],
    element: Element,
    relu: CamRelu,
    normalize: CamNormalize,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_cam_fusion_float64(
    *,
    inputs: list[_Input],
    targets: list[_CamTarget],
    maps: list[int],
    image_begin: list[int],
    element: Element,
    relu: CamRelu,
    normalize: CamNormalize,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_tta_workspace_bytes_float32(
    *, inputs: list[_Input], images: int, classes: int, height: int, width: int, activation: TtaActivation
) -> int: ...
def cuda_tta_workspace_bytes_float64(
    *, inputs: list[_Input], images: int, classes: int, height: int, width: int, activation: TtaActivation
) -> int: ...
def cuda_tta_merge_float32(
    *,
    inputs: list[_Input],
    images: int,
    classes: int,
    height: int,
    width: int,
    activation: TtaActivation,
    element: Element,
    out: int,
    label_bytes: int,
    workspace: int,
    place: _Place,
) -> None: ...
def cuda_tta_merge_float64(
    *,
    inputs: list[_Input],
    images: int,
    classes: int,
    height: int,
    width: int,
    activation: TtaActivation,
    element: Element,
    out: int,
    label_bytes: int,
    workspace: int,
    place: _Place,
) -> None: ...
