"""Bounding boxes of objects: reading and checking box files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stylebridge.errors import DataError

COLUMNS = ("image", "x", "y", "width", "height")
#: Names of box files that are found without being named.
BOXES_FILES = ("boxes.csv", "bounding_boxes.txt")
#: How far a box may extend beyond its image, relative to the image's longer side, and at least in pixels: coordinates
#: are rounded, some files count from 1, and CUB's own boxes exceed the image by 2 pixels.
TOLERANCE, TOLERANCE_PIXELS = 0.02, 2.0
#: Most problems in one message.
_MOST_LISTED = 10


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

    def clipped(self, width: int, height: int) -> Box | None:
        """The part inside an image of this size; None if there is none."""
        left, top, right, bottom = self.corners
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            return None
        left, top = max(0.0, left), max(0.0, top)
        return Box(left, top, max(0.0, min(right, width) - left), max(0.0, min(bottom, height) - top))

    def leaves(self, width: int, height: int) -> bool:
        """Whether it extends beyond an image of this size by more than 2 % of the longer side (at least 2 pixels), or
        lies outside."""
        left, top, right, bottom = self.corners
        most = max(TOLERANCE_PIXELS, TOLERANCE * max(width, height)) + 1e-6
        beyond = max(-left, -top, right - width, bottom - height)
        return self.clipped(width, height) is None or beyond > most

    def __str__(self) -> str:
        return ", ".join(f"{number:g}" for number in self)


class BoxProblem(NamedTuple):
    """A row or an image whose box cannot be used: the line (0: no row), the image's name, the problem, and the
    remedy."""

    line: int
    image: str
    what: str
    mend: str


@dataclass(frozen=True)
class Boxes:
    """Boxes by the image's path below the image folder, with ``/`` as separator.

    ``path``: the file; ``lines``: the line of each image's box.
    """

    path: Path
    by_name: dict[str, Box]
    lines: dict[str, int]

    def __len__(self) -> int:
        return len(self.by_name)

    def of(self, name: str) -> Box:
        """The box of an image; leading folders of ``name`` may be missing in the file.

        Raises:
            DataError: the image has no box.
        """
        key = self.key(name)
        if key is None:
            raise problems_error(self.path, [_without(name)])
        return self.by_name[key]

    def key(self, name: str) -> str | None:
        """The file's name for an image's box; None if it has no box."""
        parts = name.split("/")
        keys = ("/".join(parts[first:]) for first in range(len(parts)))
        return next((key for key in keys if key in self.by_name), None)

    def inside(self, name: str, width: int, height: int) -> Box:
        """:meth:`of`, clipped to an image of this size.

        Raises:
            DataError: the image has no box, or the box extends too far (:meth:`Box.leaves`).
        """
        problem = self.problem(name, width, height)
        if problem is not None:
            raise problems_error(self.path, [problem])
        return self.of(name).clipped(width, height) or Box(0, 0, 0, 0)

    def problem(self, name: str, width: int, height: int) -> BoxProblem | None:
        """Why :meth:`inside` rejects an image's box, or None."""
        key = self.key(name)
        if key is None:
            return _without(name)
        box = self.by_name[key]
        if not box.leaves(width, height):
            return None
        what = f"the box {box} extends beyond its image {name} of {width}×{height}"
        mend = (
            "correct the row, which is x, y, width, height in pixels, or write a corrected copy of the data with "
            "`stylebridge data doctor DATA --fix FOLDER`"
        )
        return BoxProblem(self.lines[key], name, what, mend)

    def unmatched(self, names: Iterable[str]) -> list[BoxProblem]:
        """The images without a box, or whose box may belong to another image."""
        taken: dict[str, str] = {}
        found: list[BoxProblem] = []
        for name in names:
            key = self.key(name)
            other = name if key is None else taken.setdefault(key, name)
            if key is None:
                found.append(_without(name))
            elif other != name:
                what = f"{key} may mean {other} or {name}"
                found.append(
                    BoxProblem(self.lines[key], name, what, "give each of them a row with the full path")
                )
        return found

    def check(self, names: Iterable[str]) -> None:
        """Raise a DataError that lists :meth:`unmatched` images, if any."""
        problems = self.unmatched(names)
        if problems:
            raise problems_error(self.path, problems)


def _without(name: str) -> BoxProblem:
    return BoxProblem(0, name, f"has no box for the image {name}", "add a row for it, or remove the image")


def problems_error(path: Path, problems: Sequence[BoxProblem]) -> DataError:
    """One error that lists all problems of a box file."""
    first = problems[0]
    if len(problems) == 1:
        where = f"{path}, line {first.line}:" if first.line else f"{path}"
        return DataError(f"{where} {first.what}: {first.mend}.")
    listed = [f"line {p.line}: {p.what}" if p.line else p.what for p in problems[:_MOST_LISTED]]
    more = f"; and {len(problems) - _MOST_LISTED:,} more" if len(problems) > _MOST_LISTED else ""
    return DataError(
        f"{path} has {len(problems):,} problems: {'; '.join(listed)}{more}. Correct them, or list them all with "
        f"`stylebridge data doctor DATA --boxes {path}`, whose --fix FOLDER writes a corrected copy."
    )


def find_boxes(data: Path, boxes: str | Path | None) -> Path | None:
    """The box file of a data set: ``boxes`` (a path, or a file in the set) if given, else ``boxes.csv`` or CUB's
    ``bounding_boxes.txt`` in the set; None if there is none."""
    if boxes is not None:
        inside = data / boxes
        return inside if not Path(boxes).exists() and inside.is_file() else Path(boxes)
    return next((data / name for name in BOXES_FILES if (data / name).is_file()), None)


def read_boxes(path: Path) -> Boxes:
    """Read a box file: CSV with the columns image, x, y, width, height; or CUB's ``bounding_boxes.txt`` (rows of
    number, x, y, width, height), with the image names in ``images.txt`` beside it.

    Raises:
        DataError: the file is missing or unreadable, a column is missing, rows are malformed, an image has two rows, or
            there is no row; names the file and the lines.
    """
    boxes, problems = scan_boxes(path)
    if problems:
        raise problems_error(path, problems)
    return boxes


def scan_boxes(path: Path) -> tuple[Boxes, list[BoxProblem]]:
    """Like :func:`read_boxes`, but skip unusable rows and return them as problems.

    Raises:
        DataError: the file is missing or unreadable, a column is missing, or there is no row.
    """
    rows = _cub_rows(path) if path.suffix.lower() == ".txt" else _csv_rows(path)
    boxes: dict[str, Box] = {}
    lines: dict[str, int] = {}
    problems: list[BoxProblem] = []
    for row in rows:
        found = row if isinstance(row, BoxProblem) else _box(*row)
        if isinstance(found, BoxProblem):
            problems.append(found)
            continue
        line, name = row[0], row[1]
        if name in boxes:
            what = f"the image {name} already has a box, in line {lines[name]}"
            problems.append(BoxProblem(line, name, what, "keep one of them"))
        else:
            boxes[name], lines[name] = found, line
    if not boxes and not problems:
        raise DataError(f"{path} has no box: give a row for every image.")
    return Boxes(path, boxes, lines), problems


_Row = tuple[int, str, list[str]]


def _box(line: int, name: str, cells: Sequence[str]) -> Box | BoxProblem:
    try:
        box = Box(*(float(cell) for cell in cells))
    except (TypeError, ValueError):
        box = None
    if box is None or not all(map(math.isfinite, box)):
        what = f"{', '.join(cells) or 'nothing'} is not x, y, width, height"
        return BoxProblem(line, name, what, "give four numbers")
    if box.width <= 0 or box.height <= 0:
        return BoxProblem(line, name, f"the box {box} has no area", "give a width and a height above 0")
    return box


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(
            f"There is no box file {path}: give a CSV file with the columns {', '.join(COLUMNS)}."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The box file {path} is not UTF-8 text: save it as UTF-8.") from error


def _csv_rows(path: Path) -> Iterator[_Row | BoxProblem]:
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
            what = f"there are {len(cells)} cells, not {len(header)}"
            yield BoxProblem(line, "", what, "give one for each column of line 1")
            continue
        name, *numbers = (cells[place].strip() for place in places)
        yield line, name.replace("\\", "/"), numbers


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row; the line is the first of the row."""
    reader, line = csv.reader(_text(path).splitlines(), strict=True), 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: the row is not readable as CSV ({error}): close or remove its quotation mark."
        ) from error


def _cub_rows(path: Path) -> Iterator[_Row | BoxProblem]:
    listing = path.with_name("images.txt")
    text = _text(path)
    if not listing.is_file():
        raise DataError(
            f"{path} needs images.txt beside it, which names the images: put it there, or give a CSV file."
        )
    names = dict(row for _, row in _pairs(listing, _text(listing)))
    for line, (number, rest) in _pairs(path, text):
        if number in names:
            yield line, names[number], rest.split()
        else:
            yield BoxProblem(line, "", f"{listing} has no image of number {number}", "add its row there")


def _pairs(path: Path, text: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """(line, (first word, the rest)) of every non-empty row."""
    for line, row in enumerate(text.splitlines(), start=1):
        words = row.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2:
            raise DataError(
                f"{path}, line {line}: {row.strip()!r} is a single word: give a number and a name or values."
            )
        yield line, (words[0], words[1].strip())
