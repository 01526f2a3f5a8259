"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates outputs and
workspace through torch, and keeps all of them alive until the core returns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C


def _threads() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _inputs(tensors: list[Tensor], flipped: Sequence[bool]) -> list[tuple[int, int, int, bool]]:
    return [(_address(t), t.shape[-2], t.shape[-1], flip) for t, flip in zip(tensors, flipped, strict=True)]


def _refuse(name: str, bad: tuple[int, int, float] | None, tensors: list[Tensor], shape: str) -> None:
    """Raise if the core met a value it cannot work with; ``shape`` names the axes of the index."""
    if bad is None:
        return
    which, offset, value = bad
    index: list[int] = []
    for length in reversed(tensors[which].shape):
        offset, at = divmod(offset, length)
        index.insert(0, at)
    expected = "finite values"
    if math.isfinite(value):
        expected = f"values small enough for a finite sum in {str(tensors[which].dtype).split('.')[-1]}"
    raise ValueError(f"{name}[{which}]: expected {expected}, got {value:g} at {shape} = {index}")


# ---- cam_fusion -------------------------------------------------------------------------------------

_CAM_RELU = {"none": _C.CamRelu.none, "each": _C.CamRelu.each, "sum": _C.CamRelu.sum}
_CAM_NORMALIZE = {
    "none": _C.CamNormalize.none,
    "class": _C.CamNormalize.class_,
    "image": _C.CamNormalize.image,
}


def cam_fusion(
    cams: list[Tensor],
    classes: Tensor | None,
    sizes: list[tuple[int, int]],
    crops: list[tuple[int, int]],
    flipped: Sequence[bool],
    relu: str,
    normalize: str,
) -> list[Tensor]:
    """For each size one ``[N,K,H,W]``, or with ``classes`` N tensors ``[K_n,H,W]``."""
    images, count = cams[0].shape[:2]
    if classes is None:
        present = [list(range(count))] * images
    else:
        present = [[k for k, here in enumerate(row) if here] for row in classes.tolist()]
    maps = [n * count + k for n, row in enumerate(present) for k in row]
    begin = [0, *itertools.accumulate(len(row) for row in present)]

    results: list[Tensor] = []
    targets: list[tuple[int, int, int, int, list[int]]] = []
    for (height, width), (crop_height, crop_width) in zip(sizes, crops, strict=True):
        if classes is None:
            whole = cams[0].new_empty((images, count, crop_height, crop_width))
            results.append(whole)
            outputs = [_address(whole) + n * whole.stride(0) * whole.element_size() for n in range(images)]
        else:
            each = [cams[0].new_empty((len(row), crop_height, crop_width)) for row in present]
            results.extend(each)
            outputs = [_address(t) for t in each]
        targets.append((height, width, crop_height, crop_width, outputs))
    if not maps:
        return results

    kept = [c.contiguous() for c in cams]
    inputs = _inputs(kept, flipped)
    double = cams[0].dtype == torch.float64
    workspace_bytes = (
        _C.cam_fusion_workspace_bytes_float64 if double else _C.cam_fusion_workspace_bytes_float32
    )
    workspace = torch.empty(workspace_bytes(inputs, len(maps)), dtype=torch.uint8)
    bad = (_C.cam_fusion_float64 if double else _C.cam_fusion_float32)(
        inputs=inputs,
        targets=targets,
        maps=maps,
        image_begin=begin,
        relu=_CAM_RELU[relu],
        normalize=_CAM_NORMALIZE[normalize],
        workspace=_address(workspace),
        threads=_threads(),
    )
    _refuse("cams", bad, kept, "[n,k,y,x]")
    return results


# ---- tta --------------------------------------------------------------------------------------------

_TTA_ACTIVATION = {
    "none": _C.TtaActivation.none,
    "softmax": _C.TtaActivation.softmax,
    "sigmoid": _C.TtaActivation.sigmoid,
}
_LABEL_TYPE = {
    torch.uint8: _C.LabelType.uint8,
    torch.int16: _C.LabelType.int16,
    torch.int32: _C.LabelType.int32,
}


def tta_merge(
    logits: list[Tensor],
    size: tuple[int, int],
    flipped: Sequence[bool],
    activation: str,
    label_dtype: torch.dtype | None,
) -> Tensor:
    """The mean ``[N,C,H,W]``, or with ``label_dtype`` its argmax ``[N,H,W]``."""
    images, classes = logits[0].shape[:2]
    height, width = size
    if label_dtype is None:
        result = logits[0].new_empty((images, classes, height, width))
    else:
        result = logits[0].new_empty((images, height, width), dtype=label_dtype)
    if images == 0:
        return result
    kept = [z.contiguous() for z in logits]
    bad = (_C.tta_merge_float64 if logits[0].dtype == torch.float64 else _C.tta_merge_float32)(
        inputs=_inputs(kept, flipped),
        images=images,
        classes=classes,
        height=height,
        width=width,
        activation=_TTA_ACTIVATION[activation],
        mean=_address(result) if label_dtype is None else 0,
        labels=0 if label_dtype is None else _address(result),
        label_type=_LABEL_TYPE[label_dtype or torch.uint8],
        threads=_threads(),
    )
    _refuse("logits", bad, kept, "[n,c,y,x]")
    return result
