"""Facts about each file, collected in one read: small values that are checked when all files are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from stylebridge.data.files import FileRef, LabelRef, MaskStack, PackedFile, open_file
from stylebridge.data.images import (
    ImageHeader,
    UnreadableError,
    decode_image,
    read_header,
    read_label,
    read_label_colours,
    read_palette,
)
from stylebridge.data.packed import MAX_FILE_BYTES
from stylebridge.errors import DataError

#: Side of the grey thumbnail for comparing images.
THUMBNAIL = 16

#: Most ids or colours kept for a label file; a photo saved as a label map has a hundred thousand.
_MOST_VALUES = 1024


class LoadedFile(PackedFile):
    """A file whose bytes are in memory, with the name of the original file."""

    def __init__(self, name: str, data: bytes) -> None:
        self.path, self._name, self._data = PurePosixPath(name), name, data

    def __str__(self) -> str:
        return self._name

    def read_bytes(self) -> bytes:
        return self._data

    def fingerprint(self) -> tuple[str | int, ...]:
        return self._name, len(self._data)


def load(file: FileRef) -> LoadedFile:
    """Read a file's bytes.

    Raises:
        UnreadableError: it cannot be read; DataError: it is damaged in its archive.
    """
    try:
        with open_file(file) as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise OSError(f"it has more than {MAX_FILE_BYTES:,} bytes")
        return LoadedFile(str(file), data)
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise UnreadableError.of(file, reason, "check that it exists and is readable") from error


@dataclass(slots=True)
class ImageFacts:
    """One image file.

    Attributes:
        error: why it cannot be read, else empty; with an error the other fields may be unknown.
        bytes: the file's size; ``digest``: hash of its bytes.
        thumbnail: uint8 [16, 16], grey, as shown; None if it cannot be read.
        contrast: standard deviation of the thumbnail's grey values, 0..127.
        transparent: whether any pixel is not opaque.
    """

    error: str = ""
    bytes: int = 0
    digest: bytes = b""
    header: ImageHeader | None = None
    thumbnail: np.ndarray | None = None
    contrast: float = 0.0
    transparent: bool = False


@dataclass(slots=True)
class LabelFacts:
    """One label map.

    Attributes:
        error: why it cannot be read, else empty; with an error the other fields may be unknown.
        size: (width, height).
        ids: pixels of each id; empty if the file holds colours.
        colours: pixels of each RGB colour for files with colours; of each used entry for palette files.
        palette: for palette files, the colour of each used id; ``all_colours``: of every id, in order.
        rest: pixels of further ids or colours after the first 1,024.
        grey: whether the pixels are ids, not colours.
    """

    error: str = ""
    bytes: int = 0
    digest: bytes = b""
    header: ImageHeader | None = None
    size: tuple[int, int] = (0, 0)
    ids: dict[int, int] = field(default_factory=dict)
    colours: dict[tuple[int, int, int], int] = field(default_factory=dict)
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    all_colours: tuple[tuple[int, int, int], ...] = ()
    rest: int = 0
    grey: bool = True

    @property
    def jpeg(self) -> bool:
        """Whether it is a JPEG, whose values are not exact."""
        return self.header is not None and self.header.format == "JPEG"


@dataclass(slots=True)
class PairFacts:
    """An image and its label map, either of which may be missing."""

    image: ImageFacts | None
    label: LabelFacts | None


def pair_facts(image: FileRef | None, label: LabelRef | None) -> PairFacts:
    """Read both files. Errors are recorded in the facts, not raised."""
    found = None if image is None else image_facts(image)
    size = found.header.shown_size if found is not None and found.header is not None else None
    return PairFacts(found, None if label is None else label_facts(label, size))


def _why(error: DataError) -> str:
    return getattr(error, "reason", "") or str(error)


# --- images -------------------------------------------------------------------------------------------------


def image_facts(file: FileRef) -> ImageFacts:
    """Read an image: the whole file is decoded, a JPEG at an eighth of its size."""
    facts = ImageFacts()
    try:
        loaded = load(file)
        data = loaded.read_bytes()
        facts.bytes, facts.digest = len(data), _digest(data)
        facts.header = read_header(loaded)
        facts.header, small, facts.transparent = decode_image(loaded, (THUMBNAIL, THUMBNAIL))
        facts.thumbnail, facts.contrast = small, float(small.std())
    except DataError as error:
        facts.error = _why(error)
    return facts


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


# --- labels -------------------------------------------------------------------------------------------------


def label_facts(file: LabelRef, size: tuple[int, int] | None = None) -> LabelFacts:
    """Read a label map and count its ids or colours. ``size``: (width, height) of a stack without masks."""
    facts = LabelFacts()
    try:
        if isinstance(file, MaskStack):
            _count_ids(facts, read_label(file, size))
            return facts
        loaded = load(file)
        data = loaded.read_bytes()
        facts.bytes, facts.digest = len(data), _digest(data)
        facts.header = read_header(loaded)
        facts.size = facts.header.size
        if facts.jpeg:
            _check_jpeg(loaded, facts)
        else:
            _count_values(loaded, facts)
    except DataError as error:
        facts.error = _why(error)
    return facts


def _check_jpeg(file: LoadedFile, facts: LabelFacts) -> None:
    facts.grey = facts.header is not None and facts.header.mode == "L"
    decode_image(file, (1, 1))


def _count_values(file: LoadedFile, facts: LabelFacts) -> None:
    header = facts.header
    assert header is not None
    if header.mode in ("RGB", "RGBA") and not header.sixteen_bit:
        colours = read_label_colours(file)
        assert colours is not None
        facts.size = colours.shape[1], colours.shape[0]
        facts.grey = bool((colours[..., :1] == colours[..., 1:]).all())
        if not facts.grey:
            _count_colours(facts, colours)
            return
        _count_ids(facts, colours[..., 0])
        facts.colours = {(v, v, v): count for v, count in facts.ids.items()}
        return
    _count_ids(facts, read_label(file))
    palette = read_palette(file) if header.mode == "P" else None
    if palette:
        facts.all_colours = _shared(tuple(palette))
        for value, count in facts.ids.items():
            colour = facts.palette[value] = palette[value] if value < len(palette) else (0, 0, 0)
            facts.colours[colour] = facts.colours.get(colour, 0) + count


@lru_cache(maxsize=64)
def _shared(palette: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """Share one object for equal palettes: the files of a set have the same one."""
    return palette


def _count_ids(facts: LabelFacts, ids: np.ndarray) -> None:
    facts.size = ids.shape[1], ids.shape[0]
    if ids.dtype == np.uint8:
        # Pillow's histogram is several times faster than numpy's, and lets other threads run.
        counts = np.array(Image.fromarray(ids).histogram(), np.int64)
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(ids, return_counts=True)
    values, counts, facts.rest = _most_frequent(values, counts)
    facts.ids = dict(zip(values.tolist(), counts.tolist(), strict=True))


def _count_colours(facts: LabelFacts, colours: np.ndarray) -> None:
    wide = colours.astype(np.int32)
    packed = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
    values, counts, facts.rest = _most_frequent(*np.unique(packed, return_counts=True))
    facts.colours = {
        (v >> 16, v >> 8 & 255, v & 255): c for v, c in zip(values.tolist(), counts.tolist(), strict=True)
    }


def _most_frequent(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    if len(values) <= _MOST_VALUES:
        return values, counts, 0
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_VALUES])
    return values[kept], counts[kept], int(counts.sum() - counts[kept].sum())
