"""Crops of images by the boxes of their objects, for training MixNMatch.

Source of the crops: FineGAN (arXiv 1811.11155) and MixNMatch (arXiv 1911.11758), published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylebridge.data.box_files import Box, Boxes, read_boxes
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.sampling import Sampler

__all__ = ["Box", "BoxedImages", "Boxes", "boxed_batches", "read_boxes"]

#: Half the side of the object's square, relative to the box's longer side.
MARGIN = 0.75
#: Short side of an image before a square of 64 is cropped.
ENLARGED = 76 / 64


# --- views ----------------------------------------------------------------------------------------------------


class ViewDraw(NamedTuple):
    """The random decisions of a view: the square's position (across, down; in [0, 1)), and mirroring."""

    across: float
    down: float
    mirrored: bool


def draw_view(rng: np.random.Generator) -> ViewDraw:
    """Draw one."""
    return ViewDraw(float(rng.random()), float(rng.random()), bool(rng.random() < 0.5))


def object_window(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The square around the box's centre, half side 0.75 times the box's longer side, clipped to the image.

    Returns:
        left, top, right, bottom in whole pixels, at least one pixel wide and high.
    """
    half = int(max(box.width, box.height) * MARGIN)
    across, down = int(box.x + box.width / 2), int(box.y + box.height / 2)
    left, top = min(max(0, across - half), width - 1), min(max(0, down - half), height - 1)
    return left, top, max(left + 1, min(width, across + half)), max(top + 1, min(height, down + half))


def object_view(image: np.ndarray, box: Box, side: int, drawn: ViewDraw) -> np.ndarray:
    """A view of the object: uint8 [H, W, 3] to [side, side, 3].

    The box's window is resized to short side 2·side·76/64, cropped to a square of 2·side, and resized to ``side``.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image).crop(object_window(box, width, height))
    picture, _ = _cut(_enlarged(picture, 2 * side), 2 * side, drawn)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def background_view(
    image: np.ndarray, box: Box, side: int, drawn: ViewDraw
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A view of the full image, uint8 [side, side, 3], and the box in it: left, top, right, bottom, clipped to the
    view.

    The short side is resized to side·76/64 and a square of ``side`` is cropped. A box outside gets area 0.
    """
    height, width = image.shape[:2]
    picture = _enlarged(Image.fromarray(image), side)
    across, down = picture.width / width, picture.height / height
    picture, (x, y) = _cut(picture, side, drawn)
    left, right = (min(max(edge * across - x, 0.0), side) for edge in (box.x, box.x + box.width))
    top, bottom = (min(max(edge * down - y, 0.0), side) for edge in (box.y, box.y + box.height))
    if drawn.mirrored:
        left, right = side - right, side - left
    return np.asarray(picture), (left, top, right, bottom)


def _enlarged(picture: Image.Image, side: int) -> Image.Image:
    """Resized so that the short side is int(side·76/64)."""
    short = int(side * ENLARGED)
    width, height = picture.size
    if width <= height:
        size = short, max(short, int(short * height / width))
    else:
        size = max(short, int(short * width / height)), short
    return picture.resize(size, Image.Resampling.BILINEAR)


def _cut(picture: Image.Image, side: int, drawn: ViewDraw) -> tuple[Image.Image, tuple[int, int]]:
    left = math.floor(drawn.across * (picture.width - side + 1))
    top = math.floor(drawn.down * (picture.height - side + 1))
    cut = picture.crop((left, top, left + side, top + side))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if drawn.mirrored else cut, (left, top)


# --- batches --------------------------------------------------------------------------------------------------


class BoxedImages:
    """Images with boxes as training batches. All random numbers of a sample depend on (seed, position) only.

    Args:
        images: the files.
        names: their paths below the folder, as in the box file.
        boxes: the boxes of all images.
        side: S, the side of object views in pixels; background views have S − 2.
        seed: the seed of the views.

    Raises:
        DataError: an image has no box.
    """

    def __init__(
        self, images: Sequence[FileRef], names: Sequence[str], boxes: Boxes, side: int, seed: int
    ) -> None:
        boxes.check(names)
        self.images, self.names, self.boxes, self.side, self.seed = images, names, boxes, side, seed

    def __len__(self) -> int:
        return len(self.images)

    def views(
        self, position: int, index: int
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]:
        """Object view, background view and the box in it, for one draw of one image.

        Raises:
            DataError: the file is not an image, or the box extends beyond it.
        """
        image = read_image(self.images[index])
        box = self.boxes.inside(self.names[index], image.shape[1], image.shape[0])
        rng = np.random.default_rng([self.seed, position])
        of_object = object_view(image, box, self.side, draw_view(rng))
        return of_object, *background_view(image, box, self.side - 2, draw_view(rng))

    def batch(
        self, draws: Sequence[tuple[int, int]], pool: ThreadPoolExecutor | None = None
    ) -> dict[str, Tensor]:
        """The batch of (position, index) pairs: ``image`` uint8 [B, 3, S, S], ``background`` uint8
        [B, 3, S − 2, S − 2], ``box`` float32 [B, 4] (left, top, right, bottom in the background view), ``index`` and
        ``position`` int64 [B]."""
        mapped = (pool.map if pool is not None else map)(lambda draw: self.views(*draw), draws)
        objects, backgrounds, boxes = zip(*mapped, strict=True)
        positions, indices = np.array(draws, np.int64).T.copy()
        return {
            "image": torch.from_numpy(np.stack(objects)).permute(0, 3, 1, 2),
            "background": torch.from_numpy(np.stack(backgrounds)).permute(0, 3, 1, 2),
            "box": torch.tensor(boxes, dtype=torch.float32),
            "index": torch.from_numpy(indices),
            "position": torch.from_numpy(positions),
        }


def boxed_batches(
    images: BoxedImages,
    sampler: Sampler,
    batch_size: int,
    start_position: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of one process; draws as in :class:`stylebridge.data.loader.Loader`. Prefetches one batch.

    Raises:
        DataError: (while iterating) a file is not an image, or a box extends beyond it.
    """

    def draws(number: int) -> list[tuple[int, int]]:
        first = start_position + (number * process_count + process_index) * batch_size
        return [(position, sampler.index(position)) for position in range(first, first + batch_size)]

    with ThreadPoolExecutor(max(1, threads)) as pool, ThreadPoolExecutor(1) as ahead:
        number = 0
        waiting = ahead.submit(images.batch, draws(0), pool)
        while True:
            batch = waiting.result()
            number += 1
            waiting = ahead.submit(images.batch, draws(number), pool)
            yield batch
