"""The two looks of a street: a simulator's frame buffer, and a real camera's lens, sensor and compression."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.light import camera_light, simulator_light
from stylebridge.data.toy.noise import Floats
from stylebridge.data.toy.paint import Surfaces
from stylebridge.data.toy.raster import Hits
from stylebridge.data.toy.surfaces import Scene
from stylebridge.data.toy.weather import Weather, draw_weather


def simulator_look(scene: Scene, hits: Hits, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The clean picture [H, W, 3]. ``hits`` have twice the ``size`` (width, height)."""
    double = (2 * size[0], 2 * size[1])
    return _to_bytes(np.sqrt(_halve(simulator_light(scene, Surfaces.of(scene), hits, double))))


def camera_look(scene: Scene, hits: Hits, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture [H, W, 3] of a camera; time of day, weather and camera settings depend on the scene's seed."""
    weather = draw_weather(scene.seed)
    double = (2 * size[0], 2 * size[1])
    rng = np.random.default_rng([scene.seed, 2, *size])
    light = _halve(camera_light(scene, Surfaces.of(scene), hits, double, weather))
    light = _lens(light, weather)
    image = _develop(light, weather)
    return _to_bytes(_compress(_sensor_noise(image, weather, rng), 0.03))


def _halve(image: Floats) -> Floats:
    """Mean of each 2×2 block of [3, 2H, 2W]."""
    rows = image[:, ::2] + image[:, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)


def _to_bytes(image: Floats) -> NDArray[np.uint8]:
    scaled = np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))


def _smooth(image: Floats, sigma: float) -> Floats:
    """Gaussian blur of [3, H, W] along rows and columns, with repeated border."""
    reach = max(1, int(np.ceil(2.5 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded = np.pad(image, pad, mode="edge")
        length = image.shape[axis]
        spans = [
            padded[:, k : k + length] if axis == 1 else padded[:, :, k : k + length]
            for k in range(2 * reach + 1)
        ]
        image = weights[0] * spans[0]
        for weight, span in zip(weights[1:], spans[1:], strict=True):
            image += weight * span
    return image


def _lens(light: Floats, weather: Weather) -> Floats:
    """Blur, bloom around lights, colour fringes towards the corners, vignette."""
    _, height, width = light.shape
    unit = width / 240
    light = np.minimum(light, 6.0)
    bright = np.maximum(light - 0.9 * max(weather.brightness, 0.35), 0)
    small = bright[:, : height // 4 * 4, : width // 4 * 4]
    small = small.reshape(3, height // 4, 4, width // 4, 4).mean((2, 4))
    halo = _smooth(_smooth(small, 1.2 * unit + 0.3), 2.0 * unit + 0.3).repeat(4, 1).repeat(4, 2)
    light = _smooth(light, max(0.2, weather.blur * unit))
    halo = _smooth(halo, 1.5)
    light[:, : halo.shape[1], : halo.shape[2]] += 0.45 * halo
    for channel, stretch in ((0, 1.004), (2, 0.996)):
        rows, columns = _stretched(height, stretch), _stretched(width, stretch)
        light[channel] = light[channel][rows][:, columns]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return light * (1 - 0.22 * (x * x + y * y) / 1.4)


@lru_cache(maxsize=32)
def _stretched(length: int, factor: float) -> NDArray[np.intp]:
    """The source index of each of ``length`` samples when stretched about the middle."""
    middle = (length - 1) / 2
    places = np.round((np.arange(length) - middle) * factor + middle)
    return np.clip(places, 0, length - 1).astype(np.intp)


def _develop(light: Floats, weather: Weather) -> Floats:
    """Imperfect automatic exposure, white balance, gamma, soft highlights, contrast: display values."""
    gain = np.float32(weather.exposure * (0.23 / (float(light.mean()) + 0.03)) ** 0.8)
    light = light * (gain * np.array(weather.cast, np.float32)[:, None, None])
    shown = np.maximum(1 - np.exp(np.float32(-1.7) * light), 1e-5) ** np.float32(0.5 * weather.gamma)
    return shown + np.float32(weather.contrast) * shown * (1 - shown) * (2 * shown - 0.95)


def _sensor_noise(image: Floats, weather: Weather, rng: np.random.Generator) -> Floats:
    """Photon noise, stronger in dark areas, and coarser colour noise."""
    _, height, width = image.shape
    fine = rng.standard_normal(image.shape, np.float32)
    blotches = rng.standard_normal((3, height // 2 + 1, width // 2 + 1), np.float32)
    blotches = blotches.repeat(2, 1).repeat(2, 2)[:, :height, :width]
    strength = np.float32(weather.noise * (1 + 0.8 * weather.night)) * (1.3 - 0.6 * np.clip(image, 0, 1))
    return image + strength * (fine + 0.5 * blotches)


@lru_cache(maxsize=1)
def _cosines() -> Floats:
    """The orthonormal 8-point cosine transform [8, 8] (DCT-II)."""
    k, n = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) * np.sqrt(2 / 8)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def _compress(image: Floats, coarseness: float) -> Floats:
    """JPEG artefacts: half the colour resolution, and quantised frequencies in 8×8 blocks."""
    _, height, width = image.shape
    pad_y, pad_x = -height % 16, -width % 16
    padded = np.pad(image, ((0, 0), (0, pad_y), (0, pad_x)), mode="edge")
    luma = 0.299 * padded[0] + 0.587 * padded[1] + 0.114 * padded[2]
    blue, red = padded[2] - luma, padded[0] - luma
    luma = _round_blocks(luma, coarseness)
    chroma = _halve(np.stack([red, blue]))
    red, blue = (_round_blocks(c, 1.5 * coarseness).repeat(2, 0).repeat(2, 1) for c in chroma)
    green = luma - (0.299 * red + 0.114 * blue) / 0.587
    return np.stack([luma + red, green, luma + blue])[:, :height, :width]


def _round_blocks(plane: Floats, coarseness: float) -> Floats:
    height, width = plane.shape
    basis = _cosines()
    blocks = plane.reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    steps = coarseness * (1 + 0.35 * np.add.outer(np.arange(8), np.arange(8))).astype(np.float32)
    rounded = np.round(basis @ blocks @ basis.T / steps) * steps
    return (basis.T @ rounded @ basis).transpose(0, 2, 1, 3).reshape(height, width)
