"""Build a street from a seed: the road, buildings and furniture, cars and people."""

import numpy as np

from stylebridge.data.toy.buildings import add_far_end, add_fence, add_house
from stylebridge.data.toy.camera import PinholeCamera
from stylebridge.data.toy.furniture import (
    SignFace,
    add_bollards,
    add_hedge,
    add_lamp_post,
    add_sign,
    add_traffic_light,
    add_tree,
)
from stylebridge.data.toy.road import KERB_HEIGHT, Road
from stylebridge.data.toy.surfaces import Frame, Scene, street_frame
from stylebridge.data.toy.traffic import add_bicyclist, add_car, add_pedestrian

_FAR = 120.0


def build_scene(seed: int) -> Scene:
    """The street of a seed, the same for every look and size."""
    rng = np.random.default_rng([seed, 0])
    road = _lay_road(rng)
    camera = PinholeCamera(
        x=0.5 * road.travel + float(rng.uniform(-0.5, 0.5)),
        height=float(rng.uniform(1.35, 1.9)),
        yaw=float(rng.normal(0, 0.045)) - 0.03 + 4.0 * road.curvature,
        pitch=float(rng.uniform(-0.02, 0.07)),
        field_of_view=float(np.radians(rng.uniform(54, 66))),
    )
    scene = Scene(seed, camera, road)
    for side in (-1, 1):
        _build_side(scene, rng, side)
        _furnish_side(scene, rng, side)
    add_far_end(scene, rng, _FAR + float(rng.uniform(5, 40)))
    _place_signs(scene, rng)
    _place_cars(scene, rng)
    _place_people(scene, rng)
    return scene


def _lay_road(rng: np.random.Generator) -> Road:
    parking = 2.1 if rng.random() < 0.5 else 0.0
    return Road(
        half_width=float(rng.uniform(3.0, 3.9)) + parking,
        parking=parking,
        pavement=float(rng.uniform(2.0, 3.8)),
        curvature=float(rng.normal(0, 0.0016)) if rng.random() < 0.5 else 0.0,
        crossing=float(rng.uniform(22, 75)),
        crossing_half=float(rng.uniform(3.5, 5.5)),
        zebra=bool(rng.random() < 0.6),
        solid_line=bool(rng.random() < 0.3),
    )


def _on_pavement(scene: Scene, side: int, inwards: float, z: float, turn: float = 0.0) -> Frame:
    """A frame ``inwards`` metres behind the kerb."""
    return street_frame(scene.road, side * (scene.road.half_width + inwards), z, turn, KERB_HEIGHT)


def _build_side(scene: Scene, rng: np.random.Generator, side: int) -> None:
    """A row of houses, gardens and gaps, from beside the camera to far away."""
    road = scene.road
    z = float(rng.uniform(-8, 0))
    urban = rng.random()
    base = float(rng.uniform(6, 13))
    corner = road.crossing - road.crossing_half - road.pavement
    while z < _FAR:
        length = float(rng.uniform(7, 16))
        if z < road.crossing and z + length > corner - 4:
            length = corner - z
        if length < 4:
            z = road.crossing + road.crossing_half + road.pavement
            continue
        middle = z + length / 2
        height = float(np.clip(base + rng.normal(0, 2.5), 5.5, 24))
        if rng.random() < 0.35 + 0.4 * urban:
            add_house(scene, rng, _on_pavement(scene, side, road.pavement, middle), side, length, height)
        else:
            _add_garden(scene, rng, side, middle, length, height)
        z += length


def _add_garden(
    scene: Scene, rng: np.random.Generator, side: int, middle: float, length: float, height: float
) -> None:
    """A fence at the pavement with greenery behind it, and sometimes a house set back."""
    edge = scene.road.pavement
    add_fence(scene, rng, _on_pavement(scene, side, edge, middle), side, length)
    if rng.random() < 0.45:
        add_hedge(
            scene, rng, _on_pavement(scene, side, edge + 1.2, middle), length, float(rng.uniform(1.2, 2.0))
        )
    for _ in range(int(rng.integers(1, 3)) if middle < 80 else 1):
        place = _on_pavement(
            scene, side, edge + float(rng.uniform(2, 4)), middle + float(rng.uniform(-0.4, 0.4)) * length
        )
        add_tree(scene, rng, place, float(rng.uniform(4.5, 8.5)))
    if rng.random() < 0.7:
        add_house(scene, rng, _on_pavement(scene, side, edge + 6.5, middle), side, length * 0.8, 0.8 * height)


def _furnish_side(scene: Scene, rng: np.random.Generator, side: int) -> None:
    """Street trees, lamp posts and bollards behind the kerb, none in the side street."""
    road = scene.road

    def free(z: float) -> bool:
        return abs(z - road.crossing) > road.crossing_half + 1.5

    step = float(rng.uniform(14, 24))
    for z in np.arange(float(rng.uniform(7, 13)), 62, step):
        place = _on_pavement(scene, side, 0.5, float(z))
        if free(z) and scene.claim(place, 0.4):
            add_lamp_post(scene, rng, place, side)
    if rng.random() < 0.5:
        step, height = float(rng.uniform(8, 14)), float(rng.uniform(5, 9))
        for z in np.arange(float(rng.uniform(8, 18)), 90, step):
            place = _on_pavement(scene, side, 0.8, float(z) + 2)
            if free(z) and scene.claim(place, 0.8):
                add_tree(scene, rng, place, height * float(rng.uniform(0.85, 1.15)))
    if rng.random() < 0.35:
        start = float(rng.uniform(6, 20))
        places = [
            _on_pavement(scene, side, 0.35, float(z)) for z in np.arange(start, start + 12, 1.8) if free(z)
        ]
        add_bollards(scene, rng, [place for place in places if scene.claim(place, 0.3)])


def _place_signs(scene: Scene, rng: np.random.Generator) -> None:
    road = scene.road
    before = road.crossing - road.crossing_half - 1.5
    if rng.random() < 0.5:
        for side in (-1, 1):
            place = _on_pavement(scene, side, 0.5, before)
            if scene.claim(place, 0.5):
                add_traffic_light(scene, rng, place)
    for side, low, high, chance in ((1, 8, 15, 0.92), (-1, 10, 20, 0.8), (1, 16, 32, 0.7), (-1, 20, 45, 0.5)):
        for _ in range(3 if rng.random() < chance else 0):
            place = _on_pavement(
                scene, side, 0.45, float(rng.uniform(low, high)), float(rng.uniform(-0.2, 0.2))
            )
            if scene.claim(place, 0.8):
                add_sign(scene, rng, place, SignFace.GUIDE if rng.random() < 0.3 else None)
                break


def _place_cars(scene: Scene, rng: np.random.Generator) -> None:
    road = scene.road

    def place_car(offset: float, z: float, turn: float, lights_on: bool) -> None:
        place = street_frame(road, offset, z, turn)
        if scene.claim(place, 0.9, 1.6):
            add_car(scene, rng, place, lights_on)

    if road.parking:
        for side in (-1, 1):
            chance = float(rng.uniform(0.1, 0.75))
            for z in np.arange(float(rng.uniform(4, 9)), 85, 6.0):
                if rng.random() < chance and abs(z - road.crossing) > road.crossing_half + 5:
                    turn = 0.0 if side > 0 or rng.random() < 0.3 else np.pi
                    place_car(side * (road.half_width - 1.05), float(z), turn, False)
    for offset, turn, first in ((0.5, 0.0, rng.uniform(11, 32)), (-0.5, np.pi, rng.uniform(9, 30))):
        z = float(first)
        while z < 95:
            place_car(offset * road.travel, z, turn, True)
            z += float(rng.uniform(12, 45))


def _place_people(scene: Scene, rng: np.random.Generator) -> None:
    road = scene.road
    for _ in range(int(rng.integers(6, 13))):
        side = 1 if rng.random() < 0.55 else -1
        inwards = float(rng.uniform(0.7, road.pavement - 0.35))
        turn = float(rng.choice([0.0, np.pi]) + rng.normal(0, 0.5))
        near = 7.0 if side > 0 else 9.5
        place = _on_pavement(scene, side, inwards, near + float(rng.gamma(1.5, 4.5)), turn)
        if scene.claim(place, 0.35):
            add_pedestrian(scene, rng, place)
    if rng.random() < 0.3:
        place = street_frame(
            road, float(rng.uniform(-1, 1)) * road.half_width, float(rng.uniform(9, 20)), np.pi / 2
        )
        if scene.claim(place, 0.4):
            add_pedestrian(scene, rng, place)
    riders, wanted = 0, int(rng.choice([1, 2, 3]))
    for _ in range(8):
        place = _bicycle_place(scene, rng)
        if riders < wanted and scene.claim(place, 0.4, 0.6):
            add_bicyclist(scene, rng, place)
            riders += 1


def _bicycle_place(scene: Scene, rng: np.random.Generator) -> Frame:
    """A frame in the same lane, in the opposite lane, across the street, or on the pavement."""
    road, manner, z = scene.road, rng.random(), float(rng.uniform(6.5, 16))
    lane = road.travel - 0.7
    if manner < 0.4:
        return street_frame(road, lane, z, float(rng.normal(0, 0.15)))
    if manner < 0.6:
        return street_frame(road, -lane, z + 3, np.pi + float(rng.normal(0, 0.15)))
    if manner < 0.85:
        turn = float(rng.choice([-1, 1]) * (np.pi / 2 + rng.normal(0, 0.3)))
        return street_frame(road, float(rng.uniform(-0.8, 0.8)) * road.half_width, z, turn)
    return _on_pavement(scene, 1, 0.5 * road.pavement, z + 2, float(rng.choice([0, np.pi])))
