"""Houses, walls and fences along the street."""

import numpy as np

from stylebridge.data.toy.surfaces import UP, Colour, Frame, Label, Material, Scene, Shape

WALLS: tuple[Colour, ...] = (
    (0.86, 0.42, 0.30),
    (0.93, 0.76, 0.45),
    (0.80, 0.30, 0.26),
    (0.92, 0.88, 0.78),
    (0.62, 0.72, 0.84),
    (0.90, 0.60, 0.50),
    (0.66, 0.74, 0.55),
    (0.74, 0.70, 0.72),
    (0.55, 0.38, 0.34),
)
ROOFS: tuple[Colour, ...] = ((0.62, 0.24, 0.18), (0.36, 0.34, 0.40), (0.48, 0.30, 0.24))
SHOPS: tuple[Colour, ...] = (
    (0.10, 0.35, 0.75),
    (0.80, 0.12, 0.15),
    (0.08, 0.48, 0.28),
    (0.15, 0.15, 0.18),
    (0.90, 0.60, 0.10),
)
FENCES: tuple[Colour, ...] = ((0.58, 0.38, 0.20), (0.92, 0.92, 0.90), (0.28, 0.42, 0.30), (0.45, 0.30, 0.22))


def pick(rng: np.random.Generator, choices: tuple[Colour, ...], spread: float = 0.05) -> Colour:
    """One of the colours, slightly varied."""
    chosen = choices[int(rng.integers(len(choices)))]
    off = rng.uniform(-spread, spread, 3).tolist()
    red, green, blue = (
        min(max(value + change, 0.02), 0.98) for value, change in zip(chosen, off, strict=True)
    )
    return red, green, blue


def add_house(
    scene: Scene, rng: np.random.Generator, frame: Frame, side: int, length: float, height: float
) -> None:
    """A house of ``length`` metres along the street, with the middle of its front at ``frame``.

    ``side`` is +1 right of the street and -1 left of it.
    """
    depth = float(rng.uniform(9, 13))
    middle = frame.at(side * depth / 2, 0, 0)
    body = Frame(float(middle[0]), float(middle[2]), frame.heading)
    gabled = height < 14 and bool(rng.random() < 0.75)
    faces = scene.box_faces(body, length + 0.1, depth, height if gabled else height + 0.5)
    colour = pick(rng, WALLS)
    shop = bool(rng.random() < 0.4)
    floor = float(rng.uniform(2.9, 3.5))
    ground = float(rng.uniform(3.4, 4.1)) if shop else floor
    window = float(rng.uniform(0.9, 1.5))
    style = [
        floor,
        window + float(rng.uniform(0.7, 1.6)),
        window,
        float(rng.uniform(1.3, 1.9)),
        ground,
        1.0 if shop else 0.0,
        float(rng.integers(1, 99)),
        height,
    ]
    front = "left" if side > 0 else "right"
    scene.patch(*faces[front], Label.BUILDING, Material.FACADE, colour, style)
    blank = [floor, 4.5, 0.9, 1.3, 0.0, 2.0, style[6], height]
    for end in ("rear", "front"):
        scene.patch(*faces[end], Label.BUILDING, Material.FACADE, colour, blank)
    if shop:
        _add_shop_front(scene, rng, faces[front], ground)
    elif rng.random() < 0.3:
        _add_balconies(scene, rng, body, side, length, depth, height, floor)
    if gabled:
        _add_gable_roof(scene, rng, body, side, length, depth, height, colour)
    else:
        parapet = scene.box_faces(body, length + 0.1, depth + 0.3, 0.5, bottom=height)
        darker = (0.75 * colour[0], 0.75 * colour[1], 0.75 * colour[2])
        for face in (front, "rear", "front"):
            scene.patch(*parapet[face], Label.BUILDING, Material.PLAIN, darker)
    scene.rows.append((side, frame.z - length / 2, frame.z + length / 2, height + 1.5))


def _add_shop_front(scene: Scene, rng: np.random.Generator, face, ground: float) -> None:
    """A sign board over the shop windows, and sometimes a striped awning."""
    origin, across, upwards, (length, _) = face
    outward = -np.cross(across, upwards)
    colour = pick(rng, SHOPS)
    board = origin + 0.4 * across + (ground - 0.75) * UP + 0.12 * outward
    scene.patch(board, across, UP, (length - 0.8, 0.6), Label.BUILDING, Material.PLAIN, colour)
    if rng.random() < 0.6:
        fall = np.array([0.0, 0.7, 0.0]) - 1.2 * outward
        reach = float(np.linalg.norm(fall))
        start = origin + 0.6 * across + (ground - 1.3) * UP + 1.3 * outward
        scene.patch(
            start,
            across,
            fall / reach,
            (length - 1.2, reach),
            Label.BUILDING,
            Material.AWNING,
            colour,
            two_sided=True,
        )


def _add_balconies(
    scene: Scene, rng, body: Frame, side: int, length: float, depth: float, height: float, floor: float
):
    colour = pick(rng, ((0.9, 0.9, 0.9), (0.35, 0.4, 0.45)))
    bottom = 2 * floor - 0.3
    while bottom + 1.2 < height:
        for forward in (-length / 4, length / 4):
            middle = body.at(-side * (depth / 2 + 0.55), 0, forward)
            faces = scene.box_faces(
                Frame(float(middle[0]), float(middle[2]), body.heading), 2.4, 1.1, 1.0, bottom
            )
            for face in ("rear", "front", "left" if side > 0 else "right"):
                scene.patch(*faces[face], Label.BUILDING, Material.PLAIN, colour)
        bottom += floor


def _add_gable_roof(scene: Scene, rng, body: Frame, side, length, depth, height, wall: Colour) -> None:
    colour = pick(rng, ROOFS)
    rise = float(rng.uniform(2.0, 3.6))
    along_street = rng.random() < 0.65
    if along_street:
        slope = np.array([0, rise, 0]) + side * depth / 2 * body.right
        reach = float(np.linalg.norm(slope))
        eaves = body.at(-side * depth / 2, height, side * length / 2) - 0.06 * slope
        scene.patch(
            eaves,
            -side * body.forward,
            slope / reach,
            (length, 1.06 * reach),
            Label.BUILDING,
            Material.ROOF,
            colour,
        )
        ends = ((body.at(-depth / 2, height, -length / 2), body.right),)
        ends += ((body.at(depth / 2, height, length / 2), -body.right),)
        for origin, across in ends:
            scene.patch(
                origin, across, UP, (depth, rise), Label.BUILDING, Material.PLAIN, wall, shape=Shape.TRIANGLE
            )
    else:
        front = body.at(-side * depth / 2, height, side * length / 2)
        scene.patch(
            front,
            -side * body.forward,
            UP,
            (length, rise),
            Label.BUILDING,
            Material.PLAIN,
            wall,
            shape=Shape.TRIANGLE,
        )
        for end in (-1, 1):
            slope = np.array([0, rise, 0]) - end * length / 2 * body.forward
            reach = float(np.linalg.norm(slope))
            eaves = body.at(end * depth / 2, height, end * length / 2)
            scene.patch(
                eaves, -end * body.right, slope / reach, (depth, reach), Label.BUILDING, Material.ROOF, colour
            )
    if rng.random() < 0.6:
        stack = body.at(-side * depth * 0.15, 0, float(rng.uniform(-0.35, 0.35)) * length)
        faces = scene.box_faces(
            Frame(float(stack[0]), float(stack[2]), body.heading), 0.9, 0.7, rise + 0.8, height
        )
        for face in ("rear", "left", "right"):
            scene.patch(*faces[face], Label.BUILDING, Material.BRICK, (0.6, 0.3, 0.24))


def add_fence(scene: Scene, rng: np.random.Generator, frame: Frame, side: int, length: float) -> None:
    """A wooden fence, a low brick wall or a railing of ``length`` metres along the street."""
    kind = int(rng.integers(3))
    thickness = 0.3 if kind == 1 else 0.08
    height = (float(rng.uniform(1.2, 1.7)), float(rng.uniform(0.9, 1.2)), float(rng.uniform(1.0, 1.3)))[kind]
    faces = scene.box_faces(frame, length, thickness, height)
    front = "left" if side > 0 else "right"
    if kind == 2:
        scene.patch(
            *faces[front],
            Label.FENCE,
            Material.PLAIN,
            (0.16, 0.26, 0.24),
            shape=Shape.RAILING,
            two_sided=True,
        )
        return
    material = Material.PLANKS if kind == 0 else Material.BRICK
    colour = pick(rng, FENCES) if kind == 0 else (0.66, 0.36, 0.28)
    for face in (front, "rear"):
        scene.patch(*faces[face], Label.FENCE, material, colour, (height,))
    scene.patch(*faces["top"], Label.FENCE, Material.PLAIN, (0.72, 0.70, 0.66))


def add_far_end(scene: Scene, rng: np.random.Generator, z: float) -> None:
    """The far end of the street: a row of houses across it."""
    x = float(scene.road.centre(z)) - 75.0
    while x < float(scene.road.centre(z)) + 75:
        width, height = float(rng.uniform(9, 22)), float(rng.uniform(7, 19))
        style = [3.2, 2.4, 1.3, 1.6, 3.6, 0.0, float(rng.integers(1, 99)), height]
        near = z + float(rng.uniform(-3, 3))
        scene.patch(
            np.array([x, 0, near]),
            np.array([1.0, 0, 0]),
            UP,
            (width, height),
            Label.BUILDING,
            Material.FACADE,
            pick(rng, WALLS),
            style,
        )
        x += width
