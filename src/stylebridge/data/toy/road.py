"""The geometry of the street: the carriageway and its curvature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Height of the pavement above the carriageway, in metres.
KERB_HEIGHT = 0.14
_CORNER_RADIUS = 3.0


@dataclass(frozen=True)
class Road:
    """A street along Z with one side street across it.

    Attributes:
        half_width: distance from the middle to the kerb, in metres.
        parking: width of the parking lane on each side in metres, or 0.
        pavement: width of each pavement, in metres.
        curvature: 1 / radius in 1/m, positive bends right.
        crossing: Z of the side street's middle.
        crossing_half: half the width of the side street.
        zebra: whether the side street has zebra crossings on both sides.
        solid_line: whether the middle line is unbroken.
    """

    half_width: float
    parking: float
    pavement: float
    curvature: float
    crossing: float
    crossing_half: float
    zebra: bool
    solid_line: bool

    @property
    def travel(self) -> float:
        """Half the width of the driving lanes, in metres."""
        return self.half_width - self.parking

    def centre(self, z: ArrayLike) -> NDArray:
        """X of the middle of the street at ``z``."""
        z = np.asarray(z)
        return 0.5 * self.curvature * z * z

    def heading(self, z: ArrayLike) -> NDArray:
        """Direction of the street at ``z``, in radians."""
        return np.arctan(self.curvature * np.asarray(z))

    def is_carriageway(self, offset: NDArray, z: NDArray) -> NDArray[np.bool_]:
        """Whether points ``offset`` metres to the right of the middle, at ``z``, are between the kerbs."""
        beside = np.abs(offset) - self.half_width
        beyond = np.abs(z - self.crossing) - self.crossing_half
        corner = (beside < _CORNER_RADIUS) & (beyond < _CORNER_RADIUS)
        rounded = (_CORNER_RADIUS - beside) ** 2 + (_CORNER_RADIUS - beyond) ** 2 > _CORNER_RADIUS**2
        return (beside < 0) | (beyond < 0) | (corner & rounded)
