"""Label spaces: class names, colours, and the raw ids in label files."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylebridge.data.files import FileRef, LabelRef, MaskStack
from stylebridge.data.images import read_label, read_label_colours
from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.errors import DataError, did_you_mean, one_line

#: The value of pixels that losses and scores ignore.
IGNORE = 255
#: The remedy of a command besides correcting the file.
_OTHER_SPACE = "name the file's label space with --label-space NAME_OR_YAML"


@dataclass(frozen=True)
class LabelSpace:
    """The K classes of a task, and their ids or colours in label files.

    Attributes:
        name: its name.
        classes: K names; the position is the train id.
        colours: K RGB colours, 0..255.
        raw_ids: every raw id that may occur in a label file → its train id, or 255 (ignore). Other ids are errors.
        raw_colours: for label files that hold colours: every RGB colour → its train id, or 255.
        protocols: named subsets of the classes that are scored too (SYNTHIA's 13 of 16).
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    raw_ids: dict[int, int] = field(hash=False)
    raw_colours: dict[tuple[int, int, int], int] = field(default_factory=dict, hash=False)
    protocols: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def nameless(self) -> bool:
        """Whether the classes are only numbers (:meth:`generic`)."""
        return self.classes == tuple(f"class {i}" for i in range(self.num_classes))

    @property
    def invented_colours(self) -> bool:
        """Whether the colours are generated, so that another palette is no contradiction."""
        return self.colours == tuple(distinct_colour(i) for i in range(self.num_classes))

    @cached_property
    def _table(self) -> np.ndarray:
        """int16, one entry for each raw id: its train id, or -1 if the id is unknown."""
        table = np.full(max(256, max(self.raw_ids) + 1), -1, np.int16)
        table[list(self.raw_ids)] = list(self.raw_ids.values())
        return table

    @cached_property
    def _colour_table(self) -> tuple[np.ndarray, np.ndarray]:
        """The known colours as 24-bit numbers, sorted int32, and their train ids, uint8."""
        packed = {(r << 16) + (g << 8) + b: train for (r, g, b), train in self.raw_colours.items()}
        keys = sorted(packed)
        return np.array(keys, np.int32), np.array([packed[k] for k in keys], np.uint8)

    def read(self, label: LabelRef, size: tuple[int, int] | None = None) -> np.ndarray:
        """Read a label file as train ids, uint8 [H, W] with 255 = ignore.

        Args:
            size: (width, height) of its image, used for a label map without masks.

        Raises:
            DataError: the file cannot be read, or has ids or colours outside the space.
        """
        if self.raw_colours and not isinstance(label, MaskStack):
            colours = read_label_colours(label)
            if colours is not None:
                return self._colours_to_train_ids(colours, label)
        return self.to_train_ids(read_label(label, size), label)

    def _colours_to_train_ids(self, colours: np.ndarray, path: FileRef) -> np.ndarray:
        wide = colours.astype(np.int32)
        packed = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
        keys, train_ids = self._colour_table
        place = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
        wrong = keys[place] != packed
        if wrong.any():
            values, counts = np.unique(packed[wrong], return_counts=True)
            worst = values[np.argsort(-counts)][:4].tolist()
            listed = ", ".join(f"({v >> 16}, {v >> 8 & 255}, {v & 255})" for v in worst)
            more = ", …" if len(values) > 4 else ""
            raise DataError(
                f"{path} has {'the colours' if len(values) > 1 else 'the colour'} {listed}{more}, which label "
                f"space {self.name} does not have",
                "correct the file",
                _OTHER_SPACE,
            )
        return train_ids[place]

    def to_train_ids(self, raw: np.ndarray, path: LabelRef) -> np.ndarray:
        """Convert raw ids [H, W] (any integer type) to train ids, uint8 [H, W] with 255 = ignore.

        Raises:
            DataError: the map has ids outside the space; names ``path`` and the ids.
        """
        table = self._table
        # One pass and the minimum: unknown ids are only listed if there are any.
        inside = raw.dtype == np.uint8 or (raw.size > 0 and raw.min() >= 0 and raw.max() < len(table))
        translated = table.take(raw if inside else np.clip(raw, 0, len(table) - 1))
        if not inside or (translated.size and translated.min() < 0):
            unknown = sorted(set(np.unique(raw).tolist()) - set(self.raw_ids))
            if unknown:
                raise DataError(self._outside(unknown, path), "correct the file", _OTHER_SPACE)
        return translated.astype(np.uint8)

    def _outside(self, unknown: list[int], path: LabelRef) -> str:
        listed = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
        return (
            f"{path} has the {'ids' if len(unknown) > 1 else 'id'} {listed}, which label space {self.name} "
            f"does not have"
        )

    def colourise(self, labels: np.ndarray) -> np.ndarray:
        """Paint train ids uint8 [H, W] in the class colours: RGB uint8 [H, W, 3], ignore = black."""
        return self._palette[labels]

    def as_picture(self, labels: np.ndarray) -> Image.Image:
        """Train ids uint8 [H, W] as an 8-bit palette picture: values are train ids, colours the classes'."""
        picture = Image.fromarray(labels)  # mode L
        picture.putpalette(self._palette.tobytes())
        return picture

    @cached_property
    def _palette(self) -> np.ndarray:
        """The colour of every train id, uint8 [256, 3]; black where there is no class."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.colours
        return table

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form; :meth:`from_dict` reads it back."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours": [list(colour) for colour in self.colours],
            "raw_ids": {str(raw): train for raw, train in self.raw_ids.items()},
            "raw_colours": [[*colour, train] for colour, train in self.raw_colours.items()],
            "protocols": {name: list(classes) for name, classes in self.protocols.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSpace:
        """The inverse of :meth:`as_dict`."""
        return cls(
            name=data["name"],
            classes=tuple(data["classes"]),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in data["colours"]),
            raw_ids={int(raw): int(train) for raw, train in data["raw_ids"].items()},
            raw_colours={(int(r), int(g), int(b)): int(t) for r, g, b, t in data.get("raw_colours", [])},
            protocols={name: tuple(classes) for name, classes in data.get("protocols", {}).items()},
        )

    @classmethod
    def generic(cls, num_classes: int) -> LabelSpace:
        """K classes without names: raw id = train id, 255 = ignore."""
        return cls(
            name=f"plain-{num_classes}",
            classes=tuple(f"class {i}" for i in range(num_classes)),
            colours=tuple(distinct_colour(i) for i in range(num_classes)),
            raw_ids={**{i: i for i in range(num_classes)}, IGNORE: IGNORE},
        )

    @classmethod
    def load(cls, name_or_path: str | Path) -> LabelSpace:
        """Read a built-in label space by name, or a YAML file.

        The file has ``classes``, a list of ``{name, colour: [r, g, b], raw: [ids]}`` (``colour`` is optional; ``raw``
        defaults to the position), and optionally ``name`` and ``ignore_raw`` ([255]). For label files that hold colours
        a class has ``raw_colours: [[r, g, b], …]``, and the file may have ``ignore_colours``.
        ``protocols: {name: [class, …]}`` names subsets of the classes to score.

        Raises:
            DataError: the space or file does not exist, or its content is invalid; names file and key.
        """
        builtin = builtin_label_spaces()
        path = builtin.get(str(name_or_path), Path(name_or_path))
        if not path.is_file():
            hint = did_you_mean(str(name_or_path), builtin)
            raise DataError(
                f"There is no label space or file {str(name_or_path)!r}{hint}: choose one of "
                f"{', '.join(builtin)}, or give a YAML file."
            )
        return cls.read_file(path)

    @classmethod
    def read_file(cls, file: FileRef) -> LabelSpace:
        """Read a YAML file as described in :meth:`load`, also in an archive.

        Raises:
            DataError: it cannot be read, or its content is invalid; names file and key.
        """
        try:
            data = read_yaml(file)
        except (OSError, TextFileError) as error:
            raise DataError(f"Label space {file} is not valid YAML: {one_line(error)}.") from error
        return _parse(data, file)


def builtin_label_spaces() -> dict[str, Path]:
    """The files of the built-in label spaces, by name."""
    folder = Path(str(resources.files("stylebridge") / "data" / "label_spaces"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def distinct_colour(index: int) -> tuple[int, int, int]:
    """A colour for a class without one: hues a golden angle apart, three brightness levels."""
    r, g, b = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, (0.95, 0.7, 0.5)[index % 3])
    return round(r * 255), round(g * 255), round(b * 255)


# --- the YAML form ------------------------------------------------------------------------------------------

_Byte = Annotated[int, Field(ge=0, le=255)]
_RawId = Annotated[int, Field(ge=0, le=65535)]


class _ClassEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    colour: tuple[_Byte, _Byte, _Byte] | None = None
    raw: list[_RawId] | None = None
    raw_colours: list[tuple[_Byte, _Byte, _Byte]] = []


class _SpaceFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str | None = None
    classes: list[_ClassEntry] = Field(min_length=2, max_length=255)
    ignore_raw: list[_RawId] = [IGNORE]
    ignore_colours: list[tuple[_Byte, _Byte, _Byte]] = []
    protocols: dict[str, list[str]] = {}


def _parse(data: Any, path: FileRef) -> LabelSpace:
    if not isinstance(data, dict):
        raise DataError(f"Label space {path} is not a mapping of keys: begin it with 'classes:' and a list.")
    try:
        parsed = _SpaceFile.model_validate(data)
    except ValidationError as error:
        raise DataError(f"Label space {path}: {_first_problem(error)}.") from None
    raw_ids: dict[int, int] = {}
    for train, entry in enumerate(parsed.classes):
        for raw in [train] if entry.raw is None else entry.raw:
            if raw in raw_ids:
                raise DataError(
                    f"Label space {path}: classes[{train}].raw has {raw}, which classes[{raw_ids[raw]}] also has"
                    f": give each id to one class."
                )
            raw_ids[raw] = train
    for position, raw in enumerate(parsed.ignore_raw):
        # With the default [255], a class may claim 255: masks of 0 and 255 can be read.
        if "ignore_raw" in parsed.model_fields_set and raw_ids.get(raw, IGNORE) != IGNORE:
            raise DataError(
                f"Label space {path}: ignore_raw[{position}] is {raw}, which classes[{raw_ids[raw]}] also has: "
                f"remove one of the two."
            )
        raw_ids.setdefault(raw, IGNORE)
    names = [entry.name for entry in parsed.classes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"Label space {path}: two classes have the name {twice[0]!r}: give each a different name."
        )
    for protocol, chosen in parsed.protocols.items():
        unknown = [name for name in chosen if name not in names]
        if unknown or not chosen:
            reason = f"has {unknown[0]!r}, which is not a class" if unknown else "is empty"
            raise DataError(f"Label space {path}: protocols.{protocol} {reason}: list names of its classes.")
    colours = tuple(entry.colour or distinct_colour(i) for i, entry in enumerate(parsed.classes))
    protocols = {name: tuple(chosen) for name, chosen in parsed.protocols.items()}
    return LabelSpace(
        parsed.name or path.stem, tuple(names), colours, raw_ids, _raw_colours(parsed, path), protocols
    )


def _raw_colours(parsed: _SpaceFile, path: FileRef) -> dict[tuple[int, int, int], int]:
    found: dict[tuple[int, int, int], int] = {}
    listed = [
        (f"classes[{i}].raw_colours", i, c) for i, e in enumerate(parsed.classes) for c in e.raw_colours
    ]
    for key, train, colour in [*listed, *(("ignore_colours", IGNORE, c) for c in parsed.ignore_colours)]:
        if colour in found:
            raise DataError(
                f"Label space {path}: {key} has {list(colour)}, which "
                f"{'ignore_colours' if found[colour] == IGNORE else f'classes[{found[colour]}]'} also has: "
                f"give each colour to one class."
            )
        found[colour] = train
    return found


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in problem["loc"]).lstrip(".")
    if problem["type"] == "extra_forbidden":
        return (
            f"{where} is not a known key; the keys are name, classes (name, colour, raw, raw_colours), "
            f"ignore_raw, ignore_colours and protocols"
        )
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
