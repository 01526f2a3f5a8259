"""What a CRF benchmark solves: an image and unaries, in the layout that is natural to either side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import wsss_fast


@dataclass(frozen=True)
class Problem:
    """M unaries of one image. Both sides read the same numbers."""

    image: Tensor  # uint8 [3,H,W]
    unary: Tensor  # float32 [M,C,H,W]
    peer_image: np.ndarray  # uint8 [H,W,3]
    peer_unaries: list[np.ndarray]  # float32 [C,HW], one a unary


def problem(image: Tensor, classes: int, seed: int, sets: int = 1) -> Problem:
    """Unaries from blocky random labels, 8 x 10 blocks, believed to 0.7."""
    _, height, width = image.shape
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, classes, (sets, 8, 10), generator=generator)
    down, across = -(-height // 8), -(-width // 10)
    labels = blocks.repeat_interleave(down, 1).repeat_interleave(across, 2)[:, :height, :width]
    unary = wsss_fast.unary_from_labels(labels, classes, gt_prob=0.7)
    return Problem(
        image=image,
        unary=unary,
        peer_image=np.ascontiguousarray(image.permute(1, 2, 0).numpy()),
        peer_unaries=[u.flatten(1).numpy() for u in unary],
    )
