"""Layers that several networks share."""

from stylebridge.layers.norm import FrozenBatchNorm2d

__all__ = ["FrozenBatchNorm2d"]
