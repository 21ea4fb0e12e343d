"""The toy world: procedural streets with exact labels, in a simulator look and a camera look."""

from stylebridge.data.toy.drawing import CLASSES, PALETTE, Look, render, write_toy

__all__ = ["CLASSES", "PALETTE", "Look", "render", "write_toy"]
