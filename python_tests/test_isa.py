"""The hot loops are built for several instruction sets: each is chosen on request and gives the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import wsss_fast

# Each prints a digest of results; an op that has loops for instruction sets has one.
PREAMBLE = """
import hashlib, torch, wsss_fast
torch.manual_seed(0)
digest = hashlib.sha256()
def add(tensor):
    digest.update(tensor.numpy().tobytes())
"""
REPORT = """
print(wsss_fast.build_info()["isa"], digest.hexdigest())
"""
SCRIPTS = {}

# Every row width from 1 to 16 channels and beyond, fewer points than a tile and more than a band, several
# unaries, costs of all kinds, and the filter by itself in float64.
SCRIPTS["crf"] = """
from wsss_fast import Bilateral, Features, Gaussian
image = (torch.rand(3, 12, 14) * 255).repeat_interleave(12, 1).repeat_interleave(12, 2)
image = (image + torch.randn_like(image) * 4).clamp(0, 255).to(torch.uint8)
for classes in (1, 2, 3, 4, 7, 12, 21, 40):
    add(wsss_fast.crf(image, torch.rand(classes, *image.shape[1:]), iterations=3))
small = image[:, :5, :7].contiguous()
for compat in (2.0, [-1.0, -2.0, -3.0], [[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]):
    kernels = [Gaussian(2, compat), Bilateral(9, 20, compat), Features(torch.randn(4, 5, 7), compat)]
    for normalization in ("symmetric", "before", "after", "none"):
        unary = torch.rand(2, 3, 5, 7)
        add(wsss_fast.crf(small, unary, kernels=kernels, normalization=normalization, iterations=3))
        add(wsss_fast.crf(small, unary, kernels=kernels, output="labels"))
for dims in (1, 5, 16):
    lattice = wsss_fast.PermutohedralLattice(torch.randn(dims, 300, dtype=torch.float64))
    add(lattice.filter(torch.randn(19, 300, dtype=torch.float64)))
"""

# Widths of no whole register, every way to group maps, images side by side, and the gradient.
SCRIPTS["random_walk"] = """
for dtype in (torch.float32, torch.float64):
    for maps, height, width, radius, beta in ((1, 9, 5, 2, 10), (3, 20, 33, 5, 10), (7, 18, 70, 8, 2.5)):
        cam = torch.rand(2, maps, height, width, dtype=dtype, requires_grad=True)
        boundary = torch.rand(2, 1, height, width, dtype=dtype, requires_grad=True)
        out = wsss_fast.random_walk(cam, boundary, radius=radius, beta=beta)
        grads = torch.autograd.grad(out, (cam, boundary), torch.randn_like(out))
        with torch.no_grad():
            power = wsss_fast.random_walk(cam, boundary, radius=radius, steps=9, method="power")
        for tensor in (out.detach(), *grads, power):
            add(tensor)
"""

# Rows of fewer pixels than a register holds, of whole blocks and of both; values that are equal; a last band
# that is full and one that is not.
SCRIPTS["path_affinity"] = """
for radius, h, w in ((2, 5, 4), (3, 40, 12), (5, 21, 41), (10, 60, 75), (12, 64, 118)):
    for dtype in (torch.float32, torch.float64):
        boundary = (torch.randint(7, (2, 1, h, w), dtype=dtype) / 6).requires_grad_()
        affinity = wsss_fast.path_affinity(boundary, radius)
        add(affinity.detach())
        add(torch.autograd.grad(affinity, boundary, torch.randn_like(affinity))[0])
"""

# Rows of less than a tile, of half a tile at the end and of whole ones.
SCRIPTS["affinity_displacement"] = """
from wsss_fast.nn import AffinityDisplacementLoss
for radius, h, w in ((2, 5, 4), (3, 40, 12), (5, 21, 29), (5, 21, 24), (10, 60, 75)):
    for dtype in (torch.float32, torch.float64):
        logits = torch.randint(-20, 20, (2, 1, h, w)).to(dtype).mul(0.5).requires_grad_()
        displacement = torch.randn(2, 2, h, w, dtype=dtype, requires_grad=True)
        labels = torch.tensor([0, 0, 1, 7, 255])[torch.randint(5, (2, h, w))]
        losses = AffinityDisplacementLoss(radius)(logits, displacement, labels)
        for part in losses:
            add(part.detach())
        for gradient in torch.autograd.grad(losses.total, (logits, displacement)):
            add(gradient)
"""

# Planes that vectors take together and some left over, columns of every kind (as they are, half and double
# size, neither, fewer than a third), widths that end inside a vector.
SCRIPTS["tta"] = """
sizes = [(5, 40), (5, 40), (10, 80), (20, 161), (7, 33), (30, 300)]
flipped = [False, True, False, True, True, False]
for classes in (1, 2, 3, 7, 21, 203):
    logits = [4 * torch.randn(2, classes, *size) for size in sizes]
    for activation in ("softmax", "sigmoid", "none"):
        for size in ((10, 80), (5, 40), (9, 77), (3, 1)):
            for output in ("mean", "labels"):
                add(wsss_fast.tta_merge(logits, size, flipped=flipped, activation=activation, output=output))
logits = [torch.randn(1, 5, *size, dtype=torch.float64) for size in sizes]
for size in ((10, 80), (9, 77), (3, 1)):
    add(wsss_fast.tta_merge(logits, size, flipped=flipped))
"""

SCRIPTS["cam_fusion"] = """
sizes = [(5, 40), (5, 40), (10, 80), (20, 161), (7, 33), (30, 300)]
flipped = [False, True, False, True, True, False]
for dtype in (torch.float32, torch.float64):
    cams = [torch.randn(2, 3, *size, dtype=dtype) for size in sizes]
    for relu in ("none", "sum", "each"):
        for normalize in ("none", "class", "image"):
            for size in ((10, 80), (5, 40), (9, 77), (3, 1), (200, 173)):
                add(wsss_fast.fuse_cams(cams, size, flipped=flipped, relu=relu, normalize=normalize))
"""


def run(op: str, isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "WSSS_FAST_ISA"}
    if isa is not None:
        environment["WSSS_FAST_ISA"] = isa
    script = PREAMBLE + SCRIPTS[op] + REPORT
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("op", SCRIPTS)
def test_all_sets_give_the_same_bits(op: str) -> None:
    best, expected = run(op, None).stdout.split()
    names = ["baseline", "avx2", "avx512"]
    if "WSSS_FAST_ISA" not in os.environ:
        assert best == wsss_fast.build_info()["isa"]
    for name in names[: names.index(best) + 1]:
        chosen, found = run(op, name).stdout.split()
        assert chosen == name
        assert found == expected


@pytest.mark.parametrize("name", ["sse9", "AVX2", ""])
def test_an_unknown_set_is_refused(name: str) -> None:
    result = run("crf", name)
    assert result.returncode != 0
    assert "ValueError: WSSS_FAST_ISA: expected baseline, avx2 or avx512, got" in result.stderr
