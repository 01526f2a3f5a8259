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
