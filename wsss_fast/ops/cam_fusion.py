"""Fusion of class activation maps made at several scales and orientations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import floats_for, on_cuda
from wsss_fast._values import check_summands, checking

Size = tuple[int, int]

_RELU = ("sum", "each", "none")
_NORMALIZE = ("class", "image", "none")


@overload
def fuse_cams(
    cams: Sequence[Tensor],
    size: Size,
    *,
    crop: Size | None = ...,
    flipped: Sequence[bool] | None = ...,
    classes: None = ...,
    relu: Literal["sum", "each", "none"] = ...,
    normalize: Literal["class", "image", "none"] = ...,
) -> Tensor: ...
@overload
def fuse_cams(
    cams: Sequence[Tensor],
    size: Size,
    *,
    crop: Size | None = ...,
    flipped: Sequence[bool] | None = ...,
    classes: Tensor,
    relu: Literal["sum", "each", "none"] = ...,
    normalize: Literal["class", "image", "none"] = ...,
) -> Tensor | list[Tensor]: ...
@overload
def fuse_cams(
    cams: Sequence[Tensor],
    size: Sequence[Size],
    *,
    crop: Sequence[Size | None] | None = ...,
    flipped: Sequence[bool] | None = ...,
    classes: None = ...,
    relu: Literal["sum", "each", "none"] = ...,
    normalize: Literal["class", "image", "none"] = ...,
) -> list[Tensor]: ...
@overload
def fuse_cams(
    cams: Sequence[Tensor],
    size: Sequence[Size],
    *,
    crop: Sequence[Size | None] | None = ...,
    flipped: Sequence[bool] | None = ...,
    classes: Tensor,
    relu: Literal["sum", "each", "none"] = ...,
    normalize: Literal["class", "image", "none"] = ...,
) -> list[Tensor] | list[list[Tensor]]: ...


def fuse_cams(
    cams: Sequence[Tensor],
    size: Size | Sequence[Size],
    *,
    crop: Size | Sequence[Size | None] | None = None,
    flipped: Sequence[bool] | None = None,
    classes: Tensor | None = None,
    relu: Literal["sum", "each", "none"] = "sum",
    normalize: Literal["class", "image", "none"] = "class",
) -> Tensor | list[Tensor] | list[list[Tensor]]:
    """Resample activation maps of several scales to one size, add them, and normalise the sum.

    ``out = normalise(relu(crop(sum_i bilinear(unflip(cams[i]), size))))``, without ever holding the
    resampled maps: inputs of equal size are added at their own resolution first (resampling is linear),
    and the rest is one pass over the output in which the maxima are found too.

    Args:
        cams: list of ``[N,K,h_i,w_i]`` (or ``[K,h_i,w_i]``) float32 or float64 tensors, one for each scale
            and orientation: K class maps of N images. Any finite values whose sum stays finite. On CUDA
            float16 and bfloat16 too, which are computed with in float32, and at most 32 of them.
        size: ``(H, W)`` in pixels to which the maps are resampled (bilinear, ``align_corners=False``); or a
            list of such sizes, for a list of results from one call.
        crop: ``(H', W')``, the top left part that is kept; default all. With a list of sizes, a list of as
            many crops, ``None`` where all is kept.
        flipped: which of ``cams`` come from a horizontally mirrored image and are turned back; default none.
        classes: ``[N,K]`` (or ``[K]``) bool tensor: the classes present in each image. Maps of
            the others are not read at all. With ``cams`` on CUDA it may lie there too, and is then read back,
            for which the call waits for the device; one on the CPU costs nothing.
        relu: ``"sum"`` cuts negative values off after the sum (as the LID winners do), ``"each"`` in every
            input before it is resampled (as IRNet does), ``"none"`` nowhere.
        normalize: divide by ``max(m, 0) + 1e-5``, where m is the maximum over the kept pixels of the map
            (``"class"``) or of all maps of the image that are in the result (``"image"``); or do not divide
            (``"none"``).

    Returns:
        ``[N,K,H',W']`` (or ``[K,H',W']``) of the dtype of ``cams``. With ``classes`` a list of N tensors
        ``[K_n,H',W']``, the present maps in class order (``[0,H',W']`` where none is); one such tensor for
        unbatched ``cams``. With a list of sizes a list of these.

    Raises:
        ValueError: wrong shapes, sizes, devices or names; a crop larger than its size; NaN, an infinity, or
            a value so large that the sum might overflow in a map that is used; an input that requires grad
            while gradients are recorded. On CUDA values are looked at only under
            :func:`wsss_fast.check_values`; see below.
        TypeError: wrong types or dtypes.

    Notes:
        *Values on CUDA.* NaN, infinities and overflows of used maps become NaN in the pixels that they
        touch. Where such a pixel is kept, the maximum is NaN too: its map's, or with ``normalize="image"``
        its image's, all of which is NaN then.

        *Normalising.* The largest value of a map with maximum m > 0 becomes ``m / (m + 1e-5)``, just below
        1. A map that is zero everywhere stays zero. A map without a positive value, which only
        ``relu="none"`` leaves, is divided by 1e-5: it keeps its signs and its order. (Dividing by its own
        negative maximum would turn it upside down: the least active pixel would become the largest.) Beware
        that a map whose maximum is tiny (far below 1e-5) stays tiny and that noise of 1e-4 is raised to 1:
        ``classes`` is what keeps absent classes out.

        *Gradient.* None: an inference op. Under autocast float16 and bfloat16 are taken as float32.

        *Determinism.* The same bits at any thread count, and on CUDA those of the CPU, in any batch. Inputs
        of equal size are added in the order given, then the sizes in the order of their first input.

        *Cost.* On the CPU about two multiply-adds for each pixel of the result and each distinct input
        size. Scratch memory is the used maps once per distinct size, at their own resolution, and for each
        thread two rows of the result per distinct size. On CUDA work is launched on the current stream: one
        pass that finds the maxima and one that makes the same sums again and writes them, so that the result
        is written once and never read; scratch memory is the used maps once per distinct size, at their own
        resolution, and one number for each. Without a mask on the device nothing waits, and a CUDA graph can
        be captured.

        *torch.compile.* Traced as one op. With ``classes`` the shapes of the result depend on data, so
        ``fullgraph=True`` needs ``torch._dynamo.config.capture_dynamic_output_shape_ops = True``.

    Ahn, Cho, Kwak: Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations, CVPR
    2019; Zhou et al.: Learning Deep Features for Discriminative Localization, CVPR 2016.

    >>> import torch, wsss_fast
    >>> small, large = torch.rand(20, 24, 32), torch.rand(20, 47, 63)
    >>> wsss_fast.fuse_cams([small, large], (375, 500)).shape
    torch.Size([20, 375, 500])
    >>> present = torch.zeros(20, dtype=torch.bool)
    >>> present[[3, 14]] = True
    >>> strided, full = wsss_fast.fuse_cams(
    ...     [small, large], [(94, 125), (384, 512)], crop=[None, (375, 500)], classes=present
    ... )
    >>> strided.shape, full.shape
    (torch.Size([2, 94, 125]), torch.Size([2, 375, 500]))
    """
    given = _checks.autocast_list(cams)
    first = given[0] if isinstance(given, (list, tuple)) and given else None
    checked = _checks.tensors("cams", given, "[N,K,h,w] or [K,h,w]", (3, 4), floats_for(first))
    if on_cuda(checked[0]):
        _checks.at_most("cams", checked, _launch.most_inputs(), "on CUDA")
    _checks.without_grad("cams", checked, "fuse_cams")
    _checks.choice("relu", relu, _RELU)
    _checks.choice("normalize", normalize, _NORMALIZE)
    turned = (
        [False] * len(checked)
        if flipped is None
        else _checks.flags("flipped", flipped, len(checked), "one for each of cams")
    )
    several = _is_list_of_sizes(size)
    sizes, crops = _sizes_and_crops(size, crop) if several else _size_and_crop(size, crop)
    single = checked[0].dim() == 3
    if classes is not None:
        shape, rank = ("[K]", 1) if single else ("[N,K]", 2)
        _checks.tensor("classes", classes, shape, (rank,), (torch.bool,))
        if classes.device.type != "cpu":
            _checks.same_device("classes", classes, "cams[0]", checked[0])
        _checks.size("classes", classes, tuple(checked[0].shape[:-2]), "as the leading sizes of cams")
    if single:
        checked = [c.unsqueeze(0) for c in checked]
        classes = None if classes is None else classes.unsqueeze(0)

    results = torch.ops.wsss_fast.cam_fusion(
        checked, classes, _flat(sizes), _flat(crops), turned, relu, normalize
    )
    if classes is None:
        fused = [r.squeeze(0) for r in results] if single else results
        return fused if several else fused[0]
    images = checked[0].shape[0]
    if single:
        return results if several else results[0]
    split = [results[i * images : (i + 1) * images] for i in range(len(sizes))]
    return split if several else split[0]


def _is_list_of_sizes(size: object) -> bool:
    """Whether ``size`` is a list of sizes and not one: its items are no numbers."""
    return isinstance(size, (list, tuple)) and not any(hasattr(item, "__index__") for item in size)


def _size_and_crop(size: object, crop: object) -> tuple[list[Size], list[Size]]:
    checked = _checks.pair("size", size)
    return [checked], [_checked_crop("crop", crop, checked)]


def _sizes_and_crops(size: object, crop: object) -> tuple[list[Size], list[Size]]:
    assert isinstance(size, (list, tuple))
    if len(size) == 0:
        raise ValueError(_checks.wrong("size", "(H, W) or a list of such sizes", "an empty list"))
    sizes = [_checks.pair(f"size[{i}]", item) for i, item in enumerate(size)]
    if crop is None:
        return sizes, sizes
    expected = f"a list of {len(sizes)} crops (one for each size), each (H, W) or None"
    if not isinstance(crop, (list, tuple)):
        raise TypeError(_checks.wrong("crop", expected, crop))
    if len(crop) != len(sizes):
        raise ValueError(_checks.wrong("crop", expected, f"{len(crop)} values"))
    crops = [_checked_crop(f"crop[{i}]", c, s) for i, (c, s) in enumerate(zip(crop, sizes, strict=True))]
    return sizes, crops


def _checked_crop(name: str, crop: object, size: Size) -> Size:
    if crop is None:
        return size
    height, width = _checks.pair(name, crop)
    if height > size[0] or width > size[1]:
        raise ValueError(_checks.wrong(name, f"at most the size {size}", f"{(height, width)}"))
    return height, width


def _flat(pairs: list[Size]) -> list[int]:
    return [n for pair in pairs for n in pair]


def _pairs(flat: list[int]) -> list[Size]:
    return list(zip(flat[::2], flat[1::2], strict=True))


torch.library.define(
    "wsss_fast::cam_fusion",
    "(Tensor[] cams, Tensor? classes, SymInt[] sizes, SymInt[] crops, bool[] flipped, str relu, "
    "str normalize) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)


@torch.library.impl("wsss_fast::cam_fusion", ("CPU", "CUDA"))
def _cam_fusion(
    cams: list[Tensor],
    classes: Tensor | None,
    sizes: list[int],
    crops: list[int],
    flipped: list[bool],
    relu: str,
    normalize: str,
) -> list[Tensor]:
    if checking(cams[0]):
        check_summands("cams", cams, "[n,k,y,x]", classes)
    for crop in _pairs(crops):
        _checks.storable("size", (*cams[0].shape[:2], *crop), cams[0].dtype)
    if classes is None and 0 in cams[0].shape[:2]:  # nothing is worked through map by map, however many
        return [cams[0].new_empty((*cams[0].shape[:2], *crop)) for crop in _pairs(crops)]
    launch = _launch.cuda_cam_fusion if on_cuda(cams[0]) else _launch.cam_fusion
    return launch(cams, classes, _pairs(sizes), _pairs(crops), flipped, relu, normalize)


@torch.library.register_fake("wsss_fast::cam_fusion")
def _fake(
    cams: list[Tensor],
    classes: Tensor | None,
    sizes: list[int],
    crops: list[int],
    flipped: list[bool],
    relu: str,
    normalize: str,
) -> list[Tensor]:
    images, count = cams[0].shape[:2]
    if classes is None:
        return [cams[0].new_empty((images, count, *crop)) for crop in _pairs(crops)]
    context = torch.library.get_ctx()
    present = [context.new_dynamic_size() for _ in range(images)]
    return [cams[0].new_empty((here, *crop)) for crop in _pairs(crops) for here in present]
