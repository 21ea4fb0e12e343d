"""Infer the label space of label files, and find contradictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

import numpy as np

from stylebridge.data.files import FileRef, LabelRef
from stylebridge.data.images import read_label
from stylebridge.data.label_evidence import (
    Colour,
    MapKind,
    best_space,
    candidates,
    count_in_play,
    kinds_of_maps,
    main_space,
)
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.layouts.names import is_label_folder
from stylebridge.data.spread import evenly_spaced
from stylebridge.data.zip_files import ZipMember
from stylebridge.errors import DataError

__all__ = [
    "CLASSES_FILE",
    "Evidence",
    "classes_beside",
    "classes_file",
    "find_evidence",
    "infer_label_space",
    "plain_space",
]

#: File beside ``images/`` and ``labels/`` with the label space.
CLASSES_FILE = "classes.yaml"

_Place = TypeVar("_Place", bound=PurePath)

_HOW_TO_NAME = "Choose another with --label-space NAME_OR_YAML."

#: Number of files of a known layout whose palettes are checked.
_LAYOUT_SAMPLE = 32

#: Most files listed in a message.
_LISTED = 4


@dataclass(frozen=True)
class Evidence:
    """Evidence for the label space of label files.

    Attributes:
        space: the indicated space; None: no evidence, the files hold plain ids.
        by: the source, for messages: "the layout", "classes.yaml", "the palette", "the colours"; "the ids" without
            evidence.
        file: the file (for a layout the folder) with the evidence.
        used: ids in a sample of the files; empty for layouts and shards.
        palette: the colour of each id in a palette that matches no known space; None: no such palette.
    """

    space: LabelSpace | None
    by: str
    file: str
    used: frozenset[int] = frozenset()
    palette: dict[int, Colour] | None = None


def find_evidence(
    labels: Sequence[LabelRef],
    known: Iterable[LabelSpace] = (),
    name: str = "",
    override: str = "",
) -> Evidence:
    """Find evidence for the label space of label files without a known layout.

    First ``classes.yaml`` beside ``images/`` and ``labels/``; else the space whose colours match most ids in use in the
    files' palettes, or that knows all colours in the files. Every file's palette is read.

    Args:
        known: spaces in use (the model's, those of class maps), recognised like the built-in ones.
        name: the domain's name in messages.
        override: the option, for messages, that reads all files in one space despite their palettes.

    Raises:
        DataError: a file is not an image; a folder mixes files of several spaces; ids are shifted against the palette;
            ``classes.yaml`` contradicts the palette.
    """
    known = list(known)
    spaces = candidates(known)
    kinds = kinds_of_maps(labels)
    main = main_space(kinds, spaces, count_in_play(spaces, known))
    called = f"{name} label map" if name else "label map"
    if main is not None:
        _ensure_one_space(kinds, main, spaces, called, override)
    used = frozenset[int]().union(*(kind.used for kind in kinds))
    strange = next((kind for kind in kinds if kind.tells and main is None), None)
    file = classes_file(labels[0])
    if file is not None:
        space = LabelSpace.read_file(file)
        _ensure_file_agrees(space, file, main, kinds, override)
        return Evidence(space, CLASSES_FILE, str(file), used)
    if strange is not None and strange.palette is not None:
        _ensure_not_shifted(strange, spaces, called, override)
    if main is None:
        palette = strange.palette if strange is not None else None
        shown = {i: palette[i] for i in strange.used if i < len(palette)} if strange and palette else None
        return Evidence(None, "the ids", str(labels[0]), used, shown)
    first = next(kind for kind in kinds if kind.matched(main))
    by = "the colours" if first.colours is not None else "the palette"
    return Evidence(main, by, str(first.files[0]), used)


def _ensure_one_space(
    kinds: Sequence[MapKind], main: LabelSpace, spaces: Sequence[LabelSpace], called: str, override: str
) -> None:
    """Raise an error that names files whose palette or colours belong to another space than most files."""
    others = [kind for kind in kinds if kind.tells and not kind.matched(main) and kind.has_classes(main)]
    if not others:
        return
    named = [
        (file, best.name if (best := best_space(kind, spaces)) else "no known label space")
        for kind in others
        for file in kind.files
    ]
    listed = ", ".join(f"{file} ({space})" for file, space in named[:_LISTED])
    more = f", and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    total = sum(len(kind.files) for kind in kinds) - len(named)
    raise DataError(
        f"{total} {called}{'s are' if total != 1 else ' is'} {main.name} by palette or colours, and {len(named)} "
        f"{'are' if len(named) != 1 else 'is'} not: {listed}{more}: correct or remove these files"
        f"{f', or read all files in one space with {override}' if override else ''}."
    )


def _ensure_file_agrees(
    space: LabelSpace, file: FileRef, main: LabelSpace | None, kinds: Sequence[MapKind], override: str
) -> None:
    """Check that ``classes.yaml`` gives no class the name of another class of the palette."""
    clash = _clash_with_palette(space, main, kinds)
    if clash is not None:
        assert main is not None
        raise DataError(
            f"In {file}, {clash.what} is {clash.stated!r}, but the palette of {kinds[0].files[0]} is that of "
            f"{main.name}, where it is {clash.shown!r}: correct {CLASSES_FILE}, or remove it"
            f"{f', or name the space with {override}' if override else ''}."
        )


def _clash_with_palette(space: LabelSpace, main: LabelSpace | None, kinds: Sequence[MapKind]) -> Clash | None:
    """The id that is another class in ``main``, the space of most files' palettes, than in ``space``, as from
    :func:`clashing_class`; None if some files have the palette of ``space``."""
    if main is None or any(kind.matched(space) for kind in kinds):
        return None
    return clashing_class(space, main, frozenset().union(*(kind.used for kind in kinds)))


def _ensure_not_shifted(kind: MapKind, spaces: Sequence[LabelSpace], called: str, override: str) -> None:
    for space in spaces:
        step = kind.shifted(space) if not space.raw_colours else 0
        if step:
            raise DataError(
                f"The ids of {len(kind.files)} {called}(s) are off by one: the palette of {kind.files[0]} has the "
                f"colours of {space.name} at ids that are {abs(step)} too {'large' if step > 0 else 'small'}: "
                f"{'subtract 1 from' if step > 0 else 'add 1 to'} the ids"
                f"{f', or name the label space with {override}' if override else ''}."
            )


def ensure_layout_agrees(
    labels: Sequence[LabelRef], space: LabelSpace, layout: str, override: str = ""
) -> None:
    """Check on a sample of a layout's label files that their palettes do not contradict the layout.

    Raises:
        DataError: an id is another class by the palette of most files.
    """
    chosen = [labels[i] for i in evenly_spaced(len(labels), _LAYOUT_SAMPLE)]
    kinds = [kind for kind in kinds_of_maps(chosen) if kind.palette is not None]
    main = main_space(kinds, candidates([space]), 1)
    clash = _clash_with_palette(space, main, kinds)
    if clash is not None:
        assert main is not None
        raise DataError(
            f"In the layout {layout}, {clash.what} is {clash.stated!r} ({space.name}), but the palette of "
            f"{kinds[0].files[0]} is {main.name}'s, where it is {clash.shown!r}: put the files of that data set there"
            f"{f', or name the space with {override}' if override else ''}."
        )


class Clash(NamedTuple):
    """An id or colour, in words, that two spaces map to different classes, and the names of these."""

    what: str
    stated: str
    shown: str


def clashing_class(stated: LabelSpace, shown: LabelSpace, used: frozenset[int]) -> Clash | None:
    """An id (or colour) that two spaces map to different classes; None if there is none.

    Names clash if one space uses the other's name for another id: other names may be the user's own wording, and
    ignored ids contradict nothing.
    """
    ours = {name.casefold() for name in stated.classes}
    theirs = {name.casefold() for name in shown.classes}
    for what, first, second in _both_ways(stated, shown, used):
        a, b = stated.classes[first], shown.classes[second]
        if a.casefold() != b.casefold() and (b.casefold() in ours or a.casefold() in theirs):
            return Clash(what, a, b)
    return None


def read_alike(stated: LabelSpace, shown: LabelSpace, used: frozenset[int]) -> bool:
    """Whether ``stated`` can read files of ``shown``: no class clashes, all ids are known, some names agree."""
    ids = used or frozenset(shown.raw_ids)
    if not shown.raw_colours and any(
        i not in stated.raw_ids for i in ids if shown.raw_ids.get(i, IGNORE) != IGNORE
    ):
        return False
    pairs = list(_both_ways(stated, shown, used))
    agree = any(stated.classes[a].casefold() == shown.classes[b].casefold() for _, a, b in pairs)
    return agree and clashing_class(stated, shown, used) is None


def _both_ways(stated: LabelSpace, shown: LabelSpace, used: frozenset[int]) -> Iterable[tuple[str, int, int]]:
    """Each id or colour (in words) that is a class in both spaces, with the two train ids."""
    for raw in sorted(used or shown.raw_ids):
        a, b = stated.raw_ids.get(raw, IGNORE), shown.raw_ids.get(raw, IGNORE)
        if IGNORE not in (a, b):
            yield f"id {raw}", a, b
    for colour, b in shown.raw_colours.items():
        a = stated.raw_colours.get(colour, IGNORE)
        if IGNORE not in (a, b):
            yield f"colour {colour}", a, b


def infer_label_space(label_paths: Sequence[LabelRef]) -> tuple[LabelSpace, str]:
    """Infer the label space of label files when the user gave none: by :func:`find_evidence`, else from the plain ids
    (all files are read).

    Returns:
        The space, and a notice for the user: the space, its evidence and the option to choose another.

    Raises:
        DataError: a label file cannot be read, or the ids are not a valid label space.
    """
    if not label_paths:
        raise DataError("There is no label file to infer the label space from: name it with --label-space.")
    found = find_evidence(label_paths)
    space = found.space
    if space is None:
        space = plain_space(label_paths, found.palette)
        return space, (
            f"Label space: the plain ids 0 to {space.num_classes - 1} as {space.num_classes} classes without "
            f"names (255 ignored). {_HOW_TO_NAME}"
        )
    if found.by == CLASSES_FILE:
        return space, f"Label space: {space.num_classes} classes from {found.file}. {_HOW_TO_NAME}"
    held = "palette has" if found.by == "the palette" else "files hold"
    whose = "label files' palette has" if held == "palette has" else "label files hold"
    return (
        space,
        f"Label space: {space.name} ({space.num_classes} classes), whose colours the {whose}. {_HOW_TO_NAME}",
    )


def classes_beside(labels: Sequence[LabelRef]) -> LabelSpace | None:
    """The space of ``classes.yaml`` beside the folders of label files, or None.

    Raises:
        DataError: the file is invalid.
    """
    file = classes_file(labels[0]) if len(labels) else None
    return LabelSpace.read_file(file) if file is not None else None


def classes_file(label: LabelRef) -> FileRef | None:
    """The ``classes.yaml`` of a label file, on the disk or in the same zip file; None if there is none.

    It is beside the folder of label maps (``labels``, ``masks``, …), the nearest one above; if no folder has such a
    name, beside the file's folder.
    """
    if isinstance(label, Path):
        files = (folder / CLASSES_FILE for folder in _folders_beside(label))
        return next((file for file in files if file.is_file()), None)
    if isinstance(label, ZipMember):
        members = (label.beside(folder / CLASSES_FILE) for folder in _folders_beside(label.path))
        return next((member for member in members if member is not None), None)
    return None


def _folders_beside(label: _Place) -> list[_Place]:
    customary = [folder.parent for folder in label.parents if is_label_folder(folder.name)]
    return customary or [label.parent.parent]


def plain_space(label_paths: Sequence[LabelRef], palette: dict[int, Colour] | None = None) -> LabelSpace:
    """The plain ids of label files as classes without names, with the colours of ``palette`` where it has them; reads
    all files.

    Raises:
        DataError: a label file cannot be read, or the ids are not a valid label space.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        ids = set().union(*pool.map(lambda path: np.unique(read_label(path)).tolist(), label_paths))
    first = label_paths[0]
    folder = first.parent if isinstance(first, Path) else str(first).rpartition("/")[0]
    classes = ids - {IGNORE}
    if len(classes) < 2:
        found = f"the single class {min(classes)}" if classes else "no class"
        raise DataError(
            f"The label maps in {folder} have {found} besides 255 (ignore): number the classes "
            f"0, 1, 2, … or name a label space with --label-space NAME_OR_YAML."
        )
    if min(classes) < 0 or max(classes) > 254:
        wrong = min(classes) if min(classes) < 0 else max(classes)
        raise DataError(
            f"The label maps in {folder} have the id {wrong}, but plain ids range from 0 to 254: name a label "
            f"space that maps the raw ids with --label-space NAME_OR_YAML."
        )
    space = LabelSpace.generic(max(classes) + 1)
    if not palette:
        return space
    return replace(space, colours=tuple(palette.get(i, colour) for i, colour in enumerate(space.colours)))
