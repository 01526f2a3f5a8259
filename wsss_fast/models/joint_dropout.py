"""Dropout that draws for the batches of all processes together."""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from wsss_fast._processes import process_count, process_rank

_DROPPING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, DropPath)


def join_dropouts(module: nn.Module) -> nn.Module:
    """The module with `JointDropout` in place of its dropouts and of its stochastic depth."""
    if isinstance(module, _DROPPING):
        return JointDropout(module)
    for name, child in module.named_children():
        setattr(module, name, join_dropouts(child))
    return module


class JointDropout(nn.Module):
    """A dropout of the joint batch of all processes, of which this one has its part.

    Where all processes draw from generators of one state, each value is dropped or kept, and scaled, as it
    would be in one process with the whole batch. The mask is as large as the joint batch.
    """

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, values: Tensor) -> Tensor:
        """``[N,...]`` to the same."""
        if not self.training:
            return values
        mine = len(values)
        # What it makes of ones is what it multiplies by. Laid out as the batch is: so the draws go.
        ones = torch.ones(process_count() * mine, *values.shape[1:], dtype=values.dtype, device=values.device)
        if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
            ones = ones.contiguous(memory_format=torch.channels_last)
        factors: Tensor = self.drop(ones)
        return values * factors[process_rank() * mine :][:mine]
