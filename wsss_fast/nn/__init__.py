"""Layers and losses that stand on the ops."""

from wsss_fast.nn.affinity_displacement_loss import AffinityDisplacementLoss, AffinityDisplacementLosses
from wsss_fast.nn.dense_crf import DenseCRF
from wsss_fast.nn.dense_crf_loss import DenseCRFLoss
from wsss_fast.nn.tta import TTA

__all__ = ["TTA", "AffinityDisplacementLoss", "AffinityDisplacementLosses", "DenseCRF", "DenseCRFLoss"]
