"""The stand-in for pydensecrf on arbitrary models, against crf."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import wsss_fast.compat.pydensecrf.densecrf as dcrf
from fuzz.calls import Call, crf_calls
from fuzz.counting import cases
from wsss_fast import Bilateral, Features, Gaussian

CODES = {"none": 0, "before": 1, "after": 2, "symmetric": 3}


@given(call=crf_calls(batch=1), kernel=st.sampled_from(list(dcrf.KernelType)))
@cases()
def test_densecrf_is_crf(call: Call, kernel: dcrf.KernelType) -> None:
    image, unary = call["image"], call["unary"].float()
    if len(unary) == 0:
        return
    if unary.dim() == 5:
        unary = unary[:, 0]
    # Images are bytes in the original, and of a matrix its symmetric part counts.
    pixels = image.to(torch.uint8)
    names = call["normalization"]
    names = [names] * len(call["kernels"]) if isinstance(names, str) else names
    height, width = unary.shape[-2:]
    model = dcrf.DenseCRF2D(width, height, unary.shape[1])
    model.setUnaryEnergy(unary[0].flatten(1).numpy())
    kernels = []
    for term, name in zip(call["kernels"], names, strict=True):
        compat = np.asarray(term.compat, dtype=np.float32)
        same = (compat + compat.T) / 2 if compat.ndim == 2 else compat
        options = {"compat": compat, "kernel": kernel, "normalization": CODES[name]}
        if isinstance(term, Gaussian):
            model.addPairwiseGaussian(sxy=term.sxy, **options)
            kernels.append(Gaussian(term.sxy, torch.from_numpy(same)))
        elif isinstance(term, Bilateral):
            rgb = np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())
            model.addPairwiseBilateral(sxy=term.sxy, srgb=term.srgb, rgbim=rgb, **options)
            kernels.append(Bilateral(term.sxy, term.srgb, torch.from_numpy(same)))
        else:
            model.addPairwiseEnergy(term.features[0].flatten(1).numpy(), **options)
            kernels.append(Features(term.features.float(), torch.from_numpy(same)))
    expected = call(image=pixels, unary=unary, kernels=kernels, output="probs")[0]
    # The same lattices in float32: not a bit may differ.
    found = model.inference(call["iterations"])
    assert torch.equal(torch.from_numpy(found), expected.flatten(1))
