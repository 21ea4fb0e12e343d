"""The pixels of one material, as input of the painters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.noise import Floats, fractal, grain, look_up
from stylebridge.data.toy.road import Road


@dataclass
class Pixels:
    """The pixels of one material.

    Attributes:
        u, v: [n] coordinates on the surface in metres.
        colour: [3, n] base colour of the surface.
        surface: [n] ids, for the parameters.
        detail: [n] visibility of fine texture at this distance, 0..1; None for the simulator.
        glow: [n] emitted light, as a multiple of the colour; set by the painters.
        night: 0..1, share of lights that are on.
        saturation: 0..1, remaining saturation of a paint.
    """

    u: Floats
    v: Floats
    colour: Floats
    surface: NDArray[np.int16]
    all_parameters: Floats
    detail: Floats | None
    glow: Floats
    night: float
    saturation: float
    road: Road

    def parameters(self, count: int) -> Floats:
        """The first ``count`` parameters of each pixel's surface, [count, n]."""
        return np.take(self.all_parameters[:count], self.surface, axis=1)

    def paint(self, where: NDArray[np.bool_], colour: tuple[float, float, float], cover: float = 1.0) -> None:
        """Blend a colour, given in sRGB-like values 0..1, over some pixels."""
        chosen = np.flatnonzero(where)
        if not len(chosen):
            return
        squares = [value * value for value in colour]
        grey = sum(squares) / 3
        for channel, value in zip(self.colour, squares, strict=True):
            value = np.float32(grey + self.saturation * (value - grey))
            channel[chosen] = (
                value if cover == 1 else channel[chosen] * np.float32(1 - cover) + np.float32(cover) * value
            )

    def cloud(self, scale: float, shift: float = 0.0) -> Floats:
        """Smooth noise with standard deviation 0.5 and ``scale`` table cells per metre."""
        return look_up(fractal(), self.u * scale + shift, self.v * scale + 2 * shift)

    def grains(self, scale: float) -> Floats:
        """Fine noise in -1..1 that fades with distance."""
        assert self.detail is not None
        return look_up(grain(), self.u * scale, self.v * scale) * self.detail


def between(values: Floats, low: float | Floats, high: float | Floats) -> NDArray[np.bool_]:
    """Which values are strictly between two bounds."""
    return (values > low) & (values < high)


def round_off(p: Pixels) -> None:
    """Darken bars towards their edges."""
    p.colour *= 1 - 0.45 * np.clip(p.u + 0.25, -1, 1) ** 2
