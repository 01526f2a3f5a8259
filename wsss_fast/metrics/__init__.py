"""Mean IoU and its relatives, counted image by image: what is held does not grow with the images.

Ids are those of the masks: 0 background, 1..K the object classes. Masks are uint8 or uint16, and the largest
value of their type (255, 65535) in the truth takes no part.
"""

from __future__ import annotations

from wsss_fast.metrics._boundary import BoundaryIou
from wsss_fast.metrics._confusion import ConfusionMatrix, check_masks
from wsss_fast.metrics._scores import Scores, scores
from wsss_fast.metrics._sweep import ThresholdSweep

__all__ = ["BoundaryIou", "ConfusionMatrix", "Scores", "ThresholdSweep", "check_masks", "scores"]
