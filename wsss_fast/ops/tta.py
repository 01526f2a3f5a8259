"""Averaging of predictions made at several scales and orientations (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wsss_fast import _checks, _launch
from wsss_fast._device import floats_for, on_cuda
from wsss_fast._values import check_summands, checking

_ACTIVATION = ("softmax", "sigmoid", "none")
_OUTPUT = ("mean", "labels")


def tta_merge(
    logits: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool],
    activation: Literal["softmax", "sigmoid", "none"] = "softmax",
    output: Literal["mean", "labels"] = "mean",
) -> Tensor:
    """Average what a segmentation network says of one image at several scales and orientations.

    ``mean_i activation(bilinear(unflip(logits[i]), size))``, or the class where it is largest, in one pass
    over the output: nothing of size N*C*H*W exists but the mean itself, and not that for labels.

    Args:
        logits: list of ``[N,C,h_i,w_i]`` (or ``[C,h_i,w_i]``) float32 or float64 tensors, one for each scale
            and orientation. Any finite values whose sum stays finite. On CUDA float16 and bfloat16 too,
            which are computed with in float32, and at most 32 of them.
        size: ``(H, W)`` in pixels to which they are resampled (bilinear, ``align_corners=False``).
        flipped: which of ``logits`` come from a horizontally mirrored image and are turned back; one
            boolean for each.
        activation: applied to the resampled logits, before the average: ``"softmax"`` over the classes,
            ``"sigmoid"``, or ``"none"`` for models that return probabilities and for the mean of logits.
        output: ``"mean"`` or ``"labels"``.

    Returns:
        ``"mean"``: ``[N,C,H,W]`` (or ``[C,H,W]``) of the dtype of ``logits``. ``"labels"``: ``[N,H,W]`` (or
        ``[H,W]``), the index of the class with the largest mean, the lowest index among equals; uint8 for
        up to 256 classes, int16 up to 32,768, else int32. With one class all labels are 0.

    Raises:
        ValueError: wrong shapes, sizes, devices or names; no class; NaN, an infinity, or a value so large
            that the sum might overflow, anywhere in ``logits``; an input that requires grad while gradients
            are recorded. On CUDA values are looked at only under :func:`wsss_fast.check_values`; see below.
        TypeError: wrong types or dtypes.

    Notes:
        *Values on CUDA.* NaN, infinities and overflows become NaN in the pixels that they touch: with
        ``"softmax"`` in all classes, else in their own. The label of such a pixel says nothing.

        *Gradient.* None: an inference op. Under autocast float16 and bfloat16 are taken as float32.

        *Determinism.* The same bits at any thread count; sums run over the inputs in their order and over
        the classes in theirs. Classes with equal logits in every input get equal means, so ties are exact.
        On CUDA the same bits from run to run and in any batch; in float32 those of the CPU, but for a softmax
        that is made by one kernel (see below), whose exponentials are the device's: they differ by 1e-6 of
        themselves, and the smallest by 1e-5.

        *Cost.* On the CPU for each class, pixel and input one bilinear sample and one exponential;
        every value of the inputs is read from memory once. Scratch memory is, for each thread, about 1 MB or,
        if that is more, the sums and one input's rows for 16 columns of all classes (``64 * C`` bytes and up,
        in float32).
        On CUDA work is launched on the current stream as one kernel that reads every input once, without
        scratch memory; nothing waits, and a CUDA graph can be captured. A softmax of more than 288 classes,
        or of predictions much wider than the result (2.8 times with 21 classes, 1.3 times with 201, and half
        as much in float64), reads the inputs three times, with two numbers for each input and pixel as
        scratch memory.

    Dobko, Viniavskyi, Dobosevych: NoPeopleAllowed: The Three-Step Approach to Weakly Supervised Semantic
    Segmentation, CVPR LID workshop 2020.

    >>> import torch, wsss_fast
    >>> logits = [torch.randn(1, 21, n, n) for n in (32, 32, 64, 64)]
    >>> wsss_fast.tta_merge(logits, (250, 200), flipped=[False, True] * 2).shape
    torch.Size([1, 21, 250, 200])
    >>> wsss_fast.tta_merge(logits, (250, 200), flipped=[False, True] * 2, output="labels").dtype
    torch.uint8
    """
    given = _checks.autocast_list(logits)
    first = given[0] if isinstance(given, (list, tuple)) and given else None
    checked = _checks.tensors("logits", given, "[N,C,h,w] or [C,h,w]", (3, 4), floats_for(first))
    if on_cuda(checked[0]):
        _checks.at_most("logits", checked, _launch.most_inputs(), "on CUDA")
    _checks.without_grad("logits", checked, "tta_merge")
    if checked[0].shape[-3] < 1:
        raise ValueError(_checks.wrong("logits[0]", "at least one class in [N,C,h,w]", checked[0]))
    height, width = _checks.pair("size", size)
    turned = _checks.flags("flipped", flipped, len(checked), "one for each of logits")
    _checks.choice("activation", activation, _ACTIVATION)
    _checks.choice("output", output, _OUTPUT)
    single = checked[0].dim() == 3
    if single:
        checked = [z.unsqueeze(0) for z in checked]
    result = torch.ops.wsss_fast.tta_merge(checked, [height, width], turned, activation, output)
    return result.squeeze(0) if single else result


torch.library.define(
    "wsss_fast::tta_merge",
    "(Tensor[] logits, SymInt[] size, bool[] flipped, str activation, str output) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _empty(logits: list[Tensor], size: list[int], output: str) -> Tensor:
    images, classes = logits[0].shape[:2]
    if output == "labels":
        return logits[0].new_empty((images, *size), dtype=_checks.label_dtype(classes))
    return logits[0].new_empty((images, classes, *size))


@torch.library.impl("wsss_fast::tta_merge", ("CPU", "CUDA"))
def _tta_merge(
    logits: list[Tensor], size: list[int], flipped: list[bool], activation: str, output: str
) -> Tensor:
    if checking(logits[0]):
        check_summands("logits", logits, "[n,c,y,x]")
    images, classes = logits[0].shape[:2]
    labels = output == "labels"
    shape = (images, *size) if labels else (images, classes, *size)
    _checks.storable("size", shape, _checks.label_dtype(classes) if labels else logits[0].dtype)
    out = _empty(logits, size, output)
    launch = _launch.cuda_tta_merge if on_cuda(logits[0]) else _launch.tta_merge
    launch(logits, flipped, activation, out=out)
    return out


@torch.library.register_fake("wsss_fast::tta_merge")
def _fake(logits: list[Tensor], size: list[int], flipped: list[bool], activation: str, output: str) -> Tensor:
    return _empty(logits, size, output)
