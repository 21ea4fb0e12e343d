"""Fixed noise tables for textures."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_SIDE = 256
#: Large arrays are float32.
Floats = NDArray[np.floating]


@lru_cache(maxsize=1)
def fractal() -> Floats:
    """A seamless tile [256, 256] of cloudy noise with mean 0 and standard deviation about 0.5, mostly in -1..1."""
    rng = np.random.default_rng(20_240_229)
    total = np.zeros((_SIDE, _SIDE))
    for cells, weight in ((4, 1.0), (8, 0.8), (16, 0.62), (32, 0.5), (64, 0.4), (128, 0.3)):
        total += weight * _value_noise(rng.uniform(-1, 1, (cells, cells)))
    return (0.5 * (total - total.mean()) / total.std()).astype(np.float32)


@lru_cache(maxsize=1)
def grain() -> Floats:
    """A tile [256, 256] of independent values, uniform in -1..1."""
    return np.random.default_rng(7).uniform(-1, 1, (_SIDE, _SIDE)).astype(np.float32)


def _value_noise(knots: NDArray) -> NDArray:
    """Knots [n, n] upsampled to the tile's side by smooth, periodic interpolation."""
    cells = len(knots)
    position = np.arange(_SIDE) * cells / _SIDE
    first = position.astype(int)
    share = position - first
    share = share * share * (3 - 2 * share)
    rows = knots[first] + share[:, None] * (knots[(first + 1) % cells] - knots[first])
    return rows[:, first] + share * (rows[:, (first + 1) % cells] - rows[:, first])


def look_up(tile: Floats, x: Floats, y: Floats) -> Floats:
    """The tile's values at the integer parts of ``x`` (columns) and ``y`` (rows), periodic."""
    index = (y.astype(np.int32) & (_SIDE - 1)) * _SIDE + (x.astype(np.int32) & (_SIDE - 1))
    return tile.reshape(-1)[index]


def look_up_smoothly(tile: Floats, x: Floats, y: Floats) -> Floats:
    """The tile's bilinearly interpolated values at ``x`` and ``y`` >= 0."""
    i, j = np.floor(x), np.floor(y)
    s, t = x - i, y - j
    upper = look_up(tile, i, j) * (1 - s) + look_up(tile, i + 1, j) * s
    lower = look_up(tile, i, j + 1) * (1 - s) + look_up(tile, i + 1, j + 1) * s
    return upper * (1 - t) + lower * t


def cell_noise(i: Floats, j: Floats, seed: Floats | float) -> Floats:
    """A value in 0..1 for each cell with integer coordinates (i, j), determined by cell and seed."""
    return 0.5 + 0.5 * look_up(grain(), i * 7 + j * 31 + seed * 13, j * 17 + seed * 5 + i * 3)
