"""Metrics: segmentation accuracy, image quality and similarity, mixing."""

from stylebridge.metrics.segmentation import ConfusionMatrix, SegmentationScores

__all__ = ["ConfusionMatrix", "SegmentationScores"]
