"""Pictures for a contact sheet: spread over a set, and some of the files that something was found in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.facts import PairFacts
from stylebridge.data.doctor.translate import reading_space, to_train_ids
from stylebridge.data.files import LabelRef
from stylebridge.data.images import read_image
from stylebridge.errors import DataError

_WIDTH = 360  # px of a picture in the page


@dataclass(frozen=True)
class SheetPicture:
    """One image of the sheet.

    Attributes:
        image: RGB uint8 [h, w, 3], small.
        label: train ids uint8 [h, w], 255 = ignore; None without.
        unknown: bool [h, w], where the label map holds what its space does not know.
        note: what was found in it; empty for those that stand for the set.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    unknown: np.ndarray | None
    note: str


def contact_sheet(examined: Examined, most: int) -> list[SheetPicture]:
    """Up to ``most`` pictures: a third of files with findings, each kind in turn, the rest spread over the set."""
    notes = {i: note for i, facts in enumerate(examined.facts) if (note := _note(examined, i, facts))}
    shown = [i for i, f in enumerate(examined.facts) if f.image is not None and not f.image.error]
    odd = _in_turn({i: note for i, note in notes.items() if i in set(shown)}, most // 3)
    rest = [i for i in shown if i not in set(odd)]
    spread = np.unique(np.linspace(0, max(0, len(rest) - 1), min(most - len(odd), len(rest))).astype(int))
    chosen = sorted({*odd, *(rest[i] for i in spread.tolist())})
    pictures = (_picture(examined, i, notes.get(i, "")) for i in chosen)
    return [picture for picture in pictures if picture is not None]


def _in_turn(notes: dict[int, str], most: int) -> list[int]:
    """One file of each kind of note, then a second of each, …"""
    kinds: dict[str, list[int]] = {}
    for i, note in notes.items():
        kinds.setdefault(note, []).append(i)
    longest = max(map(len, kinds.values()), default=0)
    turns = [
        group[turn] for turn in range(min(longest, most)) for group in kinds.values() if turn < len(group)
    ]
    return turns[:most]


def _note(examined: Examined, i: int, facts: PairFacts) -> str:
    """What was found in a pair, in a few words."""
    image, label, classes = facts.image, facts.label, examined.classes[i]
    if image is None or image.header is None or image.error:
        return ""
    header, notes = image.header, []
    if label is not None and label.error:
        notes.append("unreadable label")
    elif label is not None and label.jpeg:
        notes.append("JPEG label")
    elif label is not None and label.size != header.shown_size:
        notes.append("label of another size")
    if classes is not None and classes.unknown:
        notes.append("unknown ids" if label is not None and label.grey else "unknown colours")
    elif label is not None and not label.grey and not label.error and classes is None:
        notes.append("colours, not ids")
    if classes is not None and not classes.unknown and not classes.counts.sum():
        notes.append("nothing labelled")
    if header.orientation != 1:
        notes.append("EXIF rotation")
    if header.mode == "CMYK":
        notes.append("CMYK")
    if image.transparent:
        notes.append("transparent")
    if image.contrast < 1:
        notes.append("one flat colour")
    return ", ".join(notes)


def _picture(examined: Examined, i: int, note: str) -> SheetPicture | None:
    pair, facts = examined.listed.pairs[i], examined.facts[i]
    if pair.image is None:
        return None
    try:
        image = Image.fromarray(read_image(pair.image))
    except DataError:  # it has changed since it was read
        return None
    width = min(_WIDTH, image.width)
    size = width, max(1, round(image.height * width / image.width))
    name = examined.show(pair.image)
    small = np.array(image.resize(size, Image.Resampling.BOX))
    if pair.label is None or facts.label is None or facts.label.error or facts.label.jpeg:
        return SheetPicture(name, small, None, None, note)
    label, unknown = _label(examined, pair.label, facts, image.size, size)
    return SheetPicture(name, small, label, unknown, note)


def _label(
    examined: Examined, file: LabelRef, facts: PairFacts, full: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if examined.space is None or facts.label is None:
        return None, None
    try:
        ids, unknown = to_train_ids(file, reading_space(examined.space, facts.label), full)
    except DataError:
        return None, None
    nearest = Image.Resampling.NEAREST
    return (
        np.array(Image.fromarray(ids).resize(size, nearest)),
        np.array(Image.fromarray(unknown.astype(np.uint8)).resize(size, nearest)) > 0,
    )
