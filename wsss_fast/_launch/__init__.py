"""The only place that turns tensors into addresses and calls the compiled core.

Every function here takes tensors that the ops have checked, makes them contiguous, allocates workspace and
outputs (unless it is given ``out``) through torch, and keeps all of them alive until the core returns.
"""

from wsss_fast._launch._affinity_displacement import affinity_displacement, affinity_displacement_backward
from wsss_fast._launch._cam_fusion import cam_fusion
from wsss_fast._launch._crf import crf
from wsss_fast._launch._cuda_affinity_displacement import (
    cuda_affinity_displacement,
    cuda_affinity_displacement_backward,
)
from wsss_fast._launch._cuda_cam_fusion import cuda_cam_fusion
from wsss_fast._launch._cuda_crf import cuda_crf
from wsss_fast._launch._cuda_path_affinity import cuda_path_affinity, cuda_path_affinity_backward
from wsss_fast._launch._cuda_random_walk import cuda_random_walk, cuda_random_walk_backward
from wsss_fast._launch._cuda_tta import cuda_tta_merge
from wsss_fast._launch._flat_kernel import FlatKernel, flat_kernels
from wsss_fast._launch._inputs import most_inputs, refuse
from wsss_fast._launch._lattice import check_lattice_reach, lattice_build, lattice_filter
from wsss_fast._launch._memory import working_dtype
from wsss_fast._launch._path_affinity import path_affinity, path_affinity_backward, path_offsets
from wsss_fast._launch._random_walk import WALKERS, largest_walker, random_walk, random_walk_backward
from wsss_fast._launch._tta import tta_merge

__all__ = [
    "WALKERS",
    "FlatKernel",
    "affinity_displacement",
    "affinity_displacement_backward",
    "cam_fusion",
    "check_lattice_reach",
    "crf",
    "cuda_affinity_displacement",
    "cuda_affinity_displacement_backward",
    "cuda_cam_fusion",
    "cuda_crf",
    "cuda_path_affinity",
    "cuda_path_affinity_backward",
    "cuda_random_walk",
    "cuda_random_walk_backward",
    "cuda_tta_merge",
    "flat_kernels",
    "largest_walker",
    "lattice_build",
    "lattice_filter",
    "most_inputs",
    "path_affinity",
    "path_affinity_backward",
    "path_offsets",
    "random_walk",
    "random_walk_backward",
    "refuse",
    "tta_merge",
    "working_dtype",
]
