"""Render a picture and its label map from a seed, and write folders of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylebridge.atomic import write_problem
from stylebridge.data.toy.looks import camera_look, simulator_look
from stylebridge.data.toy.raster import Hits, cast
from stylebridge.data.toy.scene import build_scene
from stylebridge.errors import DataError, UserError

Look = Literal["sim", "camera"]

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
#: CamVid's colours of these classes.
PALETTE = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
_SMALLEST, _LARGEST = 32, 4096
#: Below this number of images, worker processes take longer to start than the drawing.
_WORTH_WORKERS = 300


def render(
    seed: int, look: Look, size: tuple[int, int] = (240, 180)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the street of ``seed``.

    Args:
        seed: the street; 0 or more. Both looks of a seed show the same street.
        look: ``sim`` (clean and flat, at noon) or ``camera`` (textured, in changing weather, through a lens).
        size: (width, height) in pixels.

    Returns:
        The image, uint8 [H, W, 3], and its label map, uint8 [H, W], with the indices of ``CLASSES``. Both depend only
        on the arguments; the label map does not depend on the look.

    Raises:
        UserError: an unknown look, a negative seed, or a size out of range.
    """
    _check(seed, look, size)
    scene = build_scene(seed)
    hits = cast(scene, (2 * size[0], 2 * size[1]))
    draw = simulator_look if look == "sim" else camera_look
    return draw(scene, hits, size), _vote(hits)


def _check(seed: int, look: str, size: tuple[int, int]) -> None:
    if look not in get_args(Look):
        raise UserError(f"The look is {look!r}: choose sim or camera.")
    if seed < 0:
        raise UserError(f"The seed is {seed}: choose 0 or more.")
    if len(size) != 2 or not all(_SMALLEST <= side <= _LARGEST for side in size):
        raise UserError(
            f"The size is {tuple(size)}: give width and height from {_SMALLEST} to {_LARGEST} pixels."
        )


def _vote(hits: Hits) -> NDArray[np.uint8]:
    """The label [H, W] that most of a pixel's four rays hit; in a tie, the nearest."""
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    labels = np.stack([hits.label[y::2, x::2] for y, x in corners])
    nearness = np.stack([hits.inverse_depth[y::2, x::2] for y, x in corners])
    votes = (labels[:, None] == labels[None]).sum(0) + np.minimum(nearness, 9) / 10
    return np.take_along_axis(labels, votes.argmax(0)[None], 0)[0]


def _write_one(folder: Path, look: Look, size: tuple[int, int], labels: bool, seed: int) -> None:
    image, label = render(seed, look, size)
    Image.fromarray(image).save(folder / "images" / f"{seed:06d}.png")
    if labels:
        indexed = Image.fromarray(label, mode="P")
        indexed.putpalette([value for colour in PALETTE for value in colour])
        indexed.save(folder / "labels" / f"{seed:06d}.png")


@contextmanager
def _mapper(workers: int) -> Iterator[Callable]:
    if workers <= 1:
        yield map
        return
    # Spawned, not forked: the caller may use threads and a GPU.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=8)


def write_toy(
    folder: Path,
    look: Look,
    count: int,
    first_seed: int = 0,
    size: tuple[int, int] = (240, 180),
    labels: bool = True,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw ``count`` streets into ``folder/images/000123.png`` and ``folder/labels/000123.png``.

    Files are named by their seeds, ``first_seed`` and following. Label maps are palette PNGs with the indices of
    ``CLASSES``.

    Args:
        labels: False: no label maps.
        workers: number of drawing processes. A script with more than one needs the guard
            ``if __name__ == "__main__"``.
        progress: called with the number of finished images after each.

    Raises:
        UserError: as for :func:`render`, or a count below 1.
        DataError: the folder cannot be created or written.
    """
    _check(first_seed, look, size)
    if count < 1:
        raise UserError(f"The count is {count}: choose 1 or more.")
    folder = Path(folder)
    try:
        for name in ("images", "labels") if labels else ("images",):
            (folder / name).mkdir(parents=True, exist_ok=True)
        seeds = range(first_seed, first_seed + count)
        with _mapper(workers if count >= _WORTH_WORKERS else 1) as mapper:
            for done, _ in enumerate(mapper(partial(_write_one, folder, look, size, labels), seeds), 1):
                if progress is not None:
                    progress(done)
    except OSError as error:
        why, mend = write_problem(error) or (str(error), "check the disk")
        raise DataError(f"{folder} cannot be written ({why})", f"{mend}, or choose another folder") from error
