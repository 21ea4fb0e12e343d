"""Light and atmosphere: the light from each surface at the camera, for both looks."""

from collections.abc import Callable

import numpy as np

from stylebridge.data.toy.noise import Floats, fractal, look_up_smoothly
from stylebridge.data.toy.paint import Surfaces, paint
from stylebridge.data.toy.raster import Hits
from stylebridge.data.toy.surfaces import GROUND_IDS, Label, Scene
from stylebridge.data.toy.weather import Weather


def world_points(
    scene: Scene, hits: Hits, size: tuple[int, int], step: int = 1
) -> tuple[Floats, Floats, Floats]:
    """World coordinates (x, y, z), each [H, W], of the hits of every ``step``-th ray; far away for the sky."""
    xs, ys = scene.camera.ray_grid(size)
    xs, ys = xs[None, ::step], ys[::step, None]
    axes = scene.camera.axes.astype(np.float32)
    depth = 1 / np.maximum(hits.inverse_depth[::step, ::step], np.float32(1e-4))
    x, y, z = (depth * (axes[2, k] + xs * axes[0, k] + ys * axes[1, k]) for k in range(3))
    return x + np.float32(scene.camera.x), y + np.float32(scene.camera.height), z


def contact_shadows(
    scene: Scene, hits: Hits, size: tuple[int, int], throw: tuple[float, float], strength: float
) -> Floats:
    """The share of light [H/2, W/2] on the ground under the soft shadows of objects.

    ``throw``: length of shadows along X and Z, in metres per metre of height.
    """
    u, v, surface = hits.u[::2, ::2], hits.v[::2, ::2], hits.surface[::2, ::2]
    on_ground = (surface > 0) & (surface < GROUND_IDS)
    height, width = u.shape
    left = np.ones((height, width), np.float32)
    half = (width, height)
    for blob in scene.blobs:
        shift = np.array(throw) * blob.height
        long = blob.half_length + 0.5 * float(np.hypot(*shift))
        x, z = blob.x + 0.5 * float(shift[0]), blob.z + 0.5 * float(shift[1])
        reach = max(long, blob.half_width) + abs(float(shift[0]))
        area = _ground_window(scene, x, z, reach, half)
        if area is None:
            continue
        ahead = v[area] - np.float32(z)
        aside = u[area] + np.float32(0.5 * scene.road.curvature) * v[area] ** 2 - np.float32(x)
        sin, cos = np.float32(np.sin(blob.heading)), np.float32(np.cos(blob.heading))
        forward, right = aside * sin + ahead * cos, aside * cos - ahead * sin
        distance = (forward / long) ** 2 + (right / (blob.half_width + 0.3 * abs(shift[0]))) ** 2
        dark = np.clip(1.3 - 1.3 * distance, 0, 1) * np.float32(blob.strength * strength)
        left[area] *= 1 - dark * on_ground[area]
    return left


def _ground_window(
    scene: Scene, x: float, z: float, reach: float, size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """The part of an image with the ground within ``reach`` metres of (x, z); None if not visible."""
    if z > 60 or z < -reach:
        return None
    corners = [[x + a, 0, max(z + b, 1.0)] for a in (-reach, reach) for b in (-reach, reach)]
    columns, rows, depths = scene.camera.project(corners, size).T
    if depths.min() < 0.3:
        return None
    left, right = (int(np.clip(edge, 0, size[0])) for edge in (columns.min(), columns.max() + 1))
    top, bottom = (int(np.clip(edge, 0, size[1])) for edge in (rows.min(), rows.max() + 1))
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def sunlit(scene: Scene, weather: Weather, x: Floats, y: Floats, z: Floats) -> Floats:
    """The share of sunlight (0..1) that reaches points past the row of houses on its side."""
    sun = weather.sun
    side = 1 if sun[0] > 0 else -1
    heights = np.zeros(200, np.float32)
    for row_side, first, last, height in scene.rows:
        if row_side == side:
            heights[max(0, int(first) + 30) : max(0, int(last) + 30)] = height
    edge = side * (scene.road.half_width + scene.road.pavement)
    offset = x - np.float32(0.5 * scene.road.curvature) * z * z
    away = np.maximum((edge - offset) / np.float32(sun[0]), 0)
    meets = np.clip(z + away * np.float32(sun[2]) + 30, 0, 199).astype(np.int32)
    return np.clip((y + away * np.float32(sun[1]) - heights[meets]) * np.float32(0.7) + 0.5, 0, 1)


def _doubled(image: Floats) -> Floats:
    return image.repeat(2, -2).repeat(2, -1)


def _fill_sky(image: Floats, hits: Hits, sky: Callable[[int], Floats]) -> None:
    """Put ``sky(rows)`` [3, rows, W] into the sky; ``rows`` (even) extend to its lowest pixel."""
    is_sky = hits.label == Label.SKY
    shown = np.flatnonzero(is_sky.any(1))
    if len(shown):
        rows = int(shown[-1]) // 2 * 2 + 2
        np.copyto(image[:, :rows], sky(rows), where=is_sky[:rows])


def simulator_light(scene: Scene, surfaces: Surfaces, hits: Hits, size: tuple[int, int]) -> Floats:
    """The simulator's picture [3, H, W], linear: flat noon light, a plain blue sky."""
    image, _ = paint(scene, surfaces, hits, scene.camera.focal(size[0]))
    normal = surfaces.normal
    lambert = (0.80 + 0.22 * normal[1] - 0.10 * normal[0] - 0.06 * normal[2]) ** 2
    image *= lambert[hits.surface] * _doubled(contact_shadows(scene, hits, size, (0.0, 0.0), 0.75))

    def sky(rows: int) -> Floats:
        xs, ys = scene.camera.ray_grid(size)
        xs, ys = xs[::2], ys[:rows:2]
        rise = np.clip(ys * 1.5 + 0.1, 0, 1)[:, None]
        tone = np.stack(
            [low + (high - low) * rise for low, high in ((0.66, 0.22), (0.86, 0.55), (1.0, 0.98))]
        )
        wisps = _wisps(scene, xs, ys, (50, 130))
        white = (wisps > 0.45) * np.float32(0.35) + (wisps > 0.62) * np.float32(0.35)
        return _doubled(np.square(tone + white * (1 - tone)))

    _fill_sky(image, hits, sky)
    return image


def _wisps(scene: Scene, xs: Floats, ys: Floats, scale: tuple[float, float]) -> Floats:
    """Cloudy noise [H, W] over the sky, different for each seed."""
    rng = np.random.default_rng([scene.seed, 3])
    shift = rng.uniform(256, 512, 2).astype(np.float32)
    across, up = np.broadcast_arrays(xs[None] * scale[0] + shift[0], ys[:, None] * scale[1] + shift[1])
    return look_up_smoothly(fractal(), across, up)


def camera_light(
    scene: Scene, surfaces: Surfaces, hits: Hits, size: tuple[int, int], weather: Weather
) -> Floats:
    """The light [3, H, W] that reaches the lens of the real camera, linear, white near 1."""
    image, glow = paint(scene, surfaces, hits, scene.camera.focal(size[0]), weather)
    light = _coarse_light(scene, surfaces, hits, size, weather)
    light *= contact_shadows(scene, hits, size, weather.throw, weather.contact)
    haze = np.exp(-weather.fog / np.maximum(hits.inverse_depth, np.float32(1e-3)))
    veil = 1 - haze
    for plane, received, tint in zip(image, light, weather.fog_colour, strict=True):
        plane *= (_doubled(received) + glow) * haze
        plane += np.float32(tint) * veil
    _fill_sky(image, hits, lambda rows: _sky(scene, weather, size, rows))
    return image


def _coarse_light(
    scene: Scene, surfaces: Surfaces, hits: Hits, size: tuple[int, int], weather: Weather
) -> Floats:
    """Light of sun, sky, street lamps and the car's headlights [3, H/2, W/2]: for every second pixel."""
    x, y, z = world_points(scene, hits, size, 2)
    surface = hits.surface[::2, ::2]
    normal = surfaces.normal
    round_ones = (normal**2).sum(0) < 0.5
    facing = np.clip(weather.sun @ normal, 0, 1)
    facing[round_ones] = 0.55
    ambient = 0.72 + 0.28 * normal[1]
    sun = facing[surface] * sunlit(scene, weather, x, y, z)
    near_ground = np.where(surfaces.normal[1][surface] > 0.5, 1.0, 0.72 + 0.28 * np.clip(y * 0.4, 0, 1))
    sky = ambient[surface] * near_ground.astype(np.float32)
    light = np.stack([sky * s + sun * d for s, d in zip(weather.sky_light, weather.sun_light, strict=True)])
    if weather.lamp_strength > 0:
        pool = np.zeros_like(x)
        for lamp in scene.lamps[:10]:
            squared = (
                (x - np.float32(lamp[0])) ** 2
                + (y - np.float32(lamp[1])) ** 2
                + (z - np.float32(lamp[2])) ** 2
            )
            pool += 60.0 / (12.0 + squared) ** 1.25
        light += (
            np.float32(weather.lamp_strength)
            * pool
            * np.array(weather.lamp_colour, np.float32)[:, None, None]
        )
    if weather.headlights > 0:
        spread = np.exp(-(((x - np.float32(scene.camera.x)) / (1.0 + 0.16 * z)) ** 2) - np.clip(y, 0, 9) ** 2)
        beam = np.float32(weather.headlights) * spread * np.clip(z / 5, 0, 1) * np.exp(-z / 14)
        light += beam * np.array([1.0, 0.95, 0.8], np.float32)[:, None, None]
    return light


def _sky(scene: Scene, weather: Weather, size: tuple[int, int], rows: int) -> Floats:
    xs, ys = scene.camera.ray_grid(size)
    xs, ys = xs[::2], ys[:rows:2]
    rise = np.clip(ys * 1.3 + 0.15, 0, 1)[:, None] ** 0.7
    wisps = _wisps(scene, xs, ys, (45, 120))
    cloud = np.clip(0.5 + wisps, 0, 1) * np.float32(weather.clouds)
    low, high, tint = (
        np.array(c, np.float32)[:, None, None]
        for c in (weather.horizon, weather.zenith, weather.cloud_colour)
    )
    clear = low + (high - low) * rise
    return _doubled(clear + cloud * (tint - clear))
