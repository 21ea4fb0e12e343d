"""Cars, pedestrians and bicyclists."""

import numpy as np

from stylebridge.data.toy.buildings import pick
from stylebridge.data.toy.surfaces import UP, Blob, Colour, Frame, Label, Material, Scene, Shape

PAINTS: tuple[Colour, ...] = (
    (0.85, 0.10, 0.12),
    (0.12, 0.28, 0.78),
    (0.92, 0.92, 0.94),
    (0.10, 0.11, 0.13),
    (0.62, 0.65, 0.70),
    (0.95, 0.75, 0.10),
    (0.10, 0.50, 0.45),
    (0.50, 0.14, 0.20),
)
CLOTHES: tuple[Colour, ...] = (
    (0.80, 0.15, 0.20),
    (0.15, 0.25, 0.60),
    (0.12, 0.12, 0.15),
    (0.90, 0.88, 0.82),
    (0.20, 0.50, 0.30),
    (0.60, 0.45, 0.30),
    (0.95, 0.70, 0.15),
    (0.55, 0.25, 0.60),
)
TROUSERS: tuple[Colour, ...] = (
    (0.14, 0.17, 0.30),
    (0.12, 0.12, 0.13),
    (0.40, 0.34, 0.26),
    (0.30, 0.38, 0.55),
)
SKINS: tuple[Colour, ...] = ((0.92, 0.72, 0.58), (0.76, 0.55, 0.40), (0.45, 0.30, 0.22))
HAIRS: tuple[Colour, ...] = ((0.15, 0.10, 0.08), (0.50, 0.33, 0.16), (0.70, 0.68, 0.65), (0.75, 0.20, 0.20))


def add_car(scene: Scene, rng: np.random.Generator, frame: Frame, lights_on: bool) -> None:
    """A hatchback, a saloon or a van: body, cabin and wheels. It faces along the frame's heading."""
    kind = int(rng.choice([0, 0, 1, 1, 2]))
    colour = pick(rng, PAINTS, 0.04)
    length, width = (3.9, 1.75) if kind == 0 else (4.5, 1.8) if kind == 1 else (4.9, 1.95)
    sill, belt, roof = (
        (0.24, 0.88, 1.46) if kind == 0 else (0.24, 0.86, 1.40) if kind == 1 else (0.28, 1.15, 2.05)
    )
    lit = 1.0 if lights_on else 0.0
    body = scene.box_faces(frame, length, width, belt - sill, bottom=sill)
    for name, material in (
        ("rear", Material.CAR_REAR),
        ("front", Material.CAR_FRONT),
        ("left", Material.CAR_SIDE),
        ("right", Material.CAR_SIDE),
        ("top", Material.PLAIN),
    ):
        extent = body[name][3]
        scene.patch(*body[name], Label.CAR, material, colour, (extent[0], extent[1], lit, length))
    # The cabin: its start and end along the car, and the inset of its panes.
    rear, front, lean_rear, lean_front = (
        (-0.49, 0.22, 0.22, 0.55),
        (-0.40, 0.18, 0.55, 0.60),
        (-0.49, 0.34, 0.06, 0.45),
    )[kind]
    _add_cabin(
        scene, frame, (rear * length, front * length), (lean_rear, lean_front), width, belt, roof, colour
    )
    for forward in (-0.31 * length, 0.31 * length):
        for side, across in ((-1, -frame.forward), (1, frame.forward)):
            origin = frame.at(side * (width / 2 + 0.02), 0.0, forward) - 0.32 * across
            scene.patch(
                origin,
                across,
                UP,
                (0.64, 0.64),
                Label.CAR,
                Material.WHEEL,
                (0.09, 0.09, 0.10),
                shape=Shape.ELLIPSE,
            )
        # The tyres' treads, visible from the front and the back.
        for side in (-0.4, 0.4) if frame.z < 40 else ():
            scene.capsule(
                frame.at(side * width, 0.16, forward),
                frame.at(side * width, 0.34, forward),
                (0.14, 0.14),
                Label.CAR,
                Material.PLAIN,
                (0.07, 0.07, 0.08),
            )
    scene.blobs.append(Blob(frame.x, frame.z, frame.heading, length * 0.56, width * 0.68, 0.9, 0.7))


def _add_cabin(
    scene: Scene, frame: Frame, ends, leans, width: float, belt: float, roof: float, colour: Colour
) -> None:
    (rear, front), (lean_rear, lean_front), tuck, height = ends, leans, 0.16, roof - belt
    half, length = width / 2 - 0.02, front - rear
    slope = np.array([0.0, height, 0.0])
    side_reach = float(np.hypot(height, tuck))
    for side in (-1, 1):
        upwards = (slope - side * tuck * frame.right) / side_reach
        across, start = (-frame.forward, front) if side < 0 else (frame.forward, rear)
        lean = (lean_front, lean_rear) if side < 0 else (lean_rear, lean_front)
        scene.patch(
            frame.at(side * half, belt, start),
            across,
            upwards,
            (length, side_reach),
            Label.CAR,
            Material.CABIN,
            colour,
            (*lean, length, side_reach),
            Shape.TRAPEZOID,
        )
    for start, across, lean in ((rear, frame.right, lean_rear), (front, -frame.right, -lean_front)):
        reach = float(np.hypot(height, lean))
        upwards = (slope + lean * frame.forward) / reach
        left = -half if lean > 0 else half
        scene.patch(
            frame.at(left, belt, start),
            across,
            upwards,
            (2 * half, reach),
            Label.CAR,
            Material.CABIN,
            colour,
            (tuck, tuck, 2 * half, reach),
            Shape.TRAPEZOID,
        )
    top = (2 * (half - tuck), length - lean_rear - lean_front)
    scene.patch(
        frame.at(-half + tuck, roof, rear + lean_rear),
        frame.right,
        frame.forward,
        top,
        Label.CAR,
        Material.PLAIN,
        colour,
    )


def add_pedestrian(scene: Scene, rng: np.random.Generator, frame: Frame) -> None:
    """A person who walks along the frame's heading or stands: head, hair, torso, arms, legs."""
    scale = float(rng.choice([1.0, 1.0, 0.95, 1.06, 0.72]) * rng.uniform(0.96, 1.04))
    stride = float(rng.uniform(0.25, 0.5)) if rng.random() < 0.75 else 0.06
    top, trousers, skin, hair = (pick(rng, c, 0.04) for c in (CLOTHES, TROUSERS, SKINS, HAIRS))
    phase = 1 if rng.random() < 0.5 else -1

    def limb(start, end, radii, colour, material=Material.CLOTH) -> None:
        a, b = (frame.at(*(scale * value for value in point)) for point in (start, end))
        scene.capsule(a, b, (radii[0] * scale, radii[1] * scale), Label.PEDESTRIAN, material, colour)

    for side in (-1, 1) if frame.z < 30 else ():
        swing = side * phase * stride
        knee, foot = (side * 0.1, 0.5, 0.7 * swing + 0.05), (side * 0.1, 0.07, swing - 0.04)
        limb((side * 0.1, 0.9, 0), knee, (0.105, 0.08), trousers)
        limb(knee, foot, (0.08, 0.055), trousers)
        limb(foot, (side * 0.1, 0.05, swing + 0.13), (0.055, 0.05), (0.1, 0.08, 0.08), Material.PLAIN)
        elbow, hand = (side * 0.29, 1.12, -0.45 * swing), (side * 0.27, 0.92, -0.8 * swing + 0.1)
        limb((side * 0.21, 1.4, 0), elbow, (0.07, 0.06), top)
        limb(elbow, hand, (0.055, 0.045), top)
    if frame.z >= 30:  # a few pixels tall: two straight legs are enough
        for side in (-1, 1):
            limb((side * 0.1, 0.9, 0), (side * 0.1, 0.06, side * phase * stride), (0.12, 0.07), trousers)
    coat = 0.55 if rng.random() < 0.25 else 0.88
    limb((0, 1.32, 0.02), (0, 0.95, 0), (0.21, 0.175), top)
    if coat < 0.8:
        limb((0, 0.98, 0), (0, coat, 0), (0.17, 0.24), top)
    limb((0, 1.42, 0.02), (0, 1.6, 0.03), (0.06, 0.06), skin, Material.PLAIN)
    limb((0, 1.62, 0.03), (0, 1.68, 0.03), (0.11, 0.11), skin, Material.PLAIN)
    limb((0, 1.70, -0.03), (0, 1.74, -0.02), (0.115, 0.10), hair, Material.PLAIN)
    if rng.random() < 0.35:
        limb((0, 1.3, -0.2), (0, 1.08, -0.22), (0.15, 0.16), pick(rng, CLOTHES), Material.CLOTH)
    scene.blobs.append(Blob(frame.x, frame.z, frame.heading, 0.42 * scale, 0.3 * scale, 0.6, 1.6 * scale))


def add_bicyclist(scene: Scene, rng: np.random.Generator, frame: Frame) -> None:
    """A bicycle with its rider, moving along the frame's heading."""
    paint, top, trousers, skin = (pick(rng, c, 0.04) for c in (PAINTS, CLOTHES, TROUSERS, SKINS))
    view = frame.at(0, 0, 0) - scene.camera.position
    edge_on = abs(float(view @ frame.forward)) > 0.93 * float(np.hypot(view[0], view[2]))

    def bar(start, end, radii, colour, material=Material.PLAIN) -> None:
        scene.capsule(frame.at(*start), frame.at(*end), radii, Label.BICYCLIST, material, colour)

    for middle in (-0.53, 0.53):
        scene.patch(
            frame.at(0, 0.0, middle - 0.35),
            frame.forward,
            UP,
            (0.7, 0.7),
            Label.BICYCLIST,
            Material.PLAIN,
            (0.08, 0.08, 0.09),
            shape=Shape.RING,
            two_sided=True,
        )
        if edge_on:
            bar((0, 0.06, middle), (0, 0.66, middle), (0.04, 0.04), (0.08, 0.08, 0.09))
    pedals, saddle, head = (0, 0.32, -0.05), (0, 0.86, -0.24), (0, 0.82, 0.40)
    for start, end in (
        (pedals, saddle),
        (pedals, head),
        (head, (0, 0.78, -0.2)),
        ((0, 0.35, -0.53), pedals),
        ((0, 0.35, -0.53), saddle),
        ((0, 0.35, 0.53), (0, 0.98, 0.36)),
    ):
        bar(start, end, (0.03, 0.03), paint)
    bar((-0.24, 1.0, 0.34), (0.24, 1.0, 0.34), (0.025, 0.025), (0.1, 0.1, 0.1))
    turn = float(rng.uniform(0, 2 * np.pi))
    for side in (-1, 1):
        angle = turn + (np.pi if side > 0 else 0)
        foot = (side * 0.13, 0.32 + 0.16 * np.sin(angle), -0.05 + 0.16 * np.cos(angle))
        knee = (side * 0.14, 0.5 * (0.95 + foot[1]) + 0.06, 0.5 * (foot[2] - 0.2) + 0.24)
        bar((side * 0.09, 0.95, -0.2), knee, (0.11, 0.08), trousers, Material.CLOTH)
        bar(knee, foot, (0.075, 0.055), trousers, Material.CLOTH)
        elbow = (side * 0.27, 1.15, 0.14)
        bar((side * 0.2, 1.40, 0.08), elbow, (0.07, 0.055), top, Material.CLOTH)
        bar(elbow, (side * 0.23, 1.02, 0.33), (0.05, 0.045), top, Material.CLOTH)
    bar((0, 1.36, 0.06), (0, 1.0, -0.2), (0.20, 0.16), top, Material.CLOTH)
    bar((0, 1.55, 0.16), (0, 1.66, 0.17), (0.10, 0.11), skin)
    bar((0, 1.70, 0.12), (0, 1.72, 0.18), (0.125, 0.12), pick(rng, PAINTS))
    scene.blobs.append(Blob(frame.x, frame.z, frame.heading, 0.9, 0.25, 0.6, 1.2))
