"""Pictures for a contact sheet: a sample of a set, and some files with findings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.facts import PairFacts
from stylebridge.data.doctor.findings import Finding
from stylebridge.data.doctor.translate import reading_space, to_train_ids
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.resizing import resized
from stylebridge.data.spread import evenly_spaced
from stylebridge.errors import DataError

#: Largest width and height of a picture in the page, in pixels: on the contact sheet, and beside a finding.
_SHEET, _BESIDE = (360, 720), (180, 180)

#: Most pictures beside one finding.
_PER_FINDING = 4


@dataclass(frozen=True)
class SheetPicture:
    """One image of the sheet.

    Attributes:
        image: RGB uint8 [h, w, 3], small.
        label: train ids uint8 [h, w], 255 = ignore; None without labels.
        unknown: bool [h, w], pixels whose label is outside the label space.
        note: its findings; empty for pictures of the general sample.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    unknown: np.ndarray | None
    note: str


def contact_sheet(examined: Examined, most: int) -> list[SheetPicture]:
    """Up to ``most`` pictures: a third with findings, each kind in turn, the others spread over the set."""
    notes = {i: note for i, facts in enumerate(examined.facts) if (note := _note(examined, i, facts))}
    shown = [i for i, f in enumerate(examined.facts) if f.image is not None and not f.image.error]
    odd = _in_turn({i: note for i, note in notes.items() if i in set(shown)}, most // 3)
    rest = [i for i in shown if i not in set(odd)]
    chosen = sorted({*odd, *(rest[i] for i in evenly_spaced(len(rest), most - len(odd)))})
    pictures = (_picture(examined, i, notes.get(i, ""), _SHEET) for i in chosen)
    return [picture for picture in pictures if picture is not None]


def offending_pictures(
    sets: Sequence[Examined], findings: Sequence[Finding], workers: int | None = None
) -> dict[tuple[str, str], SheetPicture]:
    """Small pictures of the first files of each finding, by (set, path below the set), without blank ones such as
    unreadable files."""
    wanted = {place for finding in findings for place in finding.files[:_PER_FINDING]}
    jobs: list[tuple[tuple[str, str], Examined, int]] = []
    for examined in sets:
        for i, pair in enumerate(examined.listed.pairs):
            for file in (pair.image, pair.label):
                place = (examined.name, "" if file is None else examined.show(file))
                if place in wanted:
                    jobs.append((place, examined, i))
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        made = list(pool.map(lambda job: _picture(job[1], job[2], "", _BESIDE), jobs))
    return {
        place: replace(picture, name=place[1])
        for (place, _, _), picture in zip(jobs, made, strict=True)
        if picture
    }


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
    """The findings about a pair, in a few words."""
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
        notes.append("a single colour")
    return ", ".join(notes)


def _picture(examined: Examined, i: int, note: str, most: tuple[int, int]) -> SheetPicture | None:
    """A pair, scaled down; without a readable image, the label map in its colours. None if nothing can be read."""
    pair, facts = examined.listed.pairs[i], examined.facts[i]
    name = examined.show(file) if (file := pair.image or pair.label) is not None else ""
    image = _read(pair.image)
    has_label = facts.label is not None and not facts.label.error and not facts.label.jpeg
    if image is not None:
        size = _shrunk(image.size, most)
        small = np.array(image.resize(size, Image.Resampling.BOX))
        label, unknown = _label(examined, i, image.size, size) if has_label else (None, None)
        return SheetPicture(name, small, label, unknown, note)
    if not has_label or facts.label is None or examined.space is None:
        return None
    label, unknown = _label(examined, i, facts.label.size, _shrunk(facts.label.size, most))
    return None if label is None else SheetPicture(name, examined.space.colourise(label), None, unknown, note)


def _read(file: FileRef | None) -> Image.Image | None:
    if file is None:
        return None
    try:
        return Image.fromarray(read_image(file))
    except DataError:  # unreadable, or changed after it was read
        return None


def _shrunk(size: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
    """(width, height) within ``most``, with the aspect ratio of ``size``, at least one pixel; never enlarged."""
    scale = min(1.0, *(limit / side for limit, side in zip(most, size, strict=True) if side))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _label(
    examined: Examined, i: int, full: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A pair's train ids and the mask of unknown pixels, scaled down; None if they cannot be read."""
    file, facts = examined.listed.pairs[i].label, examined.facts[i].label
    if examined.space is None or file is None or facts is None:
        return None, None
    try:
        ids, unknown = to_train_ids(file, reading_space(examined.space, facts), full)
    except DataError:
        return None, None
    return resized(ids, size), resized(unknown.astype(np.uint8), size) > 0
