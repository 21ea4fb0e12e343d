"""Losses: functions of tensors, without networks."""

from stylebridge.losses.class_level import class_level_loss, domain_encoding
from stylebridge.losses.segmentation import cross_entropy, cross_entropy_sum

__all__ = ["class_level_loss", "cross_entropy", "cross_entropy_sum", "domain_encoding"]
