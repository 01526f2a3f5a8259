"""Layers and losses that stand on the ops."""

from wsss_fast.nn.affinity_displacement_loss import AffinityDisplacementLoss, AffinityDisplacementLosses

__all__ = ["AffinityDisplacementLoss", "AffinityDisplacementLosses"]
