"""When a label map of another size still shows the same as its image."""

from __future__ import annotations

#: Sizes of one picture, rounded to pixels, differ in their ratio by less.
_TOLERANCE = 0.005


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (width, height) have the same ratio, up to rounding."""
    if 0 in (*size, *other):
        return False
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= _TOLERANCE
