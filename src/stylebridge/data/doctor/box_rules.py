"""Problems of the bounding boxes of a set."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path

from stylebridge.data.box_files import COLUMNS, Box, Boxes, BoxProblem, find_boxes, scan_boxes
from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import Finding, Line, Severity, examples, many, places
from stylebridge.errors import DataError

#: The name of the box file in a corrected copy.
FIXED_BOXES = "boxes.csv"


@dataclass(frozen=True)
class ExaminedBoxes:
    """The boxes of a set.

    Attributes:
        boxes: the boxes of valid rows.
        problems: the invalid rows.
        corners: whether the numbers fit the images only as left, top, right, bottom, so that all are uncertain.
        kept: the box of each image, clipped to it, by the pair's key; only images with a box.
    """

    boxes: Boxes
    problems: list[BoxProblem]
    corners: bool
    kept: dict[str, Box] = field(default_factory=dict)


def examine_boxes(examined: Examined, named: str | Path | None) -> tuple[ExaminedBoxes | None, list[Finding]]:
    """The boxes of a set and their problems; None without a box file.

    Args:
        named: the box file; None: the one in the set with the usual name.
    """
    place = examined.listed.root
    path = find_boxes(place, named)
    if path is None:
        return None, []
    try:
        boxes, problems = scan_boxes(path)
    except DataError as error:
        advice = "Correct the file; its boxes were not checked."
        found = Finding("boxes-file", Severity.STOPS, str(error), 1, advice, domain=examined.name)
        return None, [found]
    corners = _are_corners(examined, boxes)
    unmatched = boxes.unmatched(_names(examined))
    sure = {problem.image for problem in unmatched}
    kept: dict[str, Box] = {}
    for pair, file, image in examined.images():
        name = examined.show(file)
        key = None if name in sure else boxes.key(name)
        if key is None or image.header is None:
            continue
        box, size = boxes.by_name[key], image.header.shown_size
        inside = None if corners and box.leaves(*size) else box.clipped(*size)
        if inside is not None:
            kept[pair.key] = inside
    read = ExaminedBoxes(boxes, problems, corners, kept)
    return read, [*_rows(examined, read), *_unmatched(examined, read, unmatched), *_leaving(examined, read)]


def _names(examined: Examined) -> list[str]:
    return [examined.show(pair.image) for pair in examined.listed.pairs if pair.image is not None]


def _are_corners(examined: Examined, boxes: Boxes) -> bool:
    """Whether some boxes extend beyond their images, but none if read as left, top, right, bottom."""
    leaving, fitting = 0, True
    for _, file, image in examined.images():
        key = boxes.key(examined.show(file))
        if key is None or image.header is None:
            continue
        box, size = boxes.by_name[key], image.header.shown_size
        leaving += box.leaves(*size)
        turned = Box(box.x, box.y, box.width - box.x, box.height - box.y)
        fitting = fitting and turned.width > 0 and turned.height > 0 and not turned.leaves(*size)
    return leaving > 0 and fitting


def _finding(examined: Examined, kind: str, what: str, lines: list[Line], advice: str, **more) -> Finding:
    return Finding(
        kind, Severity.STOPS, what, len(lines), advice, examples(lines), domain=examined.name, **more
    )


def _rows(examined: Examined, read: ExaminedBoxes) -> list[Finding]:
    if not read.problems:
        return []
    path = read.boxes.path
    lines = [Line(f"{path.name}, line {p.line}", f"{p.what}: {p.mend}") for p in read.problems]
    what = f"{many(len(lines), f'row of {path.name}', f'rows of {path.name}')} cannot be used."
    advice = "Correct them; a corrected copy leaves them out, and images that then have no box."
    return [_finding(examined, "box-rows", what, lines, advice, fixable=True)]


def _unmatched(examined: Examined, read: ExaminedBoxes, unmatched: list[BoxProblem]) -> list[Finding]:
    findings = []
    without = [Line(p.image) for p in unmatched if not p.line]
    if without:
        what = f"{many(len(without), 'image has', 'images have')} no box in {read.boxes.path.name}."
        advice = "Add rows for them or remove the images; a corrected copy leaves them out."
        shown = places(examined.name, without)
        findings.append(_finding(examined, "no-box", what, without, advice, fixable=True, files=shown))
    shared = [Line(p.image, f"line {p.line}: {p.what}") for p in unmatched if p.line]
    if shared:
        what = f"{many(len(shared), 'image has', 'images have')} a box that may belong to another image."
        advice = "Name the images with their folders in the box file; a corrected copy leaves them out."
        shown = places(examined.name, shared)
        findings.append(_finding(examined, "shared-box", what, shared, advice, fixable=True, files=shown))
    used = {read.boxes.key(name) for name in _names(examined)}
    spare = [Line(name, f"line {read.boxes.lines[name]}") for name in read.boxes.by_name if name not in used]
    if spare:
        what = f"{many(len(spare), 'box belongs', 'boxes belong')} to no image of the set."
        advice = "They are not used; check that the names are right."
        found = _finding(examined, "spare-boxes", what, spare, advice)
        findings.append(replace(found, severity=Severity.KNOW))
    return findings


def _leaving(examined: Examined, read: ExaminedBoxes) -> list[Finding]:
    """Boxes that extend beyond their images and can be clipped, and boxes outside their images."""
    cut: list[Line] = []
    outside: list[Line] = []
    for _, file, image in examined.images():
        name = examined.show(file)
        key = read.boxes.key(name)
        if key is None or image.header is None:
            continue
        box, size = read.boxes.by_name[key], image.header.shown_size
        if box.leaves(*size):
            inside = box.clipped(*size)
            place = f"line {read.boxes.lines[key]}: {box} in {size[0]}×{size[1]}"
            (outside if inside is None else cut).append(
                Line(name, place + (f", clipped to {inside}" if inside and not read.corners else ""))
            )
    if read.corners:
        lines = cut + outside
        beyond = many(len(lines), "box extends beyond its image", "boxes extend beyond their images")
        what = f"{beyond}; read as corners, all boxes fit."
        advice = (
            "The columns are x, y, width, height, and these numbers look like left, top, right, bottom: convert them. "
            "A corrected copy leaves these images out."
        )
        shown = places(examined.name, lines)
        return [_finding(examined, "box-corners", what, lines, advice, files=shown)]
    findings = []
    for kind, lines, nouns, advice in (
        (
            "box-beyond",
            cut,
            ("box extends beyond its image", "boxes extend beyond their images"),
            "Correct the rows; a corrected copy keeps the part inside the image.",
        ),
        (
            "box-outside",
            outside,
            ("box is outside its image", "boxes are outside their images"),
            "Correct the rows or remove the images; a corrected copy leaves them out.",
        ),
    ):
        if lines:
            shown = places(examined.name, lines)
            what = f"{many(len(lines), *nouns)}."
            findings.append(_finding(examined, kind, what, lines, advice, fixable=True, files=shown))
    return findings


def write_boxes(read: ExaminedBoxes, names: dict[str, str], path: Path) -> int:
    """Write the boxes of a corrected copy.

    Args:
        names: the paths of the copy's images below its image folder, by the pair's key.

    Returns:
        The number of boxes that were clipped to their images.

    Raises:
        OSError: the file cannot be written.
    """
    before = set(read.boxes.by_name.values())
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for key, name in sorted(names.items()):
            rows.writerow((name, *(f"{number:.10g}" for number in read.kept[key])))
    return sum(read.kept[key] not in before for key in names)
