"""The colours of signs, lamps, cars and clothes: flat for the simulator, textured for the camera.

Each painter changes the colours of all pixels of its material at once.
"""

import numpy as np

from stylebridge.data.toy.furniture import SignFace
from stylebridge.data.toy.noise import fractal, look_up
from stylebridge.data.toy.pixels import Pixels, between, round_off


def paint_sign(p: Pixels) -> None:
    face, width, height = p.parameters(3)
    x, y = p.u / width - 0.5, p.v / height - 0.5
    radius = np.sqrt(x * x + y * y)
    red, white, black = (0.85, 0.07, 0.10), (0.96, 0.96, 0.95), (0.08, 0.08, 0.10)
    for kind, where, colour in (
        (SignFace.LIMIT, radius > 0.36, red),
        (SignFace.LIMIT, (np.abs(np.abs(x) - 0.12) < 0.05) & (np.abs(y) < 0.18), black),
        (SignFace.NO_ENTRY, (np.abs(y) < 0.09) & (np.abs(x) < 0.34), white),
        (SignFace.DIRECTION, (np.abs(x) < 0.05) & (y < 0.22) & (y > -0.28), white),
        (SignFace.DIRECTION, (np.abs(x) + np.abs(y - 0.1) < 0.2) & (y > 0.1), white),
        (SignFace.WARNING, (np.abs(x) > 0.5 * (0.5 - y) - 0.13) | (y < -0.36), red),
        (SignFace.WARNING, (np.abs(x) < 0.04) & between(y, -0.27, 0.1), black),
        (SignFace.GUIDE, (np.abs(x) > 0.47) | (np.abs(y) > 0.45), white),
        (SignFace.GUIDE, (np.abs(np.abs(y) - 0.17) < 0.07) & between(x, -0.38, 0.22), white),
        (SignFace.GUIDE, (np.abs(x - 0.33) + np.abs(y) < 0.1), white),
        (SignFace.PARKING, (np.abs(x) > 0.46) | (np.abs(y) > 0.46), white),
        (SignFace.PARKING, (np.abs(x + 0.12) < 0.05) & (np.abs(y) < 0.3), white),
        (SignFace.PARKING, between((x + 0.07) ** 2 + (y - 0.13) ** 2, 0.006, 0.03) & (x > -0.12), white),
        (SignFace.STOP, (radius > 0.44), white),
        (SignFace.STOP, (np.abs(y) < 0.1) & (np.abs(x) < 0.33) & (np.mod(x * 9, 1) < 0.72), white),
    ):
        p.paint((face == kind) & where, colour)
    if p.detail is not None:
        p.colour *= 0.9 + 0.15 * p.cloud(60.0)


def paint_traffic_light(p: Pixels) -> None:
    x = p.u - 0.23
    for index, (level, colour) in enumerate(
        ((0.93, (1.0, 0.1, 0.08)), (0.575, (1.0, 0.7, 0.1)), (0.22, (0.1, 0.95, 0.35)))
    ):
        lamp = x * x + (p.v - level) ** 2 < 0.022
        on = p.parameters(1)[0] == index
        p.paint(lamp, (0.3 * colour[0], 0.3 * colour[1], 0.3 * colour[2]))
        p.paint(lamp & on, colour)
        p.glow[np.flatnonzero(lamp & on)] = 0.6 + 1.5 * p.night


def paint_car_side(p: Pixels) -> None:
    length, height = p.parameters(2)
    p.paint(p.v < 0.12, (0.10, 0.10, 0.11), 0.85)
    s = p.u / length
    arch = np.minimum(np.abs(s - 0.19), np.abs(s - 0.81)) * length
    p.paint(arch * arch + (p.v - 0.06) ** 2 < 0.15, (0.06, 0.06, 0.07))
    p.paint((np.abs(np.abs(s - 0.52) - 0.13) < 0.004) & (p.v > 0.12), (0.05, 0.05, 0.06), 0.6)
    p.colour *= 0.86 + 0.28 * p.v / height
    paint_polish(p)


def _car_end(p: Pixels, lamp_colour: tuple[float, float, float], glow: float) -> None:
    width, height, lit = p.parameters(3)
    x, y = np.abs(p.u / width - 0.5), p.v / height
    p.paint(y < 0.24, (0.12, 0.12, 0.13), 0.8)
    p.paint((x < 0.16) & between(y, 0.30, 0.50), (0.94, 0.92, 0.80))
    lamp = between(x, 0.31, 0.47) & between(y, 0.56, 0.84)
    p.paint(lamp, lamp_colour)
    p.glow[np.flatnonzero(lamp & (lit > 0))] = glow * p.night
    paint_polish(p)


def paint_car_front(p: Pixels) -> None:
    width, height = p.parameters(2)
    grille = (np.abs(p.u / width - 0.5) < 0.24) & between(p.v / height, 0.55, 0.78)
    p.paint(grille, (0.08, 0.08, 0.09), 0.85)
    _car_end(p, (0.98, 0.97, 0.88), 5.0)


def paint_car_rear(p: Pixels) -> None:
    _car_end(p, (0.85, 0.06, 0.06), 1.6)


def paint_cabin(p: Pixels) -> None:
    lean_left, lean_right, length, reach = p.parameters(4)
    t = p.v / reach
    left, right = lean_left * t, length - lean_right * t
    pane = between(p.u, left + 0.09, right - 0.09) & between(t, 0.06, 0.86)
    pillar = (np.abs(p.u - 0.5 * (left + right)) < 0.05) & (length > 1.9)
    pane &= ~pillar
    if p.detail is None:
        p.paint(pane, (0.16, 0.24, 0.32))
        return
    paint_polish(p)
    chosen = np.flatnonzero(pane)
    p.colour[:, chosen] = (0.012 + 0.12 * t * t + 0.03 * p.cloud(40.0))[chosen]


def paint_polish(p: Pixels) -> None:
    """Car paint reflects its surroundings, with dust near the ground."""
    if p.detail is not None:
        p.colour *= 1 + 0.18 * p.cloud(22.0)
        p.colour += 0.035 * np.clip(p.cloud(14.0, 40.0), 0, 1)


def paint_wheel(p: Pixels) -> None:
    x, y = p.u - 0.32, p.v - 0.32
    radius = x * x + y * y
    p.paint(radius < 0.036, (0.66, 0.67, 0.70))
    p.paint((radius < 0.03) & (np.mod(np.arctan2(y, x) * (5 / (2 * np.pi)), 1) < 0.4), (0.2, 0.2, 0.22))


def paint_lamp(p: Pixels) -> None:
    p.glow[:] = 6.0 * p.night if p.night > 0.3 else 0.0


def paint_cloth(p: Pixels) -> None:
    round_off(p)
    if p.detail is not None:
        p.colour *= 1 + 0.3 * look_up(fractal(), p.u * 20 + p.v * 9, p.v * 30)


def paint_plain(p: Pixels) -> None:
    if p.detail is not None:
        p.colour *= 1 + 0.2 * p.cloud(25.0)


def paint_awning(p: Pixels) -> None:
    p.paint(np.mod(p.u, 0.8) < 0.4, (0.95, 0.94, 0.90))
    if p.detail is not None:
        p.colour *= 0.85 + 0.2 * p.cloud(20.0)
