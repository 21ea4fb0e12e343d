"""Problems of the images of a set."""

from __future__ import annotations

from collections import Counter

import numpy as np

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import Finding, Line, Severity, examples, many, places
from stylebridge.data.files import FileRef

#: Images with a smaller side, in pixels, are reported.
_SMALL = 64

#: Largest range of grey values of a blank image.
_BLANK = 1.0

_CONVERTED = "They are converted to 8-bit RGB each time they are read; a corrected copy has 8-bit RGB PNGs."
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm"},
}


def image_findings(examined: Examined) -> list[Finding]:
    """All findings about the images of a set."""
    return [
        finding
        for rule in (
            _unreadable,
            _rotated,
            _transparent,
            _cmyk,
            _other_depths,
            _blank,
            _sizes,
            _small,
            _endings,
            _frames,
        )
        for finding in rule(examined)
    ]


def finding(
    examined: Examined,
    kind: str,
    severity: Severity,
    lines: list[Line],
    nouns: tuple[str, str],
    advice: str,
    fixable: bool = False,
) -> list[Finding]:
    """The finding with its examples; [] without lines. ``nouns``: the rest of the sentence after the number, singular
    and plural."""
    if not lines:
        return []
    what = f"{many(len(lines), *nouns)}."
    shown = places(examined.name, lines)
    return [
        Finding(
            kind, severity, what, len(lines), advice, examples(lines), fixable, examined.name, files=shown
        )
    ]


def _unreadable(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(pair.image, facts.image.error)
        for pair, facts in zip(examined.listed.pairs, examined.facts, strict=True)
        if pair.image is not None and facts.image is not None and facts.image.error
    ]
    return finding(
        examined,
        "unreadable-image",
        Severity.STOPS,
        lines,
        ("image cannot be read", "images cannot be read"),
        "Copy or download them again, or remove them; a corrected copy leaves them out.",
        fixable=True,
    )


_HOW = {
    2: "mirrored",
    3: "by 180°",
    4: "mirrored, by 180°",
    5: "mirrored, by 90°",
    6: "by 90°",
    7: "mirrored, by 270°",
    8: "by 270°",
}


def _rotated(examined: Examined) -> list[Finding]:
    sure: list[Line] = []
    unsure: list[Line] = []
    for pair, file, image in examined.images():
        header = image.header
        if header is None or header.orientation == 1:
            continue
        line = examined.line(file, _HOW[header.orientation])
        # Sizes show the orientation of a label map only for rotations by 90°.
        tells = header.orientation >= 5 and header.size[0] != header.size[1]
        (sure if tells or pair.label is None else unsure).append(line)
    nouns = "image is rotated by its EXIF data", "images are rotated by their EXIF data"
    doubt = ", and the size does not show whether the label map is too"
    apply = "Other tools may ignore the rotation; a corrected copy has it applied."
    return finding(examined, "exif-rotation", Severity.KNOW, sure, nouns, apply, True) + finding(
        examined,
        "exif-rotation-labelled",
        Severity.MISLEADS,
        unsure,
        (f"{nouns[0]}{doubt}", f"{nouns[1]}{doubt}"),
        f"Check in the pictures that labels and photos agree. {apply}",
        True,
    )


def _transparent(examined: Examined) -> list[Finding]:
    real = [examined.line(f) for _, f, i in examined.images() if i.transparent]
    opaque = [
        examined.line(f) for _, f, i in examined.images() if i.header and i.header.alpha and not i.transparent
    ]
    return finding(
        examined,
        "transparent",
        Severity.MISLEADS,
        real,
        ("image has transparent pixels", "images have transparent pixels"),
        "Transparency is dropped, which shows colours that viewers hide; flatten the images onto a background. "
        "A corrected copy drops it too.",
        True,
    ) + finding(
        examined,
        "alpha",
        Severity.KNOW,
        opaque,
        ("image has an alpha channel that is opaque", "images have an alpha channel that is opaque"),
        "It is dropped, also in a corrected copy.",
        True,
    )


def _cmyk(examined: Examined) -> list[Finding]:
    lines = [examined.line(f) for _, f, i in examined.images() if i.header and i.header.mode == "CMYK"]
    return finding(
        examined,
        "cmyk",
        Severity.MISLEADS,
        lines,
        ("image is CMYK", "images are CMYK"),
        "They are read without a colour profile, so their colours differ from the others; export them as sRGB. "
        "A corrected copy has them as read.",
        True,
    )


def _other_depths(examined: Examined) -> list[Finding]:
    headers = [(file, image.header) for _, file, image in examined.images() if image.header is not None]
    deep = [examined.line(f) for f, h in headers if h.sixteen_bit]
    palette = [examined.line(f) for f, h in headers if h.mode in ("P", "PA")]
    grey = [examined.line(f) for f, h in headers if h.mode in ("L", "LA", "1") and not h.sixteen_bit]
    if len(grey) == len(headers):  # a set of only grey images is intended
        told = ("image is grey", "images are grey, all of the set")
        advice = "Each channel of RGB gets the same values; a colour set is a different domain."
    else:
        told = ("image is grey among colour images", "images are grey among colour images")
        advice = "Each channel of RGB gets the same values; remove them if colour matters for the classes."
    return [
        *finding(
            examined,
            "sixteen-bit-image",
            Severity.KNOW,
            deep,
            ("image has 16 bits per channel", "images have 16 bits per channel"),
            "The whole range becomes 0 to 255, so 12-bit values in 16-bit files become nearly black. "
            + _CONVERTED,
            True,
        ),
        *finding(
            examined,
            "palette-image",
            Severity.KNOW,
            palette,
            ("image has a palette of at most 256 colours", "images have a palette of at most 256 colours"),
            "Check that they are not label maps. " + _CONVERTED,
            True,
        ),
        *finding(examined, "grey-image", Severity.KNOW, grey, told, advice),
    ]


def _blank(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(f, f"grey value {int(np.median(i.thumbnail))}")
        for _, f, i in examined.images()
        if i.thumbnail is not None and i.contrast < _BLANK
    ]
    return finding(
        examined,
        "blank",
        Severity.MISLEADS,
        lines,
        ("image has a single colour", "images have a single colour"),
        "Check them; a failed camera or renderer writes such files. Remove them with their label maps.",
    )


def _sizes(examined: Examined) -> list[Finding]:
    sizes = Counter(i.header.shown_size for _, _, i in examined.images() if i.header is not None)
    if len(sizes) < 2:
        return []
    usual, number = sizes.most_common(1)[0]
    total = sizes.total()
    odd = [
        examined.line(f, f"{i.header.shown_size[0]}×{i.header.shown_size[1]}")
        for _, f, i in examined.images()
        if i.header is not None and i.header.shown_size != usual
    ]
    most = f"{number:,} of {total:,} are {usual[0]}×{usual[1]}"
    what = f"Images have {len(sizes):,} sizes: {most}, {many(len(odd), 'is', 'are')} not."
    advice = (
        "Training crops and scales them to one size; check that objects have similar sizes in all of them."
    )
    shown = places(examined.name, odd)
    return [
        Finding(
            "sizes", Severity.KNOW, what, len(odd), advice, examples(odd), domain=examined.name, files=shown
        )
    ]


def _small(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(f, f"{i.header.shown_size[0]}×{i.header.shown_size[1]}")
        for _, f, i in examined.images()
        if i.header is not None and min(i.header.size) < _SMALL
    ]
    return finding(
        examined,
        "small",
        Severity.MISLEADS,
        lines,
        (f"image is below {_SMALL} pixels wide or high", f"images are below {_SMALL} pixels wide or high"),
        "If these are thumbnails, use the full images: training enlarges them to the crop's size.",
    )


def _endings(examined: Examined) -> list[Finding]:
    def wrong(file: FileRef, form: str) -> bool:
        return form in _SUFFIXES and file.suffix.lower() not in _SUFFIXES[form]

    lines = [
        examined.line(f, i.header.format)
        for _, f, i in examined.images()
        if i.header is not None and wrong(f, i.header.format)
    ]
    return finding(
        examined,
        "ending",
        Severity.KNOW,
        lines,
        (
            "image has another format than its suffix says",
            "images have another format than their suffix says",
        ),
        "stylebridge reads the content, but other tools may use the suffix; rename them.",
    )


def _frames(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(f, f"{i.header.frames:,}{' or more' if i.header.frames >= 100 else ''}")
        for _, f, i in examined.images()
        if i.header is not None and i.header.frames > 1
    ]
    return finding(
        examined,
        "frames",
        Severity.KNOW,
        lines,
        ("file has several images", "files have several images each"),
        "The first is read; split the files to use the others.",
    )
