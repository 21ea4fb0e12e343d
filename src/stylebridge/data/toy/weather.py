"""Time of day, weather and camera settings of a camera picture, drawn at random for every image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Light in linear units: a white surface in daylight is about 1.

    Attributes:
        sun: [3] unit vector to the sun; sun_light, sky_light: light colours.
        saturation: remaining saturation of surfaces; season: factor on the leaves' colour.
        fog: density in 1/m; fog_colour: colour of distant objects.
        night: 0..1, share of lights that are on; lamp_strength, lamp_colour: of street lamps; headlights: of the car.
        horizon, zenith, cloud_colour: of the sky; clouds: 0..1.
        contact: strength of the shadows under objects; throw: metres along X and Z for each metre of height.
        exposure, gamma, contrast, cast: of the camera; noise: standard deviation in display values;
        blur: in units of 1/240 of the width.
    """

    sun: NDArray[np.float32]
    sun_light: Colour
    sky_light: Colour
    saturation: float
    season: Colour
    fog: float
    fog_colour: Colour
    night: float
    lamp_strength: float
    lamp_colour: Colour
    headlights: float
    horizon: Colour
    zenith: Colour
    cloud_colour: Colour
    clouds: float
    contact: float
    throw: tuple[float, float]
    exposure: float
    gamma: float
    contrast: float
    cast: Colour
    noise: float
    blur: float

    @property
    def brightness(self) -> float:
        return float(np.mean(self.sky_light)) + 0.4 * float(np.mean(self.sun_light))


def _scaled(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


@dataclass(frozen=True)
class _Kind:
    """The mean values of one kind of weather."""

    share: float
    sun_height: tuple[float, float]
    sun_light: Colour
    sky_light: Colour
    fog: tuple[float, float]
    fog_colour: Colour
    night: float
    lamps: float
    lamp_colour: Colour
    horizon: Colour
    zenith: Colour
    cloud_colour: Colour
    clouds: float


_KINDS = (
    # A low sun: long warm light, deep blue shade.
    _Kind(
        0.20,
        (0.22, 0.5),
        (1.25, 0.82, 0.46),
        (0.30, 0.36, 0.48),
        (0.003, 0.011),
        (0.85, 0.68, 0.52),
        0.25,
        0.0,
        (1.0, 0.7, 0.4),
        (1.0, 0.78, 0.52),
        (0.36, 0.48, 0.72),
        (0.98, 0.80, 0.66),
        0.5,
    ),
    # Haze: pale, nearly no shadows, the far end of the street fades.
    _Kind(
        0.28,
        (0.6, 0.9),
        (0.22, 0.22, 0.20),
        (0.62, 0.63, 0.62),
        (0.016, 0.038),
        (0.70, 0.71, 0.70),
        0.15,
        0.0,
        (1.0, 0.8, 0.6),
        (0.74, 0.74, 0.72),
        (0.66, 0.68, 0.70),
        (0.80, 0.80, 0.78),
        0.3,
    ),
    # Overcast: cool and dull.
    _Kind(
        0.05,
        (0.6, 0.9),
        (0.10, 0.10, 0.11),
        (0.46, 0.51, 0.56),
        (0.005, 0.014),
        (0.52, 0.57, 0.62),
        0.2,
        0.0,
        (1.0, 0.8, 0.6),
        (0.70, 0.74, 0.78),
        (0.42, 0.47, 0.54),
        (0.62, 0.66, 0.70),
        0.8,
    ),
    # Dusk: a violet sky, windows and headlights on.
    _Kind(
        0.22,
        (0.08, 0.2),
        (0.16, 0.10, 0.10),
        (0.24, 0.25, 0.36),
        (0.005, 0.016),
        (0.36, 0.31, 0.40),
        0.8,
        0.35,
        (1.0, 0.66, 0.32),
        (0.80, 0.48, 0.40),
        (0.15, 0.18, 0.36),
        (0.48, 0.32, 0.38),
        0.6,
    ),
    # Sodium light: late, everything orange under the lamps.
    _Kind(
        0.25,
        (0.05, 0.1),
        (0.0, 0.0, 0.0),
        (0.13, 0.13, 0.17),
        (0.005, 0.016),
        (0.17, 0.14, 0.13),
        1.0,
        0.75,
        (1.0, 0.58, 0.20),
        (0.22, 0.17, 0.17),
        (0.05, 0.06, 0.11),
        (0.16, 0.13, 0.14),
        0.5,
    ),
)


#: Summer, late summer, autumn.
_SEASONS: tuple[Colour, ...] = ((1.0, 0.9, 1.0), (1.9, 0.9, 0.8), (3.6, 0.9, 0.5), (4.2, 0.6, 0.5))


def draw_weather(seed: int) -> Weather:
    """The weather of a seed's camera picture."""
    rng = np.random.default_rng([seed, 1])
    kind = _KINDS[int(rng.choice(len(_KINDS), p=[k.share for k in _KINDS]))]
    elevation, around = rng.uniform(*kind.sun_height), rng.uniform(0.2, 0.9) * rng.choice([-1, 1])
    if rng.random() < 0.4:
        around = np.pi - around
    sun = np.array(
        [np.sin(around) * np.cos(elevation), np.sin(elevation), np.cos(around) * np.cos(elevation)]
    )
    flat = float(np.clip(1.0 / np.tan(elevation), 0, 2.5))
    warmth = float(rng.normal(0, 0.18))
    green = float(rng.normal(0, 0.09))
    air = float(rng.uniform(0.85, 1.2))
    direct = np.mean(kind.sun_light) > 0.3
    return Weather(
        sun=sun.astype(np.float32),
        sun_light=_scaled(kind.sun_light, float(rng.uniform(0.75, 1.2))),
        sky_light=_scaled(kind.sky_light, air),
        saturation=float(rng.uniform(0.28, 0.52)),
        season=_SEASONS[int(rng.integers(len(_SEASONS)))],
        fog=float(rng.uniform(*kind.fog)),
        fog_colour=_scaled(kind.fog_colour, air),
        night=float(np.clip(kind.night + rng.normal(0, 0.1), 0, 1)),
        lamp_strength=kind.lamps * float(rng.uniform(0.7, 1.3)),
        lamp_colour=kind.lamp_colour,
        headlights=kind.lamps * float(rng.uniform(0.6, 1.4)),
        horizon=_scaled(kind.horizon, air),
        zenith=_scaled(kind.zenith, air),
        cloud_colour=_scaled(kind.cloud_colour, air),
        clouds=float(np.clip(kind.clouds + rng.normal(0, 0.2), 0, 1)),
        contact=0.85,
        throw=(-float(np.sin(around)) * flat, -float(np.cos(around)) * flat) if direct else (0.0, 0.0),
        exposure=float(np.exp(rng.normal(-0.1, 0.35))),
        gamma=float(rng.uniform(0.85, 1.15)),
        contrast=float(rng.uniform(0.32, 0.78)),
        cast=(1 + warmth, 1 + green, 1 - warmth),
        noise=float(np.exp(rng.normal(np.log(0.02), 0.45))),
        blur=float(rng.uniform(0.35, 0.75)),
    )
