"""Resize images and label maps given as arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

#: Filters that recipes can choose for resizing images; both are antialiased.
Resample = Literal["bicubic", "bilinear"]


def resized(
    pixels: np.ndarray,
    size: tuple[int, int] | None,
    how: Resample | Literal["lanczos"] = "bicubic",
    reducing_gap: float | None = None,
) -> np.ndarray:
    """Resize an image or label map; returned without a copy if it has this size.

    Args:
        pixels: an image uint8 [H, W, 3], or a map uint8 or int32 [H, W], resized by nearest neighbour.
        size: (width, height); None: unchanged.
        how: the filter for an image.
        reducing_gap: Pillow's: above 1, a much larger image is first reduced by an integer factor, which is faster.
    """
    if size is None or (pixels.shape[1], pixels.shape[0]) == tuple(size):
        return pixels
    resample = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling[how.upper()]
    return np.array(Image.fromarray(pixels).resize(size, resample, reducing_gap=reducing_gap))
