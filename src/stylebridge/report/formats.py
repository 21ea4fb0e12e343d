"""Formatting of numbers and names in report pages."""

import re
from collections.abc import Sequence

from markupsafe import Markup


def percent(ratio: float | None) -> str:
    """0.4123 as "41.2"; None as a dash."""
    return "–" if ratio is None else f"{100 * ratio:.1f}"


def gain(before: float, after: float) -> str:
    """The difference of two ratios in points, "+21.8", computed from the rounded values."""
    points = round(round(100 * after, 1) - round(100 * before, 1), 1)
    return f"{points:+.1f}".replace("-", "−") if points else "±0.0"


def movers(
    names: Sequence[str], before: Sequence[float | None], after: Sequence[float | None]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The classes that lost and those that gained, each with its difference in points as from :func:`gain`; the largest
    first. Classes without a ratio before or after are left out."""
    changed = [
        (old - new, name, gain(old, new))
        for name, old, new in zip(names, before, after, strict=True)
        if old is not None and new is not None
    ]
    lost = [(name, text) for _, name, text in sorted(changed, key=lambda c: -c[0]) if text.startswith("−")]
    gained = [(name, text) for _, name, text in sorted(changed, key=lambda c: c[0]) if text.startswith("+")]
    return lost, gained


def share(ratio: float) -> str:
    """A share in percent with two significant digits: "31", "2.4", "0.07"."""
    value = 100 * ratio
    if value == 0:
        return "0"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.095 else f"{value:.2g}"


def count(number: int) -> str:
    """Format a count: 812, 45,300, 623 k, 10.7 M (with a non-breaking space)."""
    for least, one, digits, unit in (
        (999.95e6, 1e9, 1, "G"),
        (999.5e3, 1e6, 1, "M"),
        (100e3, 1e3, 0, "k"),
    ):
        if number >= least:
            return f"{number / one:.{digits}f}\u00a0{unit}"
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Format seconds: 42 s, 3.5 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.0f}\u00a0s"
    return f"{seconds / 60:.1f}\u00a0min" if seconds < 5400 else f"{seconds / 3600:.1f}\u00a0h"


def stage_title(name: str) -> str:
    """A stage's folder name as a title: "1-source-only" as "1. source-only"; other names unchanged."""
    number, dash, rest = name.partition("-")
    return f"{number}. {rest}" if dash and rest and number.isdecimal() else name


def loss_title(name: str) -> str:
    """A loss's key as a title: "segmenter/cross_entropy" as "segmenter: cross entropy"."""
    return name.replace("/", ": ", 1).replace("_", " ")


def breakable(text: str) -> Markup:
    """The escaped text, with line breaks allowed after "/" and "_" but not within an option such as --run."""
    pieces = re.split(r"((?<!\S)--?\w[\w-]*)", text)  # every other piece is an option
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = Markup('<span class="whole">{}</span>').format(piece)
        else:
            pieces[i] = Markup("<wbr>").join(re.split(r"(?:(?<=\w/)|(?<=_))(?=\w)", piece))
    return Markup("").join(pieces)
