"""Evidence in label files about their classes: palettes, colours and ids, file by file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from stylebridge.data.files import LabelRef, MaskStack
from stylebridge.data.images import read_header, read_label, read_label_colours, read_palette
from stylebridge.data.label_space import IGNORE, LabelSpace, builtin_label_spaces
from stylebridge.data.spread import evenly_spaced
from stylebridge.errors import DataError

Colour = tuple[int, int, int]

#: Number of label files of a kind that are decoded to find the ids in use.
_SAMPLE = 32

#: Most colours of a label map: photos and antialiased drawings have more.
_MOST_COLOURS = 512

#: Built-in spaces whose colours are no evidence: annotation tools use Pascal VOC's for any classes.
_COMMON_COLOURS = frozenset({"voc-21"})


@dataclass(frozen=True)
class MapKind:
    """Label files with the same storage form.

    Attributes:
        files: the files.
        used: the raw ids in a sample of them; empty for colours.
        palette: the colour of each used id; None: no palette, or a grey one.
        colours: the colours in a sample of them; None if they hold ids.
    """

    files: tuple[LabelRef, ...]
    used: frozenset[int] = frozenset()
    palette: tuple[Colour, ...] | None = None
    colours: frozenset[Colour] | None = None

    def matched(self, space: LabelSpace) -> int:
        """How many used ids have, in the palette, the colour of their class in ``space`` (or how many colours it
        knows); 0 unless more than half do. Ids that the space ignores do not count."""
        if self.colours is not None:
            return len(self.colours) if self.colours and self.colours <= space.raw_colours.keys() else 0
        if self.palette is None:
            return 0
        if space.raw_colours:
            shown = {self.palette[i] for i in self.used if i < len(self.palette)}
            return len(shown) if shown and shown <= space.raw_colours.keys() else 0
        counted = [i for i in self.used if space.raw_ids.get(i) != IGNORE and i != IGNORE]
        matched = sum(self._has(space, i) for i in counted)
        return matched if 2 * matched > len(counted) else 0

    def shared(self, space: LabelSpace) -> float:
        """The share of the space's classes whose colours are in the palette at their ids, used or not."""
        raws = [raw for raw, train in space.raw_ids.items() if train != IGNORE]
        return sum(self._has(space, raw) for raw in raws) / max(1, len(raws))

    def shifted(self, space: LabelSpace) -> int:
        """1 or -1 if the palette is that of ``space`` with ids larger or smaller by one; else 0."""
        for step in (1, -1):
            used = [i for i in self.used if i != IGNORE and space.raw_ids.get(i - step, IGNORE) != IGNORE]
            hits = sum(self._colour(i) == space.colours[space.raw_ids[i - step]] for i in used)
            if len(used) > 2 and 3 * hits > 2 * len(used):
                return step
        return 0

    def _colour(self, index: int) -> Colour:
        assert self.palette is not None
        return self.palette[index] if index < len(self.palette) else (0, 0, 0)

    def _has(self, space: LabelSpace, raw: int) -> bool:
        train = space.raw_ids.get(raw, IGNORE)
        return train != IGNORE and self._colour(raw) == space.colours[train]

    def has_classes(self, space: LabelSpace) -> bool:
        """Whether an id means a class of ``space``; fully ignored maps contradict no space."""
        if self.colours is not None:
            return True
        return any(space.raw_ids.get(i) != IGNORE and i != IGNORE for i in self.used)

    @property
    def tells(self) -> bool:
        """Whether its colours can identify a label space."""
        return self.colours is not None or self.palette is not None


def kinds_of_maps(labels: Sequence[LabelRef]) -> list[MapKind]:
    """Group label files by storage form and palette, the most common kind first.

    Reads the header of every file, and decodes up to 32 files of each kind.

    Raises:
        DataError: a file is not an image.
    """
    groups: dict[object, list[LabelRef]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for label, form in zip(labels, pool.map(_form, labels), strict=True):
            groups.setdefault(form, []).append(label)
        kinds = [_kind(form, files, pool) for form, files in groups.items()]
    return sorted(kinds, key=lambda kind: -len(kind.files))


def _form(label: LabelRef) -> object:
    """The palette, or whether the file may hold colours."""
    if isinstance(label, MaskStack):
        return "ids"
    palette = read_palette(label)
    if palette is not None:
        return tuple(palette)
    header = read_header(label)
    if header.format in ("JPEG", "MPO"):
        raise DataError(
            f"{label} is a JPEG, which changes the ids of a label map: save label maps as PNG, or correct the "
            f"folders if those of images and label maps are swapped."
        )
    return "colours" if header.mode in ("RGB", "RGBA") else "ids"


def _kind(form: object, files: list[LabelRef], pool: ThreadPoolExecutor) -> MapKind:
    chosen = [files[i] for i in evenly_spaced(len(files), _SAMPLE)]
    if form == "colours":
        found = list(pool.map(_colours_in, chosen))
        if not all(colours is None for colours in found):
            return MapKind(tuple(files), colours=frozenset().union(*(c for c in found if c is not None)))
    if form == "ids" and all(isinstance(label, MaskStack) for label in files):
        return MapKind(tuple(files))
    used = frozenset[int]().union(*pool.map(lambda label: np.unique(read_label(label)).tolist(), chosen))
    return kind_of_ids(tuple(files), used, form if isinstance(form, tuple) else None)


def kind_of_ids(
    files: tuple[LabelRef, ...], used: frozenset[int], palette: tuple[Colour, ...] | None
) -> MapKind:
    """Label files with these ids. A palette that is a grey ramp, or the default of annotation tools, is no evidence and
    is dropped."""
    shown = [palette[i] if i < len(palette) else (0, 0, 0) for i in used] if palette else []
    if palette is not None and (all(len(set(colour)) == 1 for colour in shown) or _is_common(used, palette)):
        palette = None
    return MapKind(files, used, palette)


def _colours_in(label: LabelRef) -> frozenset[Colour] | None:
    """The colours of a file; None if it is grey and holds ids."""
    assert not isinstance(label, MaskStack)
    pixels = read_label_colours(label)
    if pixels is None or (pixels[..., :1] == pixels[..., 1:]).all():
        return None
    wide = pixels.astype(np.int32)
    packed = np.unique((wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]).tolist()
    if len(packed) > _MOST_COLOURS:
        raise DataError(
            f"{label} holds {len(packed):,} colours instead of class ids, like a photo: give label maps, or correct "
            f"the folders if those of images and label maps are swapped."
        )
    return frozenset((v >> 16, v >> 8 & 255, v & 255) for v in packed)


def _is_common(used: frozenset[int], palette: Sequence[Colour]) -> bool:
    space = LabelSpace.load("voc-21")
    counted = [i for i in used if i < min(space.num_classes, len(palette))]
    beyond = any(space.num_classes <= i < IGNORE for i in used)
    return not beyond and all(palette[i] == space.colours[i] for i in counted)


def candidates(known: Iterable[LabelSpace] = ()) -> list[LabelSpace]:
    """The spaces to compare with: the spaces in use (``known``), then the built-in ones.

    A space in use with the name and number of classes of a built-in one is also recognised by that one's colours.
    """
    spaces = list(known)
    builtin = builtin_label_spaces()
    for space in tuple(spaces):
        if space.name in builtin:
            colours = LabelSpace.load(builtin[space.name]).colours
            if len(colours) == space.num_classes and colours != space.colours:
                spaces.append(replace(space, colours=colours))
    names = {space.name for space in spaces}
    spaces += [LabelSpace.load(n) for n in builtin if n not in _COMMON_COLOURS and n not in names]
    return spaces


def best_space(kind: MapKind, spaces: Sequence[LabelSpace], in_play: int = 0) -> LabelSpace | None:
    """The space that best explains a kind of maps; None if none explains more than half of the ids in use.

    If several explain as many ids, one of the first ``in_play`` is preferred, else the one with the larger share of its
    classes in the palette.
    """
    best: tuple[tuple[int, bool, float, int], LabelSpace] | None = None
    for place, space in enumerate(spaces):
        if kind.palette is not None and space.raw_colours and space.name in builtin_label_spaces():
            continue  # palette files hold ids
        matched = kind.matched(space)
        if not matched:
            continue
        shared = kind.shared(space) if kind.palette is not None else 0.0
        key = (matched, place < in_play, shared, space.num_classes)
        if best is None or key > best[0]:
            best = (key, space)
    return best[1] if best else None


def main_space(kinds: Sequence[MapKind], spaces: Sequence[LabelSpace], in_play: int = 0) -> LabelSpace | None:
    """Of the spaces that best explain some kind, the one that explains most files; None if there is none."""
    telling = [kind for kind in kinds if kind.tells]
    bests = [best for kind in telling if (best := best_space(kind, spaces, in_play)) is not None]
    found: LabelSpace | None = None
    most = (0, 0)
    for space in spaces:
        if any(space is best for best in bests):
            explained = [(len(kind.files), kind.matched(space)) for kind in telling if kind.matched(space)]
            claim = (sum(files for files, _ in explained), sum(files * ids for files, ids in explained))
            if claim > most:
                found, most = space, claim
    return found


def count_in_play(spaces: Sequence[LabelSpace], known: Iterable[LabelSpace]) -> int:
    """The number of :func:`candidates` in use; they come first."""
    names = {space.name for space in known}
    return sum(space.name in names for space in spaces)
