"""The data doctor's page: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stylebridge.data.doctor.findings import Finding, SetSummary, Severity
from stylebridge.data.doctor.fix import FixSummary
from stylebridge.data.doctor.sheet import SheetPicture
from stylebridge.report.formats import count
from stylebridge.report.page import open_environment, write_page
from stylebridge.report.pictures import Palette, map_uri, mask_uri, photo_uri
from stylebridge.version import __version__

_MARK = (255, 45, 85)  # colour of pixels outside the label space
_GENERATOR = "stylebridge data doctor"
_MOST_FILES = 200  # most files of a corrected copy that are listed

_SHORT = {Severity.STOPS: "stops", Severity.MISLEADS: "misleads", Severity.KNOW: "know"}


@dataclass(frozen=True)
class SetSheet:
    """The contact sheet of one set; ``space`` is None if labels are not shown."""

    name: str
    space: Palette | None
    pictures: Sequence[SheetPicture]


@dataclass(frozen=True)
class DoctorPage:
    """The contents of the page: findings (the worst first), sets and sheets in the same order, corrected copies by set,
    findings in these, and pictures of files with findings by (set, path below the set)."""

    findings: Sequence[Finding]
    sets: Sequence[SetSummary]
    sheets: Sequence[SetSheet]
    seconds: float
    fixes: dict[str, FixSummary] = field(default_factory=dict)
    left: Sequence[Finding] = ()
    shown: dict[tuple[str, str], SheetPicture] = field(default_factory=dict)


def file_size(number: int) -> str:
    """Format a number of bytes: 52,353 B, 35.2 MB."""
    text = count(number)
    return text + ("\u00a0B" if text[-1].isdigit() else "B")


def is_doctor_page(path: Path) -> bool:
    """Whether a file is a page of the data doctor."""
    try:
        with path.open("rb") as file:
            return f'content="{_GENERATOR}'.encode() in file.read(2000)
    except OSError:
        return False


def write_doctor_page(path: Path, page: DoctorPage) -> None:
    """Write the page to ``path`` atomically; its folder is created if needed.

    Raises:
        RunError: it cannot be written.
    """
    write_page(path, render(page))


def render(page: DoctorPage) -> str:
    """The page's HTML."""
    environment = open_environment()
    pictures = [_picture_view(picture, sheet.space) for sheet in page.sheets for picture in sheet.pictures]
    spaces = {sheet.name: sheet.space for sheet in page.sheets}
    shown = {place: _picture_view(picture, spaces.get(place[0])) for place, picture in page.shown.items()}
    starts = np.cumsum([0, *(len(sheet.pictures) for sheet in page.sheets)]).tolist()
    return environment.get_template("doctor.html.j2").render(
        generator=_GENERATOR,
        version=__version__,
        style=Markup(environment.get_template("style.css.j2").render()),
        groups=_groups(page.findings, shown),
        left=_groups(page.left, {}),
        stops_left=sum(f.severity is Severity.STOPS for f in page.left),
        numbers={_SHORT[s]: sum(f.severity is s for f in page.findings) for s in Severity},
        several=len(page.sets) > 1,
        sets=[
            _set_view(summary, pictures[start:end])
            for summary, start, end in zip(page.sets, starts, starts[1:], strict=False)
        ],
        number_of_files=sum(each.images + each.labels for each in page.sets),
        size=file_size(sum(each.bytes for each in page.sets)),
        seconds=page.seconds,
        fixes=[_fix_view(name, fixed) for name, fixed in page.fixes.items()],
        mark="#" + bytes(_MARK).hex(),
    )


def _groups(
    findings: Sequence[Finding], shown: dict[tuple[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    groups = []
    for severity in Severity:
        members = [
            {"finding": finding, "pictures": [shown[place] for place in finding.files if place in shown]}
            for finding in findings
            if finding.severity is severity
        ]
        if members:
            groups.append({"title": severity.value, "short": _SHORT[severity], "members": members})
    return groups


def _set_view(summary: SetSummary, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    total = max(1, summary.class_pixels)
    scale = max((c.pixels / total for c in summary.classes), default=0) or 1.0
    return {
        "summary": summary,
        "sizes": [(f"{w}×{h}", number) for (w, h), number in summary.sizes.most_common(6)],
        "more_sizes": max(0, len(summary.sizes) - 6),
        "formats": summary.formats.most_common(6),
        "classes": [
            {
                "name": c.name,
                "colour": "#" + bytes(c.colour).hex(),
                "pixels": c.pixels / total,
                "images": c.images / max(1, summary.labels),
                "bar": c.pixels / total / scale,
                "seen": c.pixels > 0,
            }
            for c in summary.classes
        ],
        "pictures": pictures,
        "overlaid": any(picture["map"] for picture in pictures),
        "unknown": any(picture["mark"] for picture in pictures),
    }


def _picture_view(picture: SheetPicture, space: Palette | None) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    unknown = picture.unknown if picture.unknown is not None and picture.unknown.any() else None
    return {
        "name": picture.name,
        "note": picture.note,
        "width": width,
        "height": height,
        "tiny": width < 200,
        "photo": photo_uri(picture.image, 75),
        "map": map_uri(picture.label, space) if picture.label is not None and space is not None else "",
        "mark": mask_uri(unknown, _MARK) if unknown is not None else "",
    }


def _fix_view(name: str, fixed: FixSummary) -> dict[str, Any]:
    return {
        "name": name,
        "fixed": fixed,
        "changes": fixed.changes.most_common(),
        "changed": fixed.changed[:_MOST_FILES],
        "left_out": fixed.left_out[:_MOST_FILES],
        "more": max(0, len(fixed.changed) - _MOST_FILES) + max(0, len(fixed.left_out) - _MOST_FILES),
    }
