"""Batch norms whose statistics are those of the batches of all processes together."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsss_fast._processes import process_count, summed


def join_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with such batch norms in place of its own, with the same parameters, buffers and names.

    On a GPU these are torch's ``SyncBatchNorm`` (and timm's, where an activation is part of the norm), which
    refuse tensors on the CPU; there they are `JointBatchNorm`. In evaluation all of them are as before. Every
    process has to make the same passes.
    """
    if device.type != "cpu":
        from timm.layers import convert_sync_batchnorm

        return cast(nn.Module, convert_sync_batchnorm(module))
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return JointBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, join_batch_norms(child, device))
    return module


class JointBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm over the processes of a training, on the CPU.

    ``norm``: what it takes the place of: its parameters and buffers become those of this module, under the
    same names, and timm's activation (and dropout) after the norm stays.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, values: Tensor) -> Tensor:
        """``[N,C,...]``, of any number of images a process, to the same."""
        alone = not self.training or process_count() == 1
        normal = super().forward(values) if alone else self._joint(values)
        result: Tensor = self.act(self.drop(normal))
        return result

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected [N,C,...], got {list(input.shape)}")

    def _joint(self, values: Tensor) -> Tensor:
        self._check_input_dim(values)
        normal, mean, variance, count = _Normalise.apply(values, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            momentum = self.momentum
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        return cast(Tensor, normal)


class _Normalise(torch.autograd.Function):
    """Values of one process to normalised ones, and the mean and biased variance of all processes' values."""

    @staticmethod
    def forward(
        context: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = values.float()  # half precision comes here under autocast
        # Deviations from the mean are squared, not values: each process takes those from its own mean, and
        # what these are off the joint one is added (Chan, Golub, LeVeque).
        variance, mean = torch.var_mean(exact, _all_but_channels(exact), correction=0)
        own = torch.cat([mean, variance, mean.new_full((1,), values.numel() // values.shape[1])]).double()
        every = [torch.empty_like(own) for _ in range(process_count())]
        dist.all_gather(every, own)
        means, variances, counts = torch.stack(every).split([len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        if count <= 1:
            raise ValueError(f"expected more than 1 value a channel in training, got {list(values.shape)}")
        joint_mean = (counts * means).sum(0) / count
        joint_variance = (counts * (variances + (means - joint_mean) ** 2)).sum(0) / count
        mean, variance = joint_mean.float(), joint_variance.float()
        normal = F.batch_norm(exact, mean, variance, weight, bias, training=False, eps=eps)
        context.save_for_backward(values, weight, mean, (joint_variance + eps).rsqrt().float())
        context.count = float(count)
        context.mark_non_differentiable(joint_mean, joint_variance, count)
        return normal.to(values.dtype), joint_mean, joint_variance, count

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        values, weight, mean, inverse = context.saved_tensors
        shape = (1, -1, *[1] * (values.dim() - 2))
        gradient = gradient.float()
        unit = (values.float() - mean.view(shape)) * inverse.view(shape)
        others = _all_but_channels(values)
        sums = torch.stack([gradient.sum(others), (gradient * unit).sum(others)])
        # Those of the parameters are of this process, as they all are before they are averaged.
        of_bias, of_weight = sums.clone().unbind() if weight is not None else (None, None)
        along_one, along_unit = (summed(sums.double()) / context.count).float().view(2, *shape)
        scale = inverse if weight is None else inverse * weight.float()
        of_values = (gradient - along_one - unit * along_unit) * scale.view(shape)
        return of_values.to(values.dtype), of_weight, of_bias, None


def _all_but_channels(values: Tensor) -> list[int]:
    return [dim for dim in range(values.dim()) if dim != 1]
