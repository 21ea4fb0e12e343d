"""What can be wrong with the images of a set."""

from __future__ import annotations

from collections import Counter

import numpy as np

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import Finding, Line, Severity, examples, many, places
from stylebridge.data.files import FileRef

#: Images below this side, in pixels, are reported.
_SMALL = 64

#: Grey values of a picture that shows nothing differ by no more than this.
_BLANK = 1.0

_CONVERTED = "They are read as 8-bit RGB, each time anew; a corrected copy holds them as 8-bit RGB PNG."
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
    """All that can be said of the images of one set."""
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
    """The finding with its examples; [] if there is no line. ``nouns``: the sentence after the number, for one and
    for several."""
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
        # The size tells which way a label map was drawn only if the picture is turned by a quarter.
        tells = header.orientation >= 5 and header.size[0] != header.size[1]
        (sure if tells or pair.label is None else unsure).append(line)
    nouns = "image is turned by its EXIF data", "images are turned by their EXIF data"
    doubt = ", and the size does not tell whether the label map is too"
    apply = "Other tools may not apply it as is done here; a corrected copy has it applied."
    return finding(examined, "exif-rotation", Severity.KNOW, sure, nouns, apply, True) + finding(
        examined,
        "exif-rotation-labelled",
        Severity.MISLEADS,
        unsure,
        (f"{nouns[0]}{doubt}", f"{nouns[1]}{doubt}"),
        f"See in the pictures whether labels and photos agree. {apply}",
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
        "Transparency is dropped, so colours show that viewers hide; lay the images over a background of your choice. "
        "A corrected copy drops it too.",
        True,
    ) + finding(
        examined,
        "alpha",
        Severity.KNOW,
        opaque,
        ("image has an alpha channel that is opaque", "images have an alpha channel that is opaque"),
        "It is dropped; a corrected copy is without it.",
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
        "They are read without a colour profile, so their colours are not those of the rest; export them as sRGB. "
        "A corrected copy holds them as read.",
        True,
    )


def _other_depths(examined: Examined) -> list[Finding]:
    headers = [(file, image.header) for _, file, image in examined.images() if image.header is not None]
    deep = [examined.line(f) for f, h in headers if h.sixteen_bit]
    palette = [examined.line(f) for f, h in headers if h.mode in ("P", "PA")]
    grey = [examined.line(f) for f, h in headers if h.mode in ("L", "LA", "1") and not h.sixteen_bit]
    if len(grey) == len(headers):  # a set of grey images is one by intent
        told = ("image is grey", "images are grey, all there are")
        advice = "Each channel of RGB gets the same values; a set in colour is a different domain."
    else:
        told = ("image is grey among images in colour", "images are grey among images in colour")
        advice = "Each channel of RGB gets the same values; remove them if colour should tell classes apart."
    return [
        *finding(
            examined,
            "sixteen-bit-image",
            Severity.KNOW,
            deep,
            ("image has 16 bits a channel", "images have 16 bits a channel"),
            "The whole range becomes 0 to 255, so 12-bit values in 16-bit files come out nearly black. "
            + _CONVERTED,
            True,
        ),
        *finding(
            examined,
            "palette-image",
            Severity.KNOW,
            palette,
            ("image has a palette of 256 colours at most", "images have a palette of 256 colours at most"),
            "Are these label maps among the images? " + _CONVERTED,
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
        ("image shows one flat colour", "images show one flat colour"),
        "Look at them; a camera or renderer that failed leaves such files. Remove them with their label maps.",
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
    advice = "Crops and scaling bring them to one size in training; see that objects are of like size in all of them."
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
        "Are these thumbnails? Give the full images: they are enlarged to the crop's size in training.",
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
            "image is not of the format that its name says",
            "images are not of the format that their names say",
        ),
        "stylebridge goes by the content, other tools may not; rename them.",
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
        ("file holds several images", "files hold several images each"),
        "The first is taken; split them if the others are meant too.",
    )
