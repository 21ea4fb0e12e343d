"""The colours of the ground, of houses and of plants: flat for the simulator, textured for the camera.

Each painter changes the colours of all pixels of its material at once.
"""

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.noise import Floats, cell_noise, fractal, look_up
from stylebridge.data.toy.pixels import Pixels, between, round_off


def paint_road(p: Pixels) -> None:
    road, s, z = p.road, p.u, p.v
    if p.detail is not None:
        patches = np.float32(1) + 0.22 * p.cloud(5.0) + 0.25 * p.cloud(31.0) * p.detail
        patches += 0.35 * p.grains(45.0)
        # Wheels darken two tracks in each lane, and repairs leave rectangles.
        track = np.abs(np.abs(np.abs(s) - 0.5 * road.travel) - 0.75) < 0.35
        patches -= 0.10 * track
        repair = cell_noise(np.floor(s * 0.6), np.floor(z * 0.17), 3.0)
        patches -= 0.28 * (repair > 0.86)
        cracks = np.abs(p.cloud(9.0, 70.0)) < 0.014
        p.colour *= np.clip(patches - 0.3 * cracks * p.detail, 0.25, 2.0)
    beside = np.abs(z - road.crossing) - road.crossing_half
    outside = beside > 0.8
    dash = np.ones_like(outside) if road.solid_line else np.mod(z, 7.0) < 3.5
    marks = outside & (np.abs(s) < 0.085) & dash & (beside > 5.5)
    edge = np.abs(np.abs(s) - (road.travel if road.parking else road.half_width - 0.35))
    dotted = np.mod(z, 6.0) < (0.5 if road.parking else 9.0)
    marks |= outside & (edge < 0.06) & (beside > 5.5)
    if road.parking:
        marks |= outside & (beside > 5.5) & dotted & (np.mod(z, 6.0) < 0.12) & (np.abs(s) > road.travel)
    if road.zebra:
        marks |= between(beside, 1.2, 4.2) & (np.mod(s, 1.0) < 0.5) & (np.abs(s) < road.half_width - 0.2)
        marks |= between(beside, 4.9, 5.3) & (s * (road.crossing - z) > 0) & (np.abs(s) < road.travel)
    if p.detail is None:
        p.paint(marks, (0.98, 0.98, 0.98))
    else:
        worn = marks & (p.cloud(60.0, 11.0) + 0.6 * p.cloud(12.0, 5.0) < 0.42)
        p.paint(worn, (0.80, 0.78, 0.72), 0.75)


def paint_pavement(p: Pixels) -> None:
    slab_u, slab_v = np.floor(p.u / 0.9), np.floor(p.v / 0.9)
    joint = (np.mod(p.u, 0.9) < 0.05) | (np.mod(p.v, 0.9) < 0.07)
    kerb = np.abs(np.abs(p.u) - p.road.half_width - 0.09) < 0.1
    if p.detail is None:
        p.colour *= np.where(joint, np.float32(0.86), np.float32(1.0))
        p.paint(kerb, (0.86, 0.86, 0.88), 0.7)
        return
    tone = (
        0.85 + 0.3 * cell_noise(slab_u, slab_v, 1.0) * p.detail + 0.22 * p.cloud(7.0) + 0.25 * p.grains(50.0)
    )
    p.colour *= np.clip(tone - 0.4 * joint * p.detail, 0.3, 1.7)
    p.paint(kerb, (0.62, 0.62, 0.60), 0.5)


def paint_kerb(p: Pixels) -> None:
    if p.detail is not None:
        p.colour *= 1 + 0.3 * p.cloud(25.0)


def paint_facade(p: Pixels) -> None:
    floor, pitch, width, height, ground, kind, seed, total = p.parameters(8)
    above = p.v - ground
    storey = np.floor(above / floor)
    column = np.floor(p.u / pitch)
    x = np.abs(p.u - (column + 0.5) * pitch)
    y = above - storey * floor - 0.95
    low = above < 0
    y = np.where(low, p.v - 0.9, y)
    if p.detail is not None:
        _weather_wall(p, seed, total)
    chance = cell_noise(column, storey, seed)
    inside = p.v < total - 0.5
    blank = (kind == 2) & (chance < 0.75)
    window = (
        (x < 0.5 * width)
        & (y > 0)
        & (y < np.minimum(height, floor - 1.2))
        & inside
        & ~blank
        & ~(low & (kind == 1))
    )
    frame = (
        (x < 0.5 * width + 0.14) & between(y, -0.16, np.minimum(height, floor - 1.2) + 0.14) & inside & ~blank
    )
    frame &= ~window & ~(low & (kind == 1))
    p.paint(frame, (0.93, 0.93, 0.90), 0.8)
    shop = low & (kind == 1) & between(p.v, 0.45, 2.65) & (x < 0.5 * pitch - 0.12)
    door = low & (kind == 0) & (chance > 0.62) & (x < 0.55) & (p.v < 2.15)
    bars = window & ((x < 0.05) | (np.abs(y - 0.62 * height) < 0.05))
    window &= ~bars & ~door
    p.paint(bars, (0.93, 0.93, 0.90), 0.8)
    cornice = (p.v > total - 0.35) | (np.abs(above + 0.1) < 0.14)
    p.paint(cornice & (kind != 2), (0.95, 0.93, 0.88), 0.45)
    p.paint(door & (seed > 50), (0.42, 0.24, 0.14))
    p.paint(door & (seed <= 50), (0.16, 0.30, 0.34))
    _glaze(p, window | shop, chance, y, shop)


def _weather_wall(p: Pixels, seed: Floats, total: Floats) -> None:
    """Bricks on some houses, stained plaster on others."""
    assert p.detail is not None
    course = np.floor(p.v / 0.16)
    brick = np.floor((p.u + 0.24 * np.mod(course, 2)) / 0.48)
    joint = (np.mod(p.v, 0.16) < 0.035) | (np.mod(p.u + 0.24 * np.mod(course, 2), 0.48) < 0.045)
    bricks = np.mod(seed, 2) == 0
    tone = np.where(
        bricks, 0.62 + 0.75 * cell_noise(brick, course, 2.0), np.float32(1) + 0.28 * p.cloud(70.0, 3.0)
    )
    tone = 1 + (tone - 1) * p.detail + 0.24 * p.cloud(6.0, 9.0)
    # Damp at the ground, and soot below the eaves.
    tone -= 0.25 * np.exp(-p.v) + 0.2 * np.exp((p.v - total) * 0.8) * (1 + p.cloud(30.0))
    p.colour *= np.clip(tone, 0.25, 1.8)
    p.paint(bricks & joint, (0.66, 0.63, 0.58), 0.35)


def _glaze(
    p: Pixels, panes: NDArray[np.bool_], chance: Floats, height: Floats, shop: NDArray[np.bool_]
) -> None:
    """Window panes: plain blue in the simulator; curtains, reflected sky and lit rooms in the camera."""
    if p.detail is None:
        p.paint(panes, (0.24, 0.40, 0.58))
        return
    chosen = np.flatnonzero(panes)
    mirrored = 0.03 + 0.13 * np.clip(height[chosen] * 0.5 + p.cloud(11.0)[chosen], 0, 1)
    p.colour[:, chosen] = mirrored * np.array([[0.85], [1.0], [1.15]], np.float32)
    curtain = panes & (np.mod(chance * 17, 1) > 0.6) & (height > 0.5)
    p.paint(curtain, (0.72, 0.68, 0.60), 0.7)
    lit = panes & (chance * (1 + 0.8 * shop) > 1.02 - 0.5 * p.night) & (p.night > 0.1)
    p.paint(lit, (1.0, 0.80, 0.46))
    p.glow[np.flatnonzero(lit)] = 0.9 + 0.5 * p.cloud(40.0)[lit]


def paint_roof(p: Pixels) -> None:
    row = np.floor(p.v / 0.35)
    if p.detail is None:
        p.colour *= np.where(np.mod(row, 2) == 0, np.float32(1), np.float32(0.9))
        return
    tile = cell_noise(np.floor(p.u / 0.3), row, 4.0)
    p.colour *= np.clip(0.9 + (0.6 * tile - 0.3) * p.detail + 0.25 * p.cloud(8.0), 0.3, 1.6)


def paint_leaves(p: Pixels) -> None:
    shift, size = p.parameters(2)
    rise = p.v / size - 0.5
    if p.detail is None:
        p.colour *= 1 + 0.5 * rise
        return
    leaf = look_up(fractal(), p.u * 90 + shift, p.v * 90)
    clumps = look_up(fractal(), p.u * 28 + shift, p.v * 28 + shift * 3)
    tone = 0.95 + 0.9 * rise + 0.75 * leaf * (0.35 + 0.65 * p.detail) + 0.55 * clumps
    p.colour *= np.clip(tone, 0.12, 2.2)


def paint_bark(p: Pixels) -> None:
    round_off(p)
    if p.detail is not None:
        p.colour *= 1 + 0.5 * look_up(fractal(), p.u * 26, p.v * 60)


def paint_planks(p: Pixels) -> None:
    gap = np.mod(p.u, 0.22) < 0.035
    rail = (np.abs(p.v - 0.35) < 0.06) | (np.abs(p.v - p.parameters(1)[0] + 0.3) < 0.06)
    if p.detail is not None:
        board = cell_noise(np.floor(p.u / 0.22), np.zeros_like(p.u), 5.0)
        p.colour *= 0.7 + 0.5 * board * p.detail + 0.25 * look_up(fractal(), p.u * 190, p.v * 14)
    p.colour *= np.where(gap, np.float32(0.3), np.where(rail, np.float32(0.8), np.float32(1)))


def paint_brick(p: Pixels) -> None:
    course = np.floor(p.v / 0.12)
    shifted = p.u + 0.15 * np.mod(course, 2)
    joint = (np.mod(p.v, 0.12) < 0.022) | (np.mod(shifted, 0.3) < 0.025)
    if p.detail is None:
        p.paint(joint, (0.80, 0.72, 0.66), 0.5)
        return
    p.colour *= 0.7 + 0.6 * cell_noise(np.floor(shifted / 0.3), course, 6.0) * p.detail + 0.3 * p.cloud(12.0)
    p.paint(joint, (0.60, 0.56, 0.52), 0.5)
