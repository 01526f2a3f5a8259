"""The compiled core. Private; see wsss_fast/_launch.py."""

def build_info() -> dict[str, object]: ...

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
