"""Compare the aspect ratios of a label map and its image."""

from __future__ import annotations

#: Largest difference of aspect ratios caused by rounding sizes to pixels.
_TOLERANCE = 0.005


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (width, height) have the same aspect ratio, up to rounding."""
    if 0 in (*size, *other):
        return False
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= _TOLERANCE
