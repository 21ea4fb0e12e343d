"""Evenly spaced choices, for pictures, samples and quick checks."""

from __future__ import annotations

import numpy as np


def evenly_spaced(count: int, wanted: int, rounded: bool = False) -> list[int]:
    """At most ``wanted`` of the numbers below ``count``, ascending, including the first and the last.

    Args:
        rounded: take the nearest number instead of the one below.
    """
    places = np.linspace(0, max(0, count - 1), min(wanted, count))
    return (places.round() if rounded else places).astype(int).tolist()
