"""Weakly supervised semantic segmentation, with its slow parts in C++ and CUDA.

The ops work on torch tensors and need nothing but torch: :func:`crf`, :func:`random_walk`,
:func:`path_affinity`, :func:`fuse_cams`, :func:`tta_merge`. The three steps that turn image-level labels
into a segmentation network are in :mod:`wsss_fast.steps` and behind the command ``wsss-fast``; they need
``pip install 'wsss_fast[pipeline]'``.
"""

from wsss_fast._info import build_info
from wsss_fast._values import check_values
from wsss_fast._version import __version__
from wsss_fast.kernels import Bilateral, Features, Gaussian
from wsss_fast.ops.cam_fusion import fuse_cams
from wsss_fast.ops.crf import crf
from wsss_fast.ops.lattice import PermutohedralLattice
from wsss_fast.ops.path_affinity import path_affinity, path_offsets
from wsss_fast.ops.random_walk import random_walk
from wsss_fast.ops.tta import tta_merge
from wsss_fast.ops.unary import unary_from_labels, unary_from_probs

__all__ = [
    "Bilateral",
    "Features",
    "Gaussian",
    "PermutohedralLattice",
    "__version__",
    "build_info",
    "check_values",
    "crf",
    "fuse_cams",
    "path_affinity",
    "path_offsets",
    "random_walk",
    "tta_merge",
    "unary_from_labels",
    "unary_from_probs",
]
