"""Finding out how label files are to be read where the user did not say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stylebridge.data.files import LabelRef, MaskStack
from stylebridge.data.images import read_label, read_label_colours, read_palette
from stylebridge.data.label_space import IGNORE, LabelSpace, builtin_label_spaces
from stylebridge.data.layouts.names import is_label_folder
from stylebridge.errors import DataError

#: Name of the file beside ``images/`` and ``labels/`` that says how the labels are to be read.
CLASSES_FILE = "classes.yaml"

#: Label files that are looked into for a palette or colours.
_SAMPLE = 32

#: Built-in spaces whose colours say nothing: annotation tools paint any classes in Pascal VOC's.
_COMMON_COLOURS = frozenset({"voc-21"})

_HOW_TO_NAME = "Name another with --label-space NAME_OR_YAML."


def infer_label_space(label_paths: Sequence[LabelRef]) -> tuple[LabelSpace, str]:
    """Find out how label files are to be read when the user did not say.

    First ``classes.yaml`` beside ``images/`` and ``labels/``; else a built-in space whose colours most ids in
    use have in the files' palette, or that knows all colours the files hold; else the plain ids themselves (all
    files are read).

    Returns:
        The space, and a sentence that tells the user what was taken and how to name another.

    Raises:
        DataError: a label file cannot be read, or the ids do not make a label space.
    """
    if not label_paths:
        raise DataError("There is no label file to take the label space from: name one with --label-space.")
    for folder in folders_beside(label_paths[0]):
        if (folder / CLASSES_FILE).is_file():
            space = LabelSpace.load(folder / CLASSES_FILE)
            return space, (
                f"Label space: {space.num_classes} classes from {folder / CLASSES_FILE}. {_HOW_TO_NAME}"
            )
    space = space_by_palette(label_paths)
    if space is not None:
        return space, (
            f"Label space: {space.name} ({space.num_classes} classes), whose colours the label files' "
            f"palette has. {_HOW_TO_NAME}"
        )
    space = _by_colours(label_paths)
    if space is not None:
        return space, (
            f"Label space: {space.name} ({space.num_classes} classes), whose colours the label files hold. "
            f"{_HOW_TO_NAME}"
        )
    space = _by_ids(label_paths)
    return space, (
        f"Label space: the plain ids 0 to {space.num_classes - 1} as {space.num_classes} classes without "
        f"names (255 ignored). {_HOW_TO_NAME}"
    )


def folders_beside(label: LabelRef) -> list[Path]:
    """The folders that hold a folder of label maps (``labels``, ``masks``, …) on the way up from a label file, nearest
    first; where no folder has such a name, the one above the file's own. None in archives."""
    if not isinstance(label, Path):
        return []
    customary = [folder.parent for folder in label.parents if is_label_folder(folder.name)]
    return customary or [label.parent.parent]


def _sample(label_paths: Sequence[LabelRef]) -> list[LabelRef]:
    chosen = np.linspace(0, len(label_paths) - 1, min(_SAMPLE, len(label_paths))).astype(int)
    return [label_paths[int(i)] for i in chosen]


def _by_colours(label_paths: Sequence[LabelRef]) -> LabelSpace | None:
    """A built-in space that knows every colour of the files; None where they hold ids, or other colours."""
    used: set[int] = set()
    for path in _sample(label_paths):
        colours = None if isinstance(path, MaskStack) or read_palette(path) else read_label_colours(path)
        if colours is None or (colours[..., :1] == colours[..., 1:]).all():
            return None
        wide = colours.astype(np.int32)
        used |= set(np.unique((wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]).tolist())
    for name in builtin_label_spaces():
        space = LabelSpace.load(name)
        if space.raw_colours and used <= _packed(space):
            return space
    return None


def _packed(space: LabelSpace) -> set[int]:
    return {(r << 16) + (g << 8) + b for r, g, b in space.raw_colours}


def space_by_palette(label_paths: Sequence[LabelRef]) -> LabelSpace | None:
    """The built-in space whose colours most ids in use have in the files' palette; None if there is none."""
    used: dict[int, tuple[int, int, int]] = {}
    for path in _sample(label_paths):
        palette = None if isinstance(path, MaskStack) else read_palette(path)
        if palette is None:
            return None
        ids = np.unique(read_label(path)).tolist()
        used |= {i: palette[i] if i < len(palette) else (0, 0, 0) for i in ids}
    best: tuple[int, int, LabelSpace] | None = None
    for name in builtin_label_spaces():
        space = LabelSpace.load(name)
        if space.raw_colours or name in _COMMON_COLOURS or any(raw not in space.raw_ids for raw in used):
            continue
        classes = [raw for raw in used if space.raw_ids[raw] != IGNORE]
        matched = sum(used[raw] == space.colours[space.raw_ids[raw]] for raw in classes)
        # An id that the space ignores speaks neither for it nor against it.
        better = best is None or (matched, space.num_classes) > best[:2]
        if better and 2 * matched > len(classes):
            best = (matched, space.num_classes, space)
    return best[2] if best else None


def _by_ids(label_paths: Sequence[LabelRef]) -> LabelSpace:
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        ids = set().union(*pool.map(lambda path: np.unique(read_label(path)).tolist(), label_paths))
    first = label_paths[0]
    folder = first.parent if isinstance(first, Path) else str(first).rpartition("/")[0]
    classes = ids - {IGNORE}
    if len(classes) < 2:
        found = f"the single class {min(classes)}" if classes else "no class"
        raise DataError(
            f"The label maps in {folder} hold {found} besides 255, which means 'ignore': number the classes "
            f"0, 1, 2, … or name a label space with --label-space NAME_OR_YAML."
        )
    if min(classes) < 0 or max(classes) > 254:
        wrong = min(classes) if min(classes) < 0 else max(classes)
        raise DataError(
            f"The label maps in {folder} hold the id {wrong}, and plain ids go from 0 to 254: name a label "
            f"space that maps the raw ids with --label-space NAME_OR_YAML."
        )
    return LabelSpace.generic(max(classes) + 1)
