"""Read a whole set in parallel, and count its classes in its label space."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from stylebridge.data.doctor.facts import ImageFacts, LabelFacts, PairFacts, pair_facts
from stylebridge.data.doctor.findings import ClassCount, Line, SetSummary
from stylebridge.data.doctor.listing import Listed, Pair
from stylebridge.data.doctor.spaces import space_of_most
from stylebridge.data.files import FileRef, LabelRef
from stylebridge.data.label_inference import CLASSES_FILE, classes_file, find_evidence
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError

#: Pairs submitted to the threads at once; limits the results waiting in memory.
_AHEAD = 256


@dataclass(frozen=True)
class ClassPixels:
    """One label map counted in a label space.

    Attributes:
        counts: int64 [K], pixels of each class.
        ignored: pixels of ids that map to 255.
        unknown: pixels of each id (an int) or colour (a triple) outside the space; ``None`` counts the rest of a file
            with more values than are counted.
    """

    counts: np.ndarray
    ignored: int
    unknown: dict[int | tuple[int, int, int] | None, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """A set after reading: ``facts[i]`` and ``classes[i]`` belong to ``listed.pairs[i]``.

    ``odd``: pairs by key whose label map does not match the inferred label space, with the reason.
    ``contradiction``: why training would reject the label maps, as a sentence.
    """

    listed: Listed
    facts: list[PairFacts]
    space: LabelSpace | None
    space_told: str
    classes: list[ClassPixels | None]
    odd: dict[str, str] = field(default_factory=dict)
    contradiction: str = ""

    @property
    def name(self) -> str:
        """Its name in findings."""
        return self.listed.name

    def images(self) -> Iterator[tuple[Pair, FileRef, ImageFacts]]:
        """The readable images."""
        for pair, facts in zip(self.listed.pairs, self.facts, strict=True):
            if pair.image is not None and facts.image is not None and not facts.image.error:
                yield pair, pair.image, facts.image

    def labels(self) -> Iterator[tuple[Pair, LabelRef, LabelFacts]]:
        """The readable label maps (including JPEGs, which have no exact ids)."""
        for pair, facts in zip(self.listed.pairs, self.facts, strict=True):
            if pair.label is not None and facts.label is not None and not facts.label.error:
                yield pair, pair.label, facts.label

    def counted(self) -> Iterator[tuple[Pair, LabelRef, ClassPixels]]:
        """The counted label maps."""
        for pair, counts in zip(self.listed.pairs, self.classes, strict=True):
            if pair.label is not None and counts is not None:
                yield pair, pair.label, counts

    def line(self, file: LabelRef, note: str = "") -> Line:
        """A file as a line of a finding."""
        return Line(self.show(file), note)

    def show(self, file: LabelRef) -> str:
        """A file's path in findings."""
        return self.listed.below(file)


def read_facts(
    pairs: Sequence[Pair], workers: int | None = None, progress: Callable[[int], None] | None = None
) -> list[PairFacts]:
    """Read every file once, in threads: decoding, hashing and counting release the GIL.

    Args:
        workers: number of threads; None: one for each core.
        progress: called with 1 after each pair.
    """
    facts: list[PairFacts] = []
    waiting = iter(pairs)
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        while chunk := list(islice(waiting, _AHEAD)):
            for found in pool.map(lambda pair: pair_facts(pair.image, pair.label), chunk):
                facts.append(found)
                if progress is not None:
                    progress(1)
    return facts


def examine(
    listed: Listed, facts: list[PairFacts], space: LabelSpace | None, told: str = "as named"
) -> Examined:
    """Determine the label space (``space`` if given, with its source in ``told``) and count the classes in it.

    Raises:
        DataError: ``classes.yaml`` beside the labels is invalid.
    """
    odd: dict[str, str] = {}
    contradiction = ""
    if not listed.labelled:
        space, told = None, ""
    elif space is None and listed.space is not None:
        space, told = listed.space, "that of the layout"
    elif space is None:
        space, told, odd = _infer(listed, facts)
        contradiction = "" if odd else _contradiction(listed, facts)
    classes = [None if space is None or f.label is None else class_pixels(f.label, space) for f in facts]
    return Examined(listed, facts, space, told, classes, odd, contradiction)


def class_pixels(facts: LabelFacts, space: LabelSpace) -> ClassPixels | None:
    """Count a label map in a space, as :meth:`LabelSpace.read` would read it; None if it cannot be read as ids or
    colours."""
    if facts.error or facts.jpeg:
        return None
    colours = bool(facts.colours) and bool(space.raw_colours)
    if not colours and not facts.grey:
        return None
    found = facts.colours if colours else facts.ids
    table: dict = space.raw_colours if colours else space.raw_ids
    counts = np.zeros(space.num_classes, np.int64)
    ignored, unknown = 0, {}
    for value, pixels in found.items():
        train = table.get(value)
        if train is None:
            unknown[value] = pixels
        elif train == IGNORE:
            ignored += pixels
        else:
            counts[train] += pixels
    if facts.rest:
        unknown[None] = facts.rest
    return ClassPixels(counts, ignored, unknown)


# --- the label space ----------------------------------------------------------------------------------------


def _infer(listed: Listed, facts: list[PairFacts]) -> tuple[LabelSpace | None, str, dict[str, str]]:
    """Like :func:`~stylebridge.data.label_inference.infer_label_space`, from the facts, skipping bad files: the
    built-in space that most files match is taken, and the others are listed."""
    good = _readable(listed, facts)
    if not good:
        return None, "there is no label map that can be read", {}
    file = classes_file(next(iter(good.values()))[0])
    if file is not None:
        return LabelSpace.read_file(file), f"from {CLASSES_FILE}", {}
    most = space_of_most(good)
    if most is not None:
        return most.space, f"from the {most.evidence} of the label files", most.odd
    ids = sorted({i for _, label in good.values() for i in label.ids if i != IGNORE})
    if not ids:
        return None, "the label maps hold colours, or only 255", {}
    plain = [i for i in ids if 0 <= i < IGNORE]
    if len(plain) < 2:
        held = f"the single class {ids[0]}" if len(ids) == 1 else "no plain ids"
        return None, f"the label maps hold {held}", {}
    return LabelSpace.generic(plain[-1] + 1), "the plain ids in the files, without names", {}


def _readable(listed: Listed, facts: list[PairFacts]) -> dict[str, tuple[LabelRef, LabelFacts]]:
    """The label maps that can be read, by the pair's key."""
    return {
        pair.key: (pair.label, f.label)
        for pair, f in zip(listed.pairs, facts, strict=True)
        if pair.label is not None and f.label is not None and not f.label.error and not f.label.jpeg
    }


def _contradiction(listed: Listed, facts: list[PairFacts]) -> str:
    """The error of training if the ids, palettes and ``classes.yaml`` contradict each other; else empty."""
    files = [file for file, label in _readable(listed, facts).values() if label.grey]
    try:
        if files:
            find_evidence(files)
    except DataError as error:
        return str(error)
    return ""


# --- statistics ---------------------------------------------------------------------------------------------


def summarise(examined: Examined) -> SetSummary:
    """The statistics of a set."""
    listed, space = examined.listed, examined.space
    headers = [(image, image.header) for _, _, image in examined.images()]
    counted = [counts for _, _, counts in examined.counted()]
    pixels = sum((c.counts for c in counted), np.zeros(space.num_classes if space else 0, np.int64))
    images = sum(((c.counts > 0).astype(np.int64) for c in counted), np.zeros_like(pixels))
    facts = [part for f in examined.facts for part in (f.image, f.label) if part is not None]
    return SetSummary(
        name=listed.name,
        spec=listed.spec,
        role=listed.role,
        layout=listed.layout,
        images=sum(pair.image is not None for pair in listed.pairs),
        labels=sum(pair.label is not None for pair in listed.pairs),
        bytes=sum(part.bytes for part in facts),
        sizes=Counter(header.shown_size for _, header in headers if header is not None),
        formats=Counter(f"{header.format} {header.mode}" for _, header in headers if header is not None),
        space=space.name if space else "",
        space_told=examined.space_told,
        classes=tuple(
            ClassCount(name, colour, int(p), int(i))
            for name, colour, p, i in zip(
                space.classes if space else (), space.colours if space else (), pixels, images, strict=True
            )
        ),
        ignored=sum(c.ignored for c in counted),
        unknown=sum(sum(c.unknown.values()) for c in counted),
    )


def short_name(spec: str | Path) -> str:
    """A path's name in findings: its last part."""
    path = Path(str(spec).rpartition(":")[2] or str(spec))
    return path.resolve().name or str(spec)
