"""Class lists of annotation tools: CVAT's ``labelmap.txt`` and labelme's ``class_names.txt``."""

from __future__ import annotations

from stylebridge.data.files import FileRef, Tree, open_file
from stylebridge.data.label_space import IGNORE, LabelSpace, distinct_colour
from stylebridge.errors import DataError

#: The names of these files, in order of preference.
CLASS_LISTS = ("labelmap.txt", "class_names.txt")

#: Pascal VOC's colour of pixels without a class.
VOID = (224, 224, 192)
_VOID_NAMES = frozenset({"ignored", "ignore", "__ignore__", "void"})

#: Largest class list, in bytes.
_MOST_BYTES = 1 << 20


def voc_colour(index: int) -> tuple[int, int, int]:
    """Pascal VOC's colour of an id, 0 to 255: bits 0, 1 and 2 of the id are the highest bits of red, green and blue,
    bits 3, 4 and 5 the next lower ones, and so on. Source: PASCAL VOC development kit, VOClabelcolormap."""
    colour = [0, 0, 0]
    for level in range(8):
        for channel in range(3):
            colour[channel] |= (index >> (3 * level + channel) & 1) << (7 - level)
    return colour[0], colour[1], colour[2]


def listed_space(tree: Tree) -> LabelSpace | None:
    """The label space from a class list in the tree's root; None without a list.

    Raises:
        DataError: the list cannot be read, or is malformed; names the file and the line.
    """
    files = tree.files(recursive=False)
    for name, parse in zip(CLASS_LISTS, (parse_label_map, _parse_class_names), strict=True):
        if name in files:
            return parse(_text(files[name]), files[name])
    return None


def _text(file: FileRef) -> str:
    try:
        with open_file(file) as opened:
            data = opened.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise DataError(
                f"{file} is larger than 1 MB, too large for a list of classes: correct or remove it."
            )
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not UTF-8 text: save it as UTF-8.") from error


def parse_label_map(text: str, file: FileRef) -> LabelSpace:
    """Parse CVAT's form, one class per line: ``name:red,green,blue:parts:actions``; lines that begin with ``#`` are
    comments.

    Label files may hold the colours, or, in one channel, the positions in the list. A class without a colour gets
    Pascal VOC's colour for its position. ``ignored`` and ``void``, colour 224,224,192 and id 255 are ignored.

    Raises:
        DataError: a line is malformed, two have the same name or colour, or there are fewer than two classes.
    """
    entries: list[tuple[str, tuple[int, int, int], int]] = []
    for line, row in enumerate(text.splitlines(), start=1):
        if row.strip() and not row.lstrip().startswith("#"):
            entries.append((*_entry(row, len(entries), f"{file}, line {line}"), line))
    by_colour: dict[tuple[int, int, int], str] = {}
    for name, colour, line in entries:
        if colour in by_colour:
            raise DataError(
                f"{file}, line {line}: {name} has the colour of {by_colour[colour]}: give each its own colour."
            )
        by_colour[colour] = name
    return _space([(name, colour) for name, colour, _ in entries], file, by_colour=True)


def _entry(row: str, position: int, where: str) -> tuple[str, tuple[int, int, int]]:
    name, colon, rest = row.partition(":")
    cells = rest.partition(":")[0].strip()
    try:
        colour = tuple(int(cell) for cell in cells.split(",")) if cells else voc_colour(position)
    except ValueError:
        colour = ()
    if not name.strip() or not colon or len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise DataError(
            f"{where}: {row.strip()!r} is not name:red,green,blue:parts:actions: correct the line."
        )
    return name.strip(), colour


def _parse_class_names(text: str, file: FileRef) -> LabelSpace:
    """Parse labelme's form: one name per line; its position is the id."""
    names = [row.strip() for row in text.splitlines() if row.strip()]
    return _space([(name, voc_colour(i % 256)) for i, name in enumerate(names)], file, by_colour=False)


def _space(entries: list[tuple[str, tuple[int, int, int]]], file: FileRef, by_colour: bool) -> LabelSpace:
    raw_ids: dict[int, int] = {}
    raw_colours: dict[tuple[int, int, int], int] = {}
    kept: list[tuple[str, tuple[int, int, int]]] = []
    for position, (name, colour) in enumerate(entries):
        ignored = name.lower() in _VOID_NAMES
        raw_ids[position] = raw_colours[colour] = IGNORE if ignored else len(kept)
        kept += [] if ignored else [(name, colour)]
    names = [name for name, _ in kept]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not 2 <= len(kept) <= IGNORE:
        wrong = f"lists {twice[0]!r} twice" if twice else f"lists {len(kept)} classes"
        raise DataError(f"{file} {wrong}: give 2 to 255 classes with different names.")
    raw_ids.setdefault(IGNORE, IGNORE)
    raw_colours.setdefault(VOID, IGNORE)
    # labelme's list has no colours: these are for display only, and black (background) is kept.
    colours = tuple(
        colour if by_colour or i < 256 else distinct_colour(i) for i, (_, colour) in enumerate(kept)
    )
    return LabelSpace(
        f"{file.stem}-{len(kept)}", tuple(names), colours, raw_ids, raw_colours if by_colour else {}
    )
