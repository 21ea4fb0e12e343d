"""Measures of how good a result is: segmentation accuracy against a truth."""

from stylebridge.metrics.segmentation import ConfusionMatrix, SegmentationScores

__all__ = ["ConfusionMatrix", "SegmentationScores"]
