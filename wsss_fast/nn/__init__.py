"""Layers and losses that stand on the ops."""

from wsss_fast.nn.tta import TTA

__all__ = ["TTA"]
