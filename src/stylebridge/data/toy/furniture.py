"""Trees, lamp posts, bollards and traffic signs."""

from enum import IntEnum

import numpy as np

from stylebridge.data.toy.buildings import pick
from stylebridge.data.toy.surfaces import UP, Blob, Colour, Frame, Label, Material, Scene, Shape

LEAVES: tuple[Colour, ...] = ((0.25, 0.62, 0.18), (0.18, 0.52, 0.22), (0.42, 0.66, 0.16), (0.16, 0.45, 0.16))
METAL: tuple[Colour, ...] = ((0.50, 0.54, 0.58), (0.30, 0.36, 0.40), (0.22, 0.34, 0.28))


class SignFace(IntEnum):
    """What is painted on a traffic sign."""

    LIMIT = 0
    NO_ENTRY = 1
    DIRECTION = 2
    WARNING = 3
    GUIDE = 4
    PARKING = 5
    STOP = 6
    BACK = 7


_SIGN_COLOURS: dict[SignFace, Colour] = {
    SignFace.LIMIT: (0.95, 0.95, 0.95),
    SignFace.NO_ENTRY: (0.85, 0.08, 0.10),
    SignFace.DIRECTION: (0.05, 0.30, 0.80),
    SignFace.WARNING: (0.96, 0.95, 0.92),
    SignFace.GUIDE: (0.05, 0.30, 0.75),
    SignFace.PARKING: (0.05, 0.30, 0.80),
    SignFace.STOP: (0.85, 0.08, 0.10),
    SignFace.BACK: (0.55, 0.57, 0.60),
}


def add_tree(scene: Scene, rng: np.random.Generator, frame: Frame, height: float) -> None:
    """A trunk with two branches, and a crown of overlapping tufts that face the camera."""
    girth = 0.02 * height + 0.05
    fork = frame.at(0, height * 0.42, 0)
    scene.capsule(
        frame.at(0, 0.05, 0), fork, (girth * 1.3, girth), Label.TREE, Material.BARK, (0.42, 0.28, 0.18)
    )
    spread = height * float(rng.uniform(0.20, 0.30))
    colour = pick(rng, LEAVES)
    for turn in rng.uniform(0, 2 * np.pi, 2):
        tip = frame.at(0.6 * spread * np.cos(turn), height * 0.68, 0.6 * spread * np.sin(turn))
        scene.capsule(fork, tip, (girth * 0.8, girth * 0.4), Label.TREE, Material.BARK, (0.40, 0.27, 0.17))
    count = int(rng.integers(9, 12)) if frame.z < 45 else 5
    turn, rise = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.46, 0.86, count)
    offset = spread * np.sqrt(rng.random(count)) * (1.0 - 1.4 * np.abs(rise - 0.62))
    middles = np.stack([offset * np.cos(turn), height * rise, offset * np.sin(turn)], 1) + frame.at(0, 0, 0)
    sizes = spread * rng.uniform(1.1, 1.6, count) * (1.0 if frame.z < 45 else 1.25)
    _add_tufts(scene, rng, middles, sizes, colour, 0.75 + 0.6 * (rise - 0.4))
    scene.blobs.append(Blob(frame.x, frame.z, frame.heading, spread * 1.3, spread * 1.3, 0.45, height * 0.4))


def _add_tufts(scene: Scene, rng: np.random.Generator, middles, sizes, colour: Colour, shades) -> None:
    """Round tufts of leaves at ``middles`` [n, 3], ``sizes`` [n] metres wide, facing the camera."""
    toward = middles - scene.camera.position
    toward = toward / np.linalg.norm(toward, axis=1, keepdims=True)
    across = np.stack([toward[:, 2], np.zeros(len(toward)), -toward[:, 0]], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    upwards = np.cross(toward, across)
    origins = middles - 0.5 * sizes[:, None] * (across + upwards)
    tints = np.clip(
        np.array(colour) * shades[:, None] + rng.uniform(-0.025, 0.025, (len(middles), 3)), 0.02, 0.95
    )
    shifts = rng.uniform(0, 200, len(middles)).tolist()
    for parts in zip(origins, across, upwards, sizes.tolist(), tints.tolist(), shifts, strict=True):
        origin, right, up, size, tint, shift = parts
        scene.patch(
            origin,
            right,
            up,
            (size, size),
            Label.TREE,
            Material.LEAVES,
            tuple(tint),
            (shift, size),
            Shape.LEAVES,
        )


def add_hedge(scene: Scene, rng: np.random.Generator, frame: Frame, length: float, height: float) -> None:
    """Bushes in a row of ``length`` metres along the heading."""
    colour = pick(rng, LEAVES)
    along = np.arange(-length / 2 + 0.5, length / 2, 1.1 if frame.z < 40 else 2.2)
    middles = frame.at(0, height * 0.45, 0) + along[:, None] * frame.forward
    sizes = height * rng.uniform(1.2, 1.7, len(along)) * (1.0 if frame.z < 40 else 1.4)
    _add_tufts(scene, rng, middles, sizes, colour, rng.uniform(0.8, 1.05, len(along)))


def add_lamp_post(scene: Scene, rng: np.random.Generator, frame: Frame, side: int) -> None:
    """A tall post whose arm reaches over the street."""
    height, reach = float(rng.uniform(6.0, 8.0)), float(rng.uniform(1.2, 2.0))
    colour = pick(rng, METAL)
    top, tip = frame.at(0, height, 0), frame.at(-side * reach, height + 0.35, 0)
    for start, end, radii in (
        (frame.at(0, 0.1, 0), frame.at(0, 1.1, 0), (0.19, 0.18)),
        (frame.at(0, 1.0, 0), top, (0.13, 0.10)),
        (top, tip, (0.09, 0.08)),
    ):
        scene.capsule(start, end, radii, Label.POLE, Material.PLAIN, colour)
    head = frame.at(-side * (reach + 0.7), height + 0.36, 0)
    scene.capsule(tip, head, (0.11, 0.14), Label.POLE, Material.LAMP, (0.92, 0.92, 0.85))
    scene.lamps.append(head)


def add_bollards(scene: Scene, rng: np.random.Generator, frames: list[Frame]) -> None:
    colour = pick(rng, ((0.2, 0.2, 0.22), (0.75, 0.2, 0.15), (0.85, 0.85, 0.85)))
    for frame in frames:
        scene.capsule(
            frame.at(0, 0.05, 0), frame.at(0, 0.9, 0), (0.12, 0.11), Label.POLE, Material.PLAIN, colour
        )


def add_sign(scene: Scene, rng: np.random.Generator, frame: Frame, kind: SignFace | None = None) -> None:
    """A post with one or two signs, facing traffic that moves along the frame's heading."""
    kinds = [
        SignFace.LIMIT,
        SignFace.NO_ENTRY,
        SignFace.DIRECTION,
        SignFace.WARNING,
        SignFace.GUIDE,
        SignFace.PARKING,
        SignFace.STOP,
    ]
    chosen = [kinds[int(rng.integers(len(kinds)))] if kind is None else kind]
    if chosen[0] != SignFace.GUIDE and rng.random() < 0.4:
        chosen.append(kinds[int(rng.choice([0, 2, 3, 5]))])
    bottom = float(rng.uniform(1.9, 2.3))
    for face in chosen:
        scale = float(rng.uniform(0.85, 1.05))
        width, height = (1.9 * scale, 1.15 * scale) if face == SignFace.GUIDE else (scale, scale)
        _add_board(scene, frame, face, bottom, width, height)
        bottom += height + 0.06
    colour = pick(rng, METAL)
    scene.capsule(
        frame.at(0, 0.1, 0), frame.at(0, bottom - 0.1, 0), (0.085, 0.08), Label.POLE, Material.PLAIN, colour
    )


def _add_board(
    scene: Scene, frame: Frame, face: SignFace, bottom: float, width: float, height: float
) -> None:
    shape = Shape.RECTANGLE
    if face in (SignFace.LIMIT, SignFace.NO_ENTRY, SignFace.DIRECTION):
        shape = Shape.ELLIPSE
    elif face == SignFace.WARNING:
        shape = Shape.TRIANGLE
    elif face == SignFace.STOP:
        shape = Shape.OCTAGON
    origin = frame.at(-width / 2, bottom, -0.1)
    scene.patch(
        origin,
        frame.right,
        UP,
        (width, height),
        Label.SIGN,
        Material.SIGN,
        _SIGN_COLOURS[face],
        (float(face), width, height),
        shape,
    )
    back = frame.at(width / 2, bottom, -0.09)
    scene.patch(
        back,
        -frame.right,
        UP,
        (width, height),
        Label.SIGN,
        Material.SIGN,
        _SIGN_COLOURS[SignFace.BACK],
        (float(SignFace.BACK), width, height),
        shape,
    )


def add_traffic_light(scene: Scene, rng: np.random.Generator, frame: Frame) -> None:
    """A post with a three-lamp signal; CamVid counts signals as signs."""
    scene.capsule(
        frame.at(0, 0.1, 0), frame.at(0, 3.4, 0), (0.09, 0.08), Label.POLE, Material.PLAIN, METAL[1]
    )
    phase = float(rng.integers(3))
    faces = scene.box_faces(frame, 0.3, 0.46, 1.15, bottom=2.4)
    for name in ("rear", "left", "right"):
        origin, across, upwards, size = faces[name]
        scene.patch(
            origin - 0.12 * frame.forward,
            across,
            upwards,
            size,
            Label.SIGN,
            Material.TRAFFIC_LIGHT if name == "rear" else Material.PLAIN,
            (0.07, 0.08, 0.08),
            (phase,),
        )
