"""The toy world: streets drawn by code, exactly labelled, as a simulator and a camera would show them."""

from stylebridge.data.toy.drawing import CLASSES, PALETTE, Look, render, write_toy

__all__ = ["CLASSES", "PALETTE", "Look", "render", "write_toy"]
