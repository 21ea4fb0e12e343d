"""The quick check of the doctor before training: headers of a sample of the files."""

from __future__ import annotations

import time
from collections import Counter

from stylebridge.data.doctor.findings import Finding, Severity, by_severity, examples, many
from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef, LabelRef, MaskStack
from stylebridge.data.images import ImageHeader, read_header
from stylebridge.data.shards import ShardSequence
from stylebridge.data.spread import evenly_spaced
from stylebridge.errors import DataError

#: Most pairs checked, spread over the set, and the time limit in seconds.
SAMPLE, SECONDS = 256, 0.8

_DOCTOR = "List them all with `stylebridge data doctor`, which can write a corrected copy with --fix."


def quick_check(domain: Domain) -> list[Finding]:
    """Check the headers of up to 256 pairs, spread over the set; takes less than a second.

    Shards are skipped: their contents were checked when they were packed. Nothing is raised: an unreadable file is a
    finding.
    """
    if isinstance(domain.images, ShardSequence):
        return []
    total = len(domain.images)
    seen: dict[str, list[str]] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    begin = time.monotonic()
    looked = 0
    for i in evenly_spaced(total, SAMPLE):
        if time.monotonic() - begin > SECONDS:
            break
        looked += 1
        label = domain.labels[i] if domain.labels is not None else None
        for kind, line in _look(domain.images[i], label, sizes):
            seen.setdefault(kind, []).append(line)
    findings = [_finding(kind, lines, looked, total, domain.name) for kind, lines in seen.items()]
    if len(sizes) > 1:
        findings.append(_mixed(sizes, looked, total, domain.name))
    return by_severity(findings)


_Seen = list[tuple[str, str]]


def _look(image: FileRef, label: LabelRef | None, sizes: Counter[tuple[int, int]]) -> _Seen:
    try:
        header = read_header(image)
    except DataError as error:
        return [("unreadable-image", str(error).rstrip("."))]
    sizes[header.shown_size] += 1
    found: _Seen = [
        (kind, str(image)) for kind, is_so in _image_kinds(header, label is not None).items() if is_so
    ]
    if label is None or isinstance(label, MaskStack):
        return found
    try:
        mapped = read_header(label)
    except DataError as error:
        return [*found, ("unreadable-label", str(error))]
    if mapped.format == "JPEG":
        found.append(("jpeg-label", str(label)))
    elif mapped.size != header.shown_size:
        found.append(
            (
                "label-size",
                f"{label}: {mapped.size[0]}×{mapped.size[1]}, its image {header.shown_size[0]}×{header.shown_size[1]}",
            )
        )
    if mapped.sixteen_bit:
        found.append(("sixteen-bit-label", str(label)))
    return found


def _image_kinds(header: ImageHeader, labelled: bool) -> dict[str, bool]:
    return {
        "exif-rotation-labelled": labelled and header.orientation != 1,
        "exif-rotation": not labelled and header.orientation != 1,
        "cmyk": header.mode == "CMYK",
        "alpha": header.alpha,
        "sixteen-bit-image": header.sixteen_bit,
    }


_STOPS, _MISLEADS, _KNOW = Severity
_TEXTS: dict[str, tuple[Severity, str, str, str]] = {
    "unreadable-image": (_STOPS, "image cannot be read", "images cannot be read", _DOCTOR),
    "unreadable-label": (_STOPS, "label map cannot be read", "label maps cannot be read", _DOCTOR),
    "jpeg-label": (_STOPS, "label map is a JPEG", "label maps are JPEGs", "Export them again as PNG."),
    "label-size": (
        _STOPS,
        "label map has another size than its image",
        "label maps have other sizes than their images",
        _DOCTOR,
    ),
    "exif-rotation-labelled": (
        _MISLEADS,
        "labelled image is rotated by its EXIF data",
        "labelled images are rotated by their EXIF data",
        "The label maps must fit the rotated images. " + _DOCTOR,
    ),
    "exif-rotation": (
        _KNOW,
        "image is rotated by its EXIF data",
        "images are rotated by their EXIF data",
        "The rotation is applied. " + _DOCTOR,
    ),
    "cmyk": (
        _MISLEADS,
        "image is CMYK",
        "images are CMYK",
        "Their colours differ from the others. " + _DOCTOR,
    ),
    "alpha": (
        _KNOW,
        "image has an alpha channel",
        "images have an alpha channel",
        "It is dropped. " + _DOCTOR,
    ),
    "sixteen-bit-image": (
        _KNOW,
        "image has 16 bits per channel",
        "images have 16 bits per channel",
        "The whole range becomes 0 to 255. " + _DOCTOR,
    ),
    "sixteen-bit-label": (
        _KNOW,
        "label map has 16 bits",
        "label maps have 16 bits",
        "They are read in full. " + _DOCTOR,
    ),
}


def _of(looked: int, total: int) -> str:
    return f"of {looked:,}" + (f" checked ({total:,} in all)" if looked < total else "")


def _finding(kind: str, lines: list[str], looked: int, total: int, name: str) -> Finding:
    severity, one, several, advice = _TEXTS[kind]
    what = f"{name}: {many(len(lines), one, several)}, {_of(looked, total)}."
    return Finding(kind, severity, what, len(lines), advice, examples(lines), domain=name)


def _mixed(sizes: Counter[tuple[int, int]], looked: int, total: int, name: str) -> Finding:
    usual = sizes.most_common(1)[0][0]
    other = sizes.total() - sizes[usual]
    what = f"{name}: {many(other, 'image is', 'images are')} not {usual[0]}×{usual[1]}, {_of(looked, total)}."
    return Finding(
        "sizes", Severity.KNOW, what, other, "Training crops and scales them to one size.", domain=name
    )
