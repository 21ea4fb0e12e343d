"""Class maps: map the classes of one label space to those of another, always by name, never by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.errors import DataError, one_line

#: The value in a class map for a class without counterpart.
IGNORED = "ignore"


@dataclass(frozen=True)
class ClassMap:
    """Every class of the space ``source`` → a class of the space ``target``, or None: ignored.

    Attributes:
        origin: its source, for messages.
    """

    source: str
    target: str
    pairs: dict[str, str | None]
    origin: str

    def apply(self, space: LabelSpace, target: LabelSpace) -> LabelSpace:
        """A space that reads ``space``'s label files as ``target``'s classes."""
        position = {name: index for index, name in enumerate(target.classes)}
        moved = [IGNORE if self.pairs[c] is None else position[str(self.pairs[c])] for c in space.classes]

        def move(train: int) -> int:
            return IGNORE if train == IGNORE else moved[train]

        return LabelSpace(
            name=f"{space.name} as {target.name}",
            classes=target.classes,
            colours=target.colours,
            raw_ids={raw: move(train) for raw, train in space.raw_ids.items()},
            raw_colours={colour: move(train) for colour, train in space.raw_colours.items()},
            protocols=target.protocols,
        )

    def missing(self, target: LabelSpace) -> list[str]:
        """Classes of ``target`` that nothing is mapped to."""
        return [name for name in target.classes if name not in self.pairs.values()]

    def as_dict(self) -> dict[str, Any]:
        """``from``, ``to`` and ``map``."""
        pairs = {name: other or IGNORED for name, other in self.pairs.items()}
        return {"from": self.source, "to": self.target, "map": pairs}

    def to_yaml(self) -> str:
        """The editable form; :func:`read_class_map` reads it back."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)


def map_classes(space: LabelSpace, target: LabelSpace, maps: Sequence[ClassMap] = ()) -> ClassMap | None:
    """The class map from one space to another; None if both have the same classes in the same order.

    Used is, in this order: the one of ``maps`` with source ``space``; a built-in map; classes of equal names, with all
    others ignored.

    Raises:
        DataError: the map does not fit the spaces, or less than half of the classes have the same name in both.
    """
    if space.classes == target.classes:
        return None
    given = next((m for m in maps if m.source == space.name), None)
    if given is not None:
        if given.target != target.name:
            raise DataError(
                f"{given.origin} maps to {given.target}, but the model's label space is {target.name}: give "
                f"--label-space {given.target}, or a map to {target.name}."
            )
        return check_class_map(given, space, target)
    built_in = builtin_class_map(space, target)
    if built_in is not None:
        return built_in
    found = propose(space, target)
    matched = sum(other is not None for other in found.pairs.values())
    if 2 * matched < min(space.num_classes, target.num_classes):
        back = (
            f"the reverse map is built in: train the classes of {space.name} (--label-space {space.name}), or "
            if _builtin(target, space) is not None
            else ""
        )
        raise DataError(
            f"Only {matched} of the {space.num_classes} classes of {space.name} ({', '.join(space.classes[:4])}, …) "
            f"have the same name in {target.name} ({', '.join(target.classes[:4])}, …): {back}"
            f"write a class map, starting from `stylebridge data class-map {space.name} "
            f"{target.name}`, and give it as --class-map FILE."
        )
    return found


def propose(space: LabelSpace, target: LabelSpace) -> ClassMap:
    """Map classes of equal names (ignoring case) to each other, and ignore all others."""
    known = {name.casefold(): name for name in target.classes}
    pairs = {name: known.get(name.casefold()) for name in space.classes}
    return ClassMap(space.name, target.name, pairs, "classes of equal names")


def builtin_class_map(space: LabelSpace, target: LabelSpace) -> ClassMap | None:
    """The built-in class map between two spaces, or None."""
    file = _builtin(space, target)
    if file is None:
        return None
    # Spaces with the same classes and other ids share a map; the result names the requested spaces.
    return replace(
        check_class_map(read_class_map(file), space, target), source=space.name, target=target.name
    )


def read_class_map(path: str | Path) -> ClassMap:
    """Read a built-in class map by name (``cityscapes-19_to_camvid-11``), or a YAML file.

    ``from`` and ``to`` are label spaces (names, or files relative to its folder), ``map`` maps each class of ``from``
    to a class of ``to``, or ``ignore``.

    Raises:
        DataError: the file is missing or its content is invalid; names the key.
    """
    folder = Path(str(resources.files("stylebridge") / "data" / "class_maps"))
    built_in = folder / f"{path}.yaml"
    path = built_in if built_in.parent == folder and built_in.is_file() else Path(path)
    try:
        data: Any = read_yaml(path)
    except (OSError, TextFileError) as error:
        raise DataError(f"Class map {path} cannot be read ({one_line(error)}): give a YAML file.") from error
    if not isinstance(data, dict) or set(data) != {"from", "to", "map"} or not isinstance(data["map"], dict):
        raise DataError(f"Class map {path} needs the keys from, to and map (class of from: class of to).")
    pairs = {str(k): None if v in (IGNORED, None) else str(v) for k, v in data["map"].items()}
    begin, end = (_beside(path, str(data[key])) for key in ("from", "to"))
    origin = f"built-in class map {path.stem}" if path.parent == folder else f"class map {path}"
    return ClassMap(begin, end, pairs, origin)


def _beside(path: Path, name: str) -> str:
    """Resolve a label space's file relative to the class map."""
    return str(path.parent / name) if (path.parent / name).is_file() else name


def check_class_map(found: ClassMap, space: LabelSpace, target: LabelSpace) -> ClassMap:
    """Return the map if it maps every class of ``space`` to a class of ``target`` or to nothing.

    Raises:
        DataError: a class is missing or unknown; names the class.
    """
    for name in space.classes:
        if name not in found.pairs:
            raise DataError(f"{found.origin} does not map {name!r}: add it, or {name}: ignore.")
    for name, other in found.pairs.items():
        if name not in space.classes:
            raise DataError(f"{found.origin} has {name!r}, which is not a class of {space.name}: remove it.")
        if other is not None and other not in target.classes:
            raise DataError(
                f"{found.origin} maps {name} to {other!r}, which is not a class of {target.name}: choose one of "
                f"{', '.join(target.classes)}, or ignore."
            )
    return found


def _builtin(source: LabelSpace, target: LabelSpace) -> Path | None:
    """The file for two spaces, or for spaces with the same classes and other ids."""
    folder = Path(str(resources.files("stylebridge") / "data" / "class_maps"))

    def fits(name: str, space: LabelSpace) -> bool:
        return name == space.name or LabelSpace.load(name).classes == space.classes

    for file in sorted(folder.glob("*_to_*.yaml")):
        begin, end = file.stem.split("_to_")
        if fits(end, target) and fits(begin, source):
            return file
    return None
