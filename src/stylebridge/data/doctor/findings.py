"""Findings of the data doctor, and their severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: Most example files in a finding.
EXAMPLES = 5


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    STOPS = "stops training"
    MISLEADS = "will mislead"
    KNOW = "worth knowing"


class Line(NamedTuple):
    """A file's path below its set, and a note on it; ``between``: the separator."""

    file: str
    note: str = ""
    between: str = ": "

    def __str__(self) -> str:
        return f"{self.file}{self.between}{self.note}" if self.note else self.file


@dataclass(frozen=True)
class Finding:
    """A finding in one set, or between two.

    Attributes:
        kind: its identifier, such as ``unknown-ids``.
        what: one sentence that states the problem and the number of files.
        count: number of files (pairs, classes).
        examples: the first few files: the path below the set and a note.
        advice: one sentence with the remedy.
        fixable: whether ``--fix`` corrects it.
        domain: the name of the set.
        columns, rows: a table of details, if any.
        files: the first few files as (set, path below the set), for their pictures.
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
    """The first few, and a line with the number of the others."""
    listed = list(map(str, lines))
    more = len(listed) - EXAMPLES
    return (*listed[:EXAMPLES], *([f"… and {more:,} more"] if more > 0 else []))


def places(domain: str, lines: Sequence[Line]) -> tuple[tuple[str, str], ...]:
    """The files of the first few lines: (set, path below the set)."""
    return tuple((domain, line.file) for line in lines[:EXAMPLES])


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, the worst first (stable)."""
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
    """Frequency of a class: pixels, and images that contain it."""

    name: str
    colour: tuple[int, int, int]
    pixels: int
    images: int


@dataclass(frozen=True)
class SetSummary:
    """The statistics of a set.

    Attributes:
        name: its name in findings.
        spec: the path as given.
        role: ``training`` or ``evaluation``.
        layout: its layout.
        images, labels: numbers of files.
        bytes: size of all files.
        sizes: number of images of each (width, height).
        formats: number of images of each format and mode.
        space: the label space's name, or empty; ``space_told``: its source.
        classes: in the order of the space; empty without labels.
        ignored: pixels without a class; ``unknown``: pixels with an id or colour outside the space.
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
        """Number of pixels with a class."""
        return sum(c.pixels for c in self.classes)
