"""The elements of a scene: flat patches and capsules, each with a class, a material and a colour."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.camera import PinholeCamera
from stylebridge.data.toy.road import Road

Vector = NDArray[np.float64]
Colour = tuple[float, float, float]
PARAMETERS = 8


class Label(IntEnum):
    """The classes, by index in CamVid's 11."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10


class Material(IntEnum):
    """How a surface is coloured from its coordinates (u, v)."""

    SKY = 0
    ROAD = 1
    PAVEMENT = 2
    KERB = 3
    PLAIN = 4
    FACADE = 5
    ROOF = 6
    LEAVES = 7
    BARK = 8
    PLANKS = 9
    BRICK = 10
    SIGN = 11
    CAR_SIDE = 12
    CAR_FRONT = 13
    CAR_REAR = 14
    WHEEL = 15
    LAMP = 16
    CLOTH = 17
    CABIN = 18
    TRAFFIC_LIGHT = 19
    AWNING = 20


class Shape(IntEnum):
    """The outline of a patch within its rectangle."""

    RECTANGLE = 0
    ELLIPSE = 1
    TRIANGLE = 2
    TRAPEZOID = 3  # parameters 0 and 1: inset of the left and right edge at the top, in metres
    LEAVES = 4
    OCTAGON = 5
    # The last two are see-through: the label covers the outline, the colour only the bars.
    RING = 6
    RAILING = 7


#: Surface ids before the patches: sky, road, pavement, kerb; patches and capsules follow.
GROUND_IDS = 4


@dataclass(frozen=True)
class Frame:
    """A position on the ground and a heading (radians, positive turns right): the coordinates of an object."""

    x: float
    z: float
    heading: float = 0.0
    y: float = 0.0

    @cached_property
    def right(self) -> Vector:
        return np.array([np.cos(self.heading), 0.0, -np.sin(self.heading)])

    @cached_property
    def forward(self) -> Vector:
        return np.array([np.sin(self.heading), 0.0, np.cos(self.heading)])

    def at(self, right: float, up: float, forward: float) -> Vector:
        """The world point [3] at an offset in metres to the right, up and forward."""
        cos, sin = float(self.right[0]), float(self.forward[0])
        return np.array(
            [self.x + right * cos + forward * sin, self.y + up, self.z + forward * cos - right * sin]
        )


UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Blob:
    """A soft dark spot on the ground: centre, heading, half length and width in metres, strength 0..1."""

    x: float
    z: float
    heading: float
    half_length: float
    half_width: float
    strength: float
    height: float  # of the object, in metres


@dataclass
class Scene:
    """A street as lists of surfaces. Built from a seed; every look and size is rendered from it."""

    seed: int
    camera: PinholeCamera
    road: Road
    patches: list[tuple] = field(default_factory=list)
    capsules: list[tuple] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    lamps: list[Vector] = field(default_factory=list)
    #: (side, first z, last z, height) of the buildings along the street, for their shadows.
    rows: list[tuple[int, float, float, float]] = field(default_factory=list)
    _claimed: list[tuple[float, float, float]] = field(default_factory=list)

    def claim(self, frame: Frame, radius: float, half_length: float = 0.0) -> bool:
        """Reserve the ground around ``frame``; False, without reserving, if it is occupied."""
        ends = (-half_length, 0.0, half_length) if half_length else (0.0,)
        spots = [(*frame.at(0, 0, end)[[0, 2]].tolist(), radius) for end in ends]
        for x, z, r in spots:
            if any((x - a) ** 2 + (z - b) ** 2 < (r + c) ** 2 for a, b, c in self._claimed):
                return False
        self._claimed += spots
        return True

    def patch(
        self,
        origin: Vector,
        across: Vector,
        upwards: Vector,
        size: tuple[float, float],
        label: Label,
        material: Material,
        colour: Colour,
        parameters: Sequence[float] = (),
        shape: Shape = Shape.RECTANGLE,
        two_sided: bool = False,
    ) -> None:
        """Add a flat rectangle of ``size`` metres, or a shape inside it.

        ``origin`` is its lower left corner and ``across`` its unit vector to the right *as seen from its visible side*,
        ``upwards`` the unit vector to its upper edge. From the other side it is invisible, unless ``two_sided``.
        """
        padded = tuple(parameters) + (0.0,) * (PARAMETERS - len(parameters))
        self.patches.append(
            (origin, across, upwards, size, label, material, colour, padded, shape, two_sided)
        )

    def capsule(
        self,
        start: Vector,
        end: Vector,
        radii: tuple[float, float],
        label: Label,
        material: Material,
        colour: Colour,
    ) -> None:
        """Add a round bar between two world points, with a radius in metres at each end."""
        self.capsules.append((start, end, radii, label, material, colour))

    def box_faces(
        self, frame: Frame, length: float, width: float, height: float, bottom: float = 0.0
    ) -> dict[str, tuple[Vector, Vector, Vector, tuple[float, float]]]:
        """The first four arguments of :meth:`patch` for each visible face of a box centred on ``frame``.

        Length is along the heading. Faces are named like those of a car: rear, front, left, right, top.
        """
        right, forward = frame.right, frame.forward
        w, l = width / 2, length / 2  # noqa: E741
        top = bottom + height
        return {
            "rear": (frame.at(-w, bottom, -l), right, UP, (width, height)),
            "front": (frame.at(w, bottom, l), -right, UP, (width, height)),
            "left": (frame.at(-w, bottom, l), -forward, UP, (length, height)),
            "right": (frame.at(w, bottom, -l), forward, UP, (length, height)),
            "top": (frame.at(-w, top, -l), right, forward, (width, length)),
        }


def street_frame(road: Road, offset: float, z: float, turn: float = 0.0, y: float = 0.0) -> Frame:
    """The frame ``offset`` metres to the right of the road's middle, at ``z``, turned relative to the street."""
    return Frame(float(road.centre(z) + offset), z, float(road.heading(z)) + turn, y)
