"""What the data doctor finds, and how bad it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: How many example files a finding names.
EXAMPLES = 5


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    STOPS = "stops training"
    MISLEADS = "will mislead"
    KNOW = "worth knowing"


class Line(NamedTuple):
    """A file's path below its set, and what is particular to it; ``between``: what stands between the two."""

    file: str
    note: str = ""
    between: str = ": "

    def __str__(self) -> str:
        return f"{self.file}{self.between}{self.note}" if self.note else self.file


@dataclass(frozen=True)
class Finding:
    """Something that was found in one set, or between two.

    Attributes:
        kind: its name for programs, as ``unknown-ids``.
        what: one sentence that says what was found, with how many.
        count: how many files (pairs, classes) it is about.
        examples: the first few, each a file's path below the set and what is particular to it.
        advice: one sentence: what to do about it.
        fixable: whether ``--fix`` mends it.
        domain: the set it was found in.
        columns, rows: a table of details, where there is one.
        files: the first few files that it is about, each as (set, path below the set), for pictures of them.
    """

    kind: str
    severity: Severity
    what: str
    count: int
    advice: str
    examples: tuple[str, ...] = ()
    fixable: bool = False
    domain: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def examples(lines: Iterable[str | Line]) -> tuple[str, ...]:
    """The first few, and a line that says how many more there are."""
    listed = list(map(str, lines))
    more = len(listed) - EXAMPLES
    return (*listed[:EXAMPLES], *([f"… and {more:,} more"] if more > 0 else []))


def places(domain: str, lines: Sequence[Line]) -> tuple[tuple[str, str], ...]:
    """Where the files of the first few lines are: (set, path below the set)."""
    return tuple((domain, line.file) for line in lines[:EXAMPLES])


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; those alike in the order they came."""
    order = list(Severity)
    return sorted(findings, key=lambda f: order.index(f.severity))


def many(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun: ``1 image``, ``1,200 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Sequence[object], most: int = 8) -> str:
    """The first items in one line."""
    return ", ".join(map(str, items[:most])) + (", …" if len(items) > most else "")


@dataclass(frozen=True)
class ClassCount:
    """How often one class occurs: pixels, and images that hold it."""

    name: str
    colour: tuple[int, int, int]
    pixels: int
    images: int


@dataclass(frozen=True)
class SetSummary:
    """One set in numbers.

    Attributes:
        name: what findings call it.
        spec: the path as given.
        role: ``training`` or ``evaluation``.
        layout: what it was read as.
        images, labels: numbers of files.
        bytes: of all files read.
        sizes: how many images have each (width, height).
        formats: how many images are of each format and mode.
        space: the label space's name; empty where there is none. ``space_told`` says where it comes from.
        classes: in the order of the space; empty without labels.
        ignored: pixels with no class; ``unknown``: pixels with an id or colour outside the space.
    """

    name: str
    spec: str
    role: str
    layout: str
    images: int
    labels: int
    bytes: int
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    space: str = ""
    space_told: str = ""
    classes: tuple[ClassCount, ...] = ()
    ignored: int = 0
    unknown: int = 0

    @property
    def class_pixels(self) -> int:
        """Pixels that have a class."""
        return sum(c.pixels for c in self.classes)
