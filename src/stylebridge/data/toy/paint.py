"""The colours of all surfaces: one painter for each material."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.noise import Floats
from stylebridge.data.toy.object_paint import (
    paint_awning,
    paint_cabin,
    paint_car_front,
    paint_car_rear,
    paint_car_side,
    paint_cloth,
    paint_lamp,
    paint_plain,
    paint_sign,
    paint_traffic_light,
    paint_wheel,
)
from stylebridge.data.toy.pixels import Pixels
from stylebridge.data.toy.raster import Hits
from stylebridge.data.toy.street_paint import (
    paint_bark,
    paint_brick,
    paint_facade,
    paint_kerb,
    paint_leaves,
    paint_pavement,
    paint_planks,
    paint_road,
    paint_roof,
)
from stylebridge.data.toy.surfaces import GROUND_IDS, PARAMETERS, Material, Scene
from stylebridge.data.toy.weather import Weather

PAINTERS: dict[Material, Callable[[Pixels], None]] = {
    Material.ROAD: paint_road,
    Material.PAVEMENT: paint_pavement,
    Material.KERB: paint_kerb,
    Material.PLAIN: paint_plain,
    Material.FACADE: paint_facade,
    Material.ROOF: paint_roof,
    Material.LEAVES: paint_leaves,
    Material.BARK: paint_bark,
    Material.PLANKS: paint_planks,
    Material.BRICK: paint_brick,
    Material.SIGN: paint_sign,
    Material.TRAFFIC_LIGHT: paint_traffic_light,
    Material.CAR_SIDE: paint_car_side,
    Material.CAR_FRONT: paint_car_front,
    Material.CAR_REAR: paint_car_rear,
    Material.CABIN: paint_cabin,
    Material.WHEEL: paint_wheel,
    Material.LAMP: paint_lamp,
    Material.CLOTH: paint_cloth,
    Material.AWNING: paint_awning,
}

_ROAD, _PAVEMENT, _KERB = (0.40, 0.41, 0.46), (0.74, 0.68, 0.66), (0.80, 0.80, 0.82)


@dataclass
class Surfaces:
    """The properties of a scene's surfaces, as arrays over the surface ids."""

    material: NDArray[np.uint8]
    colour: Floats  # [3, N], linear light
    parameters: Floats  # [8, N]
    normal: Floats  # [3, N], outwards; 0 for round surfaces
    distance: Floats  # [N], metres from the camera to the surface's plane; large for round surfaces

    @classmethod
    def of(cls, scene: Scene) -> "Surfaces":
        patches, capsules = scene.patches, scene.capsules
        ground = [Material.SKY, Material.ROAD, Material.PAVEMENT, Material.KERB]
        material = ground + [p[5] for p in patches] + [c[4] for c in capsules]
        colour = (
            [(0.0, 0.0, 0.0), _ROAD, _PAVEMENT, _KERB] + [p[6] for p in patches] + [c[5] for c in capsules]
        )
        parameters = np.zeros((PARAMETERS, len(material)), np.float32)
        normal = np.zeros((3, len(material)), np.float32)
        normal[1, 1:3] = 1
        distance = np.full(len(material), 1e3, np.float32)
        distance[:GROUND_IDS] = scene.camera.height
        if patches:
            span = slice(GROUND_IDS, GROUND_IDS + len(patches))
            parameters[:, span] = np.array([p[7] for p in patches]).T
            normal[:, span] = -np.cross([p[1] for p in patches], [p[2] for p in patches]).T
            to_camera = np.array([p[0] for p in patches]).T - scene.camera.position[:, None]
            distance[span] = np.abs((normal[:, span] * to_camera).sum(0))
        normal[:, np.array(material) == Material.LEAVES] = 0
        squared = np.square(np.array(colour, np.float32).T)
        return cls(np.array(material, np.uint8), squared, parameters, normal, distance)


def paint(
    scene: Scene, surfaces: Surfaces, hits: Hits, focal: float, weather: Weather | None = None
) -> tuple[Floats, Floats]:
    """The colour [3, H, W] of all surfaces, and their emission [H, W]; 0 in the sky.

    With ``weather`` surfaces are textured and slightly faded; without, they have the simulator's flat colours.
    """
    height, width = hits.label.shape
    surface = hits.surface.reshape(-1)
    colour = np.zeros((3, height * width), np.float32)
    glow = np.zeros(height * width, np.float32)
    saturation = weather.saturation if weather else 1.0
    grey = surfaces.colour.mean(0)
    faded = grey + np.float32(saturation) * (surfaces.colour - grey)
    if weather:
        faded[:, surfaces.material == Material.LEAVES] *= np.array(weather.season, np.float32)[:, None]
    material = surfaces.material[surface]
    u, v, q = hits.u.reshape(-1), hits.v.reshape(-1), hits.inverse_depth.reshape(-1)
    order = np.argsort(material, kind="stable")
    bounds = np.searchsorted(material[order], np.arange(len(Material) + 1))
    for kind, painter in PAINTERS.items():
        chosen = order[bounds[kind] : bounds[kind + 1]]
        if not len(chosen):
            continue
        ids = surface[chosen]
        detail = None
        if weather:
            # Pixels per metre, fewer on a slanted surface: with too few, fine texture disappears.
            slant = np.sqrt(np.minimum(surfaces.distance[ids] * q[chosen], 1))
            detail = np.minimum(q[chosen] * slant * np.float32(focal / 36.0), 1)
        pixels = Pixels(
            u[chosen],
            v[chosen],
            np.take(faded, ids, axis=1),
            ids,
            surfaces.parameters,
            detail,
            np.zeros(len(chosen), np.float32),
            weather.night if weather else 0.0,
            saturation,
            scene.road,
        )
        painter(pixels)
        for plane, values in zip(colour, pixels.colour, strict=True):
            plane[chosen] = values
        if weather:
            glow[chosen] = pixels.glow
    return colour.reshape(3, height, width), glow.reshape(height, width)
