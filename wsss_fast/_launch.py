"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates workspace and
outputs (unless it is given ``out``) through torch, and keeps all of them alive until the core returns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_fast import _C, _checks


def _threads() -> int:
    """As many threads as torch may use here: 1 in a DataLoader worker."""
    return torch.get_num_threads()


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()


# --- crf and its lattice ---------------------------------------------------------------------------------


def crf(
    image: Tensor,
    unary: Tensor,
    features: list[Tensor],
    compats: list[Tensor],
    kinds: list[str],
    scales: list[float],
    normalizations: list[str],
    iterations: int,
    *,
    out: Tensor,
) -> None:
    """Mean field into ``out``: probabilities like ``unary`` where its dtype is float, labels elsewhere.

    ``scales`` holds five numbers a kernel (sx, sy, sr, sg, sb), ``features`` one tensor a kernel of the kind
    ``features``, in order.
    """
    images, sets, classes, height, width = unary.shape
    unary = unary.contiguous()
    is_bytes = image.dtype == torch.uint8
    image = (image if is_bytes else image.to(unary.dtype)).contiguous()
    keep = [image, unary, out]
    kernels = []
    given = iter(features)
    for k, (kind, compat, normalization) in enumerate(zip(kinds, compats, normalizations, strict=True)):
        compat = compat.to(unary.dtype).contiguous()
        guide = next(given).to(unary.dtype).contiguous() if kind == "features" else None
        keep += [compat] if guide is None else [compat, guide]
        kernels.append(
            (
                kind,
                scales[5 * k : 5 * k + 5],
                0 if guide is None else _address(guide),
                0 if guide is None else guide.shape[1],
                ("scalar", "diagonal", "matrix")[compat.dim()],
                _address(compat),
                normalization,
            )
        )
    probs = out.dtype.is_floating_point
    run = _C.crf_float32 if unary.dtype == torch.float32 else _C.crf_float64
    run(
        images=images,
        sets=sets,
        classes=classes,
        height=height,
        width=width,
        image_bytes=_address(image) if is_bytes else 0,
        image=0 if is_bytes else _address(image),
        unary=_address(unary),
        probs=_address(out) if probs else 0,
        labels=0 if probs else _address(out),
        label_bytes=out.element_size(),
        kernels=kernels,
        iterations=iterations,
        threads=_threads(),
    )
    del keep


def lattice_build(features: Tensor) -> list[Tensor]:
    """The lattices of features [G,d,P], each as one tensor of bytes."""
    return [lattice_and_vertices(points)[0] for points in features]


def lattice_and_vertices(features: Tensor) -> tuple[Tensor, int]:
    """The lattice of features [d,P] as one tensor of bytes, and how many vertices it has."""
    features = features.contiguous()
    build = _C.lattice_build_float32 if features.dtype == torch.float32 else _C.lattice_build_float64
    lattice = build(
        features=_address(features), dims=features.shape[0], points=features.shape[1], threads=_threads()
    )
    # int64 elements, so that the memory is aligned for every array inside.
    packed = torch.empty(lattice.packed_bytes // 8, dtype=torch.int64)
    lattice.pack(_address(packed))
    return packed, lattice.vertices


def lattice_filter(
    lattices: list[Tensor], values: Tensor, dims: int, transposed: bool, check: bool
) -> Tensor:
    """Values [G,C,P] filtered on one lattice of ``dims`` dimensions each."""
    values = values.contiguous()
    out = torch.empty_like(values)
    run = _C.lattice_filter_float32 if values.dtype == torch.float32 else _C.lattice_filter_float64
    for lattice, source, target in zip(lattices, values, out, strict=True):
        lattice = lattice.contiguous()
        run(
            lattice=_address(lattice),
            lattice_bytes=lattice.numel() * lattice.element_size(),
            values=_address(source),
            out=_address(target),
            channels=source.shape[0],
            transposed=transposed,
            check=check,
            threads=_threads(),
        )
    return out


def _workspace(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _check_values(name: str, tensor: Tensor, low: float, high: float, expected: str) -> None:
    """Raise ValueError at the first value of a contiguous tensor outside [low, high], NaN included."""
    first_outside = {
        torch.float32: _C.first_outside_float32,
        torch.float64: _C.first_outside_float64,
    }[tensor.dtype]
    _refuse_at(name, tensor, first_outside(_address(tensor), tensor.numel(), low, high), expected)


def _position(flat: int, shape: Sequence[int]) -> list[int]:
    """The index that a flat one of a contiguous tensor stands for."""
    position: list[int] = []
    for length in reversed(shape):
        flat, at = divmod(flat, int(length))
        position.insert(0, at)
    return position


def _refuse_at(name: str, tensor: Tensor, flat: int, expected: str) -> None:
    """Raise ValueError about the value at a flat index of a contiguous tensor, unless that is negative."""
    if flat < 0:
        return
    position = _position(flat, tensor.shape)
    value = tensor[tuple(position)].item()
    raise ValueError(_checks.wrong(name, expected, f"{value} at [{','.join(map(str, position))}]"))


def _check_finite(name: str, tensor: Tensor) -> None:
    largest = torch.finfo(tensor.dtype).max
    _check_values(name, tensor, -largest, largest, "finite values")


def _labels(name: str, tensor: Tensor) -> Tensor:
    """An integer tensor as contiguous int32; ValueError where it holds what no label can be.

    Not by torch's own operations: those leave its threads spinning, and ours would have to share the
    processors with them.
    """
    tensor = tensor.contiguous()
    out = tensor.new_empty(tensor.shape, dtype=torch.int32)
    copy = {
        torch.uint8: _C.copy_labels_uint8,
        torch.int8: _C.copy_labels_int8,
        torch.int16: _C.copy_labels_int16,
        torch.int32: _C.copy_labels_int32,
        torch.int64: _C.copy_labels_int64,
    }[tensor.dtype]
    _refuse_at(name, tensor, copy(_address(tensor), tensor.numel(), _address(out)), "labels >= 0 and < 2^31")
    return out


# --- path_affinity ---


def path_offsets(radius: int) -> Tensor:
    return torch.tensor(_C.path_offsets(radius), dtype=torch.int64).reshape(-1, 2)


def path_affinity(boundary: Tensor, radius: int, paths: int) -> Tensor:
    """``boundary`` [N,1,h,w] -> affinity [N,paths,h-(radius-1),w-2(radius-1)]."""
    boundary = boundary.contiguous()
    _check_values("boundary", boundary, 0.0, 1.0, "values in [0,1]")
    n, _, h, w = boundary.shape
    affinity = boundary.new_empty((n, paths, h - (radius - 1), w - 2 * (radius - 1)))
    run = {
        torch.float32: _C.path_affinity_float32,
        torch.float64: _C.path_affinity_float64,
    }[boundary.dtype]
    run(_address(boundary), _address(affinity), n, h, w, radius, _threads())
    return affinity


def path_affinity_backward(grad_affinity: Tensor, boundary: Tensor, radius: int) -> Tensor:
    grad_affinity = grad_affinity.contiguous()
    boundary = boundary.contiguous()
    grad_boundary = boundary.new_empty(boundary.shape)
    n, _, h, w = boundary.shape
    run, workspace_bytes = {
        torch.float32: (
            _C.path_affinity_backward_float32,
            _C.path_affinity_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.path_affinity_backward_float64,
            _C.path_affinity_backward_workspace_bytes_float64,
        ),
    }[boundary.dtype]
    workspace = _workspace(workspace_bytes(n, h, w, radius))
    run(
        _address(grad_affinity),
        _address(boundary),
        _address(grad_boundary),
        _address(workspace),
        n,
        h,
        w,
        radius,
        _threads(),
    )
    return grad_boundary


# --- affinity_displacement ---


def affinity_displacement(
    boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """Logits [N,1,h,w], displacement [N,2,h,w], labels [N,h,w] -> sums [5] over pairs, and counts [3]."""
    boundary_logits = boundary_logits.contiguous()
    displacement = displacement.contiguous()
    _check_values("boundary_logits", boundary_logits, -math.inf, math.inf, "values that are not NaN")
    _check_finite("displacement", displacement)
    labels = _labels("labels", labels)
    sums = boundary_logits.new_empty(5)
    counts = labels.new_empty(3, dtype=torch.int64)
    n, _, h, w = boundary_logits.shape
    run = {
        torch.float32: _C.affinity_displacement_float32,
        torch.float64: _C.affinity_displacement_float64,
    }[boundary_logits.dtype]
    run(
        boundary_logits=_address(boundary_logits),
        displacement=_address(displacement),
        labels=_address(labels),
        sums=_address(sums),
        counts=_address(counts),
        images=n,
        height=h,
        width=w,
        radius=radius,
        threads=_threads(),
    )
    return sums, counts


def affinity_displacement_backward(
    grad_sums: Tensor, boundary_logits: Tensor, displacement: Tensor, labels: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """The gradients of the logits and of the displacement."""
    grad_sums = grad_sums.contiguous()
    boundary_logits = boundary_logits.contiguous()
    displacement = displacement.contiguous()
    labels = _labels("labels", labels)
    grad_boundary_logits = boundary_logits.new_empty(boundary_logits.shape)
    grad_displacement = displacement.new_empty(displacement.shape)
    n, _, h, w = boundary_logits.shape
    run, workspace_bytes = {
        torch.float32: (
            _C.affinity_displacement_backward_float32,
            _C.affinity_displacement_backward_workspace_bytes_float32,
        ),
        torch.float64: (
            _C.affinity_displacement_backward_float64,
            _C.affinity_displacement_backward_workspace_bytes_float64,
        ),
    }[boundary_logits.dtype]
    workspace = _workspace(workspace_bytes(images=n, height=h, width=w, radius=radius))
    run(
        grad_sums=_address(grad_sums),
        boundary_logits=_address(boundary_logits),
        displacement=_address(displacement),
        labels=_address(labels),
        grad_boundary_logits=_address(grad_boundary_logits),
        grad_displacement=_address(grad_displacement),
        workspace=_address(workspace),
        images=n,
        height=h,
        width=w,
        radius=radius,
        threads=_threads(),
    )
    return grad_boundary_logits, grad_displacement


# --- random_walk ---


def random_walk(
    cams: Sequence[Tensor],
    boundaries: Sequence[Tensor],
    names: Sequence[tuple[str, str]],
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
) -> list[Tensor]:
    """Walk batches of any sizes, all of one dtype: ``cams[i]`` [N,K,h,w] over ``boundaries[i]`` [N,1,h,w].

    ``names[i]`` is how an error calls the two.
    """
    cams = [cam.contiguous() for cam in cams]
    boundaries = [boundary.contiguous() for boundary in boundaries]
    for (cam_name, boundary_name), cam, boundary in zip(names, cams, boundaries, strict=True):
        _check_finite(cam_name, cam)
        _check_values(boundary_name, boundary, 0.0, 1.0, "values in [0,1]")
    outs = [cam.new_empty(cam.shape) for cam in cams]
    if not cams:
        return outs
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_float32, _C.random_walk_workspace_bytes_float32),
        torch.float64: (_C.random_walk_float64, _C.random_walk_workspace_bytes_float64),
    }[cams[0].dtype]
    batches = []
    for cam, boundary, out in zip(cams, boundaries, outs, strict=True):
        n, k, h, w = cam.shape
        batches.append(((_address(cam), _address(boundary), _address(out)), (n, k, h, w)))
    threads = _threads()
    workspace = _workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, _address(workspace), threads)
    return outs


def random_walk_backward(
    grad: Tensor,
    cam: Tensor | None,
    boundary: Tensor,
    radius: int,
    beta: float,
    steps: int,
    method: str,
    tol: float,
) -> tuple[Tensor, Tensor]:
    """The gradients with respect to cam [N,K,h,w] and to boundary [N,1,h,w]; without ``cam`` the latter is
    empty."""
    grad, boundary = grad.contiguous(), boundary.contiguous()
    cam = None if cam is None else cam.contiguous()
    grad_cam = grad.new_empty(grad.shape)
    n, k, h, w = grad.shape
    # Without maps the core has no image to write it for.
    new = boundary.new_empty if k > 0 else boundary.new_zeros
    grad_boundary = new((0,) if cam is None else boundary.shape)
    arrays = (
        _address(grad),
        0 if cam is None else _address(cam),
        _address(boundary),
        _address(grad_cam),
        0 if cam is None else _address(grad_boundary),
    )
    batches = [(arrays, (n, k, h, w))]
    run, workspace_bytes = {
        torch.float32: (_C.random_walk_backward_float32, _C.random_walk_backward_workspace_bytes_float32),
        torch.float64: (_C.random_walk_backward_float64, _C.random_walk_backward_workspace_bytes_float64),
    }[grad.dtype]
    threads = _threads()
    workspace = _workspace(workspace_bytes(batches, radius, threads))
    run(batches, radius, beta, steps, method, tol, _address(workspace), threads)
    return grad_cam, grad_boundary


# --- cam_fusion and tta


def _inputs(tensors: list[Tensor], flipped: Sequence[bool]) -> list[tuple[int, int, int, bool]]:
    return [(_address(t), t.shape[-2], t.shape[-1], flip) for t, flip in zip(tensors, flipped, strict=True)]


def _refuse(name: str, bad: tuple[int, int, float] | None, tensors: list[Tensor], shape: str) -> None:
    """Raise if the core met a value it cannot work with; ``shape`` names the axes of the index."""
    if bad is None:
        return
    which, offset, value = bad
    index = _position(offset, tensors[which].shape)
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
    workspace = _workspace(workspace_bytes(inputs, len(maps)))
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


def tta_merge(logits: list[Tensor], flipped: Sequence[bool], activation: str, *, out: Tensor) -> None:
    """Into ``out`` the mean ``[N,C,H,W]`` where its dtype is float, elsewhere its argmax ``[N,H,W]``."""
    images, classes = logits[0].shape[:2]
    if images == 0:
        return
    height, width = out.shape[-2:]
    mean = out.dtype.is_floating_point
    kept = [z.contiguous() for z in logits]
    bad = (_C.tta_merge_float64 if logits[0].dtype == torch.float64 else _C.tta_merge_float32)(
        inputs=_inputs(kept, flipped),
        images=images,
        classes=classes,
        height=height,
        width=width,
        activation=_TTA_ACTIVATION[activation],
        mean=_address(out) if mean else 0,
        labels=0 if mean else _address(out),
        label_type=_C.LabelType.uint8 if mean else _LABEL_TYPE[out.dtype],
        threads=_threads(),
    )
    _refuse("logits", bad, kept, "[n,c,y,x]")
