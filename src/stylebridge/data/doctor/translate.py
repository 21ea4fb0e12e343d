"""Read label files as train ids although some values are outside the label space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stylebridge.data.doctor.facts import LabelFacts
from stylebridge.data.files import LabelRef, MaskStack
from stylebridge.data.images import read_label, read_label_colours
from stylebridge.data.label_space import IGNORE, LabelSpace


def reading_space(space: LabelSpace, label: LabelFacts) -> LabelSpace:
    """The space that reads a label file. For a file with colours, if the space lists no raw colours: by the display
    colours of its classes (black is ignored)."""
    if label.grey or space.raw_colours or space.nameless:
        return space
    return replace(space, raw_colours={(0, 0, 0): IGNORE} | {c: i for i, c in enumerate(space.colours)})


def to_train_ids(file: LabelRef, space: LabelSpace, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Train ids uint8 [H, W] with 255 = ignore, and the mask of values outside the space, bool [H, W].

    Args:
        size: (width, height) of its image, used for a label map without masks.

    Raises:
        DataError: the file cannot be read as ids or colours.
    """
    colours = None if isinstance(file, MaskStack) or not space.raw_colours else read_label_colours(file)
    if colours is None:
        found, table = read_label(file, size), space.raw_ids
    else:
        wide = colours.astype(np.int32)
        found = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
        table = {(r << 16) + (g << 8) + b: train for (r, g, b), train in space.raw_colours.items()}
    keys = np.array(sorted(table), np.int32)
    train_ids = np.array([table[int(key)] for key in keys], np.uint8)
    place = np.searchsorted(keys, found).clip(max=len(keys) - 1)
    known = keys[place] == found
    return np.where(known, train_ids[place], IGNORE).astype(np.uint8), ~known
