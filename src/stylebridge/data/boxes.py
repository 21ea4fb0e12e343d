"""Boxes around objects: read from a file, and the views of an image that MixNMatch is trained on.

Source of the views: FineGAN (arXiv 1811.11155) and MixNMatch (arXiv 1911.11758), published code.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.sampling import Sampler
from stylebridge.errors import DataError

COLUMNS = ("image", "x", "y", "width", "height")
#: How far a box may leave its image, as a part of the image's longer side, and in pixels at least: coordinates are
#: rounded, some files count from 1, and CUB's own boxes go over by 2 pixels.
TOLERANCE, TOLERANCE_PIXELS = 0.02, 2.0
#: Half the side of the object's square, as a part of the box's longer side.
MARGIN = 0.75
#: An image's short side before a square of 64 is cut from it.
ENLARGED = 76 / 64


class Box(NamedTuple):
    """Left, top, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True)
class Boxes:
    """Boxes by the image's path below the folder of images, ``/`` between the parts.

    ``path``: the file they are from; ``lines``: where in it each image's box is.
    """

    path: Path
    by_name: dict[str, Box]
    lines: dict[str, int]

    def __len__(self) -> int:
        return len(self.by_name)

    def of(self, name: str) -> Box:
        """The box of an image; folders that the name begins with may be missing in the file.

        Raises:
            DataError: the image has none.
        """
        return self.by_name[self._key(name)]

    def _key(self, name: str) -> str:
        parts = name.split("/")
        for first in range(len(parts)):
            key = "/".join(parts[first:])
            if key in self.by_name:
                return key
        raise DataError(
            f"{self.path} has no box for the image {name}: add a row for it, or remove the image."
        )

    def inside(self, name: str, width: int, height: int) -> Box:
        """:meth:`of`, cut to an image of this size.

        Raises:
            DataError: the image has none, or it leaves the image by more than 2 % of its longer side, or altogether.
        """
        key = self._key(name)
        box = self.by_name[key]
        left, top, right, bottom = box.corners
        most = max(TOLERANCE_PIXELS, TOLERANCE * max(width, height)) + 1e-6
        away = left >= width or top >= height or right <= 0 or bottom <= 0
        if away or max(-left, -top, right - width, bottom - height) > most:
            raise DataError(
                f"{self.path}, line {self.lines[key]}: the box {_told(box)} leaves its image {name} of "
                f"{width}×{height}: correct the row, which is x, y, width, height in pixels."
            )
        left, top = max(0.0, left), max(0.0, top)
        return Box(left, top, max(0.0, min(right, width) - left), max(0.0, min(bottom, height) - top))

    def check(self, names: Iterable[str]) -> None:
        """Raises DataError for the first of the images without a box, or with that of another image."""
        taken: dict[str, str] = {}
        for name in names:
            key = self._key(name)
            other = taken.setdefault(key, name)
            if other != name:
                raise DataError(
                    f"{self.path}, line {self.lines[key]}: {key} may be {other} or {name}: give each of them a row, "
                    "with its folders."
                )


def _told(box: Box) -> str:
    return ", ".join(f"{number:g}" for number in box)


def read_boxes(path: Path) -> Boxes:
    """Read a boxes file: CSV with the columns image, x, y, width, height; or CUB's ``bounding_boxes.txt`` (rows of
    number, x, y, width, height), whose images are named by ``images.txt`` beside it.

    Raises:
        DataError: the file is not there or not readable, a column is missing, a row is malformed, an image has two
            rows, or there is no row at all; the file and the line are named.
    """
    rows = _cub_rows(path) if path.suffix.lower() == ".txt" else _csv_rows(path)
    boxes: dict[str, Box] = {}
    lines: dict[str, int] = {}
    for line, name, cells in rows:
        if name in boxes:
            raise DataError(
                f"{path}, line {line}: the image {name} has a box already, in line {lines[name]}: keep one of them."
            )
        boxes[name], lines[name] = _box(path, line, cells), line
    if not boxes:
        raise DataError(f"{path} holds no box: give a row for every image.")
    return Boxes(path, boxes, lines)


def _box(path: Path, line: int, cells: Sequence[str]) -> Box:
    try:
        box = Box(*(float(cell) for cell in cells))
    except (TypeError, ValueError):
        box = None
    if box is None or not all(map(math.isfinite, box)):
        raise DataError(
            f"{path}, line {line}: {', '.join(cells) or 'nothing'} is not x, y, width, height: give four numbers."
        )
    if box.width <= 0 or box.height <= 0:
        raise DataError(
            f"{path}, line {line}: the box {_told(box)} has no area: give a width and a height above 0."
        )
    return box


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(
            f"There is no boxes file {path}: give a CSV file with the columns {', '.join(COLUMNS)}."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The boxes file {path} is not readable as UTF-8 text: save it as such.") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    rows = _csv_cells(path)
    header = [cell.strip().lower() for cell in next(rows, (1, []))[1]]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise DataError(
            f"{path}, line 1: the column {missing[0]} is missing: begin the file with {','.join(COLUMNS)}."
        )
    places = [header.index(column) for column in COLUMNS]
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: there are {len(cells)} cells, not {len(header)}: give one for each "
                "column of line 1."
            )
        name, *numbers = (cells[place].strip() for place in places)
        yield line, name.replace("\\", "/"), numbers


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row; the line is the row's first."""
    reader, line = csv.reader(_text(path).splitlines(), strict=True), 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: the row is not readable as CSV ({error}): close or remove its quotation mark."
        ) from error


def _cub_rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    listing = path.with_name("images.txt")
    text = _text(path)
    if not listing.is_file():
        raise DataError(
            f"{path} needs images.txt beside it, which names the images: put it there, or give a CSV file."
        )
    names = dict(row for _, row in _pairs(listing))
    for line, (number, rest) in _pairs(path, text):
        if number not in names:
            raise DataError(
                f"{path}, line {line}: {listing} has no image of number {number}: add its row there."
            )
        yield line, names[number], rest.split()


def _pairs(path: Path, text: str | None = None) -> Iterator[tuple[int, tuple[str, str]]]:
    """(line, (first word, the rest)) of every row that is not empty."""
    for line, row in enumerate((_text(path) if text is None else text).splitlines(), start=1):
        words = row.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2:
            raise DataError(
                f"{path}, line {line}: {row.strip()!r} is one word alone: give a number and what it names."
            )
        yield line, (words[0], words[1].strip())


# --- views ----------------------------------------------------------------------------------------------------


class ViewDraw(NamedTuple):
    """What is random in a view: where the square lies (across, down; in [0, 1)), and whether it is mirrored."""

    across: float
    down: float
    mirrored: bool


def draw_view(rng: np.random.Generator) -> ViewDraw:
    """Draw one."""
    return ViewDraw(float(rng.random()), float(rng.random()), bool(rng.random() < 0.5))


def object_window(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The square about the box's centre, its half side 0.75 of the box's longer one, cut at the image's border.

    Returns:
        left, top, right, bottom in whole pixels, at least one pixel wide and high.
    """
    half = int(max(box.width, box.height) * MARGIN)
    across, down = int(box.x + box.width / 2), int(box.y + box.height / 2)
    left, top = min(max(0, across - half), width - 1), min(max(0, down - half), height - 1)
    return left, top, max(left + 1, min(width, across + half)), max(top + 1, min(height, down + half))


def object_view(image: np.ndarray, box: Box, side: int, drawn: ViewDraw) -> np.ndarray:
    """A view of the object: uint8 [H, W, 3] to [side, side, 3].

    The box's window, its short side resized to 2·side·76/64, a square of 2·side cut from it, resized to ``side``.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image).crop(object_window(box, width, height))
    picture, _ = _cut(_enlarged(picture, 2 * side), 2 * side, drawn)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def background_view(
    image: np.ndarray, box: Box, side: int, drawn: ViewDraw
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A view of the full image, uint8 [side, side, 3], and the box in it: left, top, right, bottom, cut to the view.

    The short side is resized to side·76/64 and a square of ``side`` is cut. A box that lies outside is of no area.
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
    """Images with boxes as training batches. All that is random in a sample is drawn from (seed, position).

    Args:
        images: the files.
        names: their paths below the folder, as the boxes file names them.
        boxes: of all of them.
        side: of the object views (S); background views have S − 2.
        seed: of the views.

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
        """Object view, background view and the box in it, of one draw of one image.

        Raises:
            DataError: the file is not an image, or the box leaves it.
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
    """Endless batches of one process; draws as in :class:`stylebridge.data.loader.Loader`. One batch is made ahead.

    Raises:
        DataError: (while iterating) a file is not an image, or a box leaves it.
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
