"""The layout of a sheet of mixes: reference photos at the edge, mixes inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER, _EDGE, _INK, _SOFT = (255, 255, 255), (232, 235, 240), (24, 26, 32), (92, 98, 110)
#: Smallest side of a cell; space between cells, around blocks, and above a picture for its name, in pixels.
_CELL, _GAP, _MARGIN, _NAME = 112, 6, 16, 22
#: Most photos in a line.
_LINE = 10


@dataclass(frozen=True)
class Reference:
    """A photo that gives a factor: ``picture`` uint8 [S, S, 3], and its name on the sheet."""

    factor: str
    name: str
    picture: np.ndarray


class _Paper:
    """A white picture for cells of equal size."""

    def __init__(self, width: int, height: int, side: int) -> None:
        self.cell = side * max(1, -(-_CELL // side))
        self.image = Image.new("RGB", (width, height), _PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(14)

    def put(self, picture: np.ndarray, left: int, top: int) -> None:
        size = (self.cell, self.cell)
        self.image.paste(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST), (left, top))

    def strip(self, left: int, top: int, right: int, bottom: int) -> None:
        """Draw the grey background of reference photos."""
        self.draw.rectangle((left - _GAP, top, right + _GAP - 1, bottom + _GAP - 1), fill=_EDGE)

    def write(self, text: str, left: int, middle: float, width: int, *, soft: bool = False) -> None:
        """Write a line of text, cut to a width."""
        whole = text
        while len(text) > 1 and self.draw.textlength(text, font=self.font) > width:
            whole = whole[:-1]
            text = whole.rstrip() + "..."
        self.draw.text((left, middle), text, fill=_SOFT if soft else _INK, font=self.font, anchor="lm")


def sheet(
    fixed: Sequence[Reference], across: Sequence[Reference], down: Sequence[Reference], cells: np.ndarray
) -> np.ndarray:
    """The sheet as RGB uint8 [H, W, 3]: fixed references at the top; varying references and mixes below.

    References are on grey, mixes on white. Without ``down`` photos and mixes continue in lines of ten.

    Args:
        across: references of the factor that varies from left to right; at least one.
        down: references of a second factor, from top to bottom; empty: only one factor varies.
        cells: mixes uint8 [rows, columns, S, S, 3], one row without ``down``.
    """
    side = cells.shape[2]
    cell = side * max(1, -(-_CELL // side))
    step, columns = cell + _GAP, len(across) if down else min(_LINE, len(across))
    lines = 1 if down else -(-len(across) // _LINE)
    edge = cell + 2 * _GAP + (0 if down else -cell // 3)
    top = _MARGIN + (_NAME + cell + _GAP + _MARGIN if fixed else 0)
    line = _NAME + cell + 2 * _GAP + max(1, len(down)) * (step + (_NAME if down else 0)) + _MARGIN
    width = 2 * _MARGIN + max(edge + columns * step, len(fixed) * step) + _GAP
    paper = _Paper(width, top + lines * line, side)
    _fixed_band(paper, fixed, step)
    for number in range(lines):
        chosen = slice(number * columns, (number + 1) * columns)
        place = (_MARGIN + edge, top + number * line)
        _edge_across(paper, across[chosen], place, step, bool(down))
        below = place[1] + _NAME + cell + 2 * _GAP
        _mixes(paper, down, cells[:, chosen], (place[0], below), step)
    return np.asarray(paper.image)


def _fixed_band(paper: _Paper, fixed: Sequence[Reference], step: int) -> None:
    if not fixed:
        return
    bottom = _MARGIN + _NAME + paper.cell
    paper.strip(_MARGIN + _GAP, _MARGIN, _MARGIN + _GAP + len(fixed) * step - _GAP, bottom)
    for number, reference in enumerate(fixed):
        left = _MARGIN + _GAP + number * step
        paper.write(
            f"{reference.factor}: {reference.name}", left + 2, _MARGIN + _NAME / 2 + 1, paper.cell - 2
        )
        paper.put(reference.picture, left, _MARGIN + _NAME)


def _edge_across(
    paper: _Paper, across: Sequence[Reference], place: tuple[int, int], step: int, crossed: bool
) -> None:
    left, top = place
    paper.strip(left, top, left + len(across) * step - _GAP, top + _NAME + paper.cell)
    word = f"{across[0].factor} across" if crossed else across[0].factor
    paper.write(word, _MARGIN + _GAP, top + _NAME + paper.cell / 2, left - _MARGIN - 2 * _GAP)
    for number, reference in enumerate(across):
        paper.write(reference.name, left + number * step + 2, top + _NAME / 2 + 1, paper.cell - 2, soft=True)
        paper.put(reference.picture, left + number * step, top + _NAME)


def _mixes(
    paper: _Paper, down: Sequence[Reference], cells: np.ndarray, place: tuple[int, int], step: int
) -> None:
    left, top = place
    high = step + (_NAME if down else 0)
    if down:
        first = _MARGIN + _GAP
        paper.strip(first, top, first + paper.cell, top + len(down) * high - _GAP)
        paper.write(f"{down[0].factor} down", first, top - _GAP - _NAME, left - _MARGIN - 2 * _GAP)
        for number, reference in enumerate(down):
            paper.write(reference.name, first + 2, top + number * high + _NAME / 2, paper.cell - 2, soft=True)
            paper.put(reference.picture, first, top + number * high + _NAME)
    else:
        paper.write("mix", _MARGIN + _GAP, top + paper.cell / 2, left - _MARGIN - 2 * _GAP)
    for row, mixes in enumerate(cells):
        for column, mix in enumerate(mixes):
            paper.put(mix, left + column * step, top + row * high + (_NAME if down else 0))
