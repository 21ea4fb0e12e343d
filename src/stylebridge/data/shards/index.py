"""The index of a shard folder: ``index.json`` and its tables, validated before use."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylebridge.data.files import IMAGE_SUFFIXES
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.packed import MAX_MEMBER_BYTES
from stylebridge.data.shards.place import FORMAT
from stylebridge.errors import DataError, one_line

#: Incremented when older programs can no longer read the format.
VERSION = 1

#: One sample. ``key`` and ``suffix`` name its image's member KEY.SUFFIX, and KEY.label.png the label map's; offsets
#: (bytes from the beginning of the shard) are those of the contents, not of the tar headers; the label's fields are 0
#: without labels. Checksums are CRC-32.
ROW = np.dtype(
    [
        ("key", "S60"),
        ("suffix", "S8"),
        ("shard", "<u4"),
        ("image_offset", "<u8"),
        ("image_size", "<u4"),
        ("image_crc", "<u4"),
        ("label_offset", "<u8"),
        ("label_size", "<u4"),
        ("label_crc", "<u4"),
    ]
)
LABEL_SUFFIX = "label.png"
#: Largest ``index.json``, in bytes: enough for a hundred thousand shards.
MAX_INDEX_BYTES = 1 << 25
#: Size of a tar header, which precedes each member's content.
TAR_BLOCK = 512

#: Rows checked at once: limits the memory.
_CHECKED_ROWS = 16_384

_KEY_BYTES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-"

#: Size of a table's header, in bytes.
_MOST_HEADER = 4096

_MEND = "pack the data again with `stylebridge data pack`, or copy the whole folder again"


# --- index.json ---------------------------------------------------------------------------------------------

_Checksum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Bytes = Annotated[int, Field(ge=0, lt=1 << 50)]


class ShardEntry(BaseModel):
    """One shard: its file's name, bytes and SHA-256, and its number of samples."""

    model_config = ConfigDict(extra="forbid")
    # A plain name: it is joined to the folder, and must stay inside it.
    name: str = Field(pattern=r"^[0-9A-Za-z_-]+\.tar$", max_length=100)
    size: _Bytes
    samples: int = Field(ge=1)
    sha256: _Checksum


class TableEntry(BaseModel):
    """One table: its file's bytes and SHA-256."""

    model_config = ConfigDict(extra="forbid")
    size: _Bytes
    sha256: _Checksum


class IndexFile(BaseModel):
    """The content of ``index.json``."""

    model_config = ConfigDict(extra="forbid")
    format: str
    version: int
    samples: int = Field(ge=1, lt=1 << 32)
    label_space: dict[str, Any] | None
    shards: list[ShardEntry] = Field(min_length=1)
    tables: dict[str, TableEntry]

    @property
    def labelled(self) -> bool:
        """Whether each sample has a label map."""
        return self.label_space is not None


def table_layouts(samples: int, num_classes: int | None) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of every table; ``num_classes`` is None without labels."""
    tables: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
        "samples.npy": (ROW, (samples,)),
        "sizes.npy": (np.dtype("<i4"), (samples, 2)),
    }
    if num_classes is not None:
        tables["pixel_counts.npy"] = np.dtype("<u4"), (samples, num_classes)
        tables["ignored_counts.npy"] = np.dtype("<u4"), (samples,)
    return tables


def parse_index(text: bytes, where: object) -> tuple[IndexFile, LabelSpace | None]:
    """Validate the content of ``index.json``; ``where`` identifies it in messages.

    Raises:
        DataError: it is not an index of shards, has a newer version, or contradicts itself.
    """
    if len(text) > MAX_INDEX_BYTES:
        raise DataError(
            f"{where} has more than {MAX_INDEX_BYTES:,} bytes, too many for an index of shards: {_MEND}."
        )
    try:
        index = IndexFile.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "its text"
        raise DataError(f"{where} is not an index of shards ({key}: {problem['msg']}): {_MEND}.") from None
    if index.format != FORMAT or index.version != VERSION:
        raise DataError(
            f"{where} has the format {index.format!r}, version {index.version}, but this program reads "
            f"{FORMAT!r}, version {VERSION}: update stylebridge, or pack the data again."
        )
    names = [shard.name for shard in index.shards]
    space = _train_space(index.label_space, where) if index.label_space is not None else None
    layouts = table_layouts(index.samples, space.num_classes if space else None)
    wanted = set(layouts)
    problem = None
    if len(set(names)) < len(names):
        problem = "it lists a shard twice"
    elif sum(shard.samples for shard in index.shards) != index.samples:
        problem = f"its shards do not add up to its {index.samples:,} samples"
    elif set(index.tables) != wanted:
        problem = f"its tables are {', '.join(sorted(index.tables))}, not {', '.join(sorted(wanted))}"
    else:
        problem = _wrong_table(index, layouts)
    if problem:
        raise DataError(f"{where} contradicts itself ({problem}): {_MEND}.")
    return index, space


def _wrong_table(index: IndexFile, layouts: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str | None:
    for name, (dtype, shape) in layouts.items():
        rows, size = dtype.itemsize * math.prod(shape), index.tables[name].size
        if not rows < size <= rows + _MOST_HEADER:
            return f"{name} has {size:,} bytes, but its samples need {rows:,}"
    return None


def train_id_space(space: LabelSpace) -> LabelSpace:
    """The label space of shards: the same classes, with train ids as raw ids."""
    return LabelSpace(
        name=space.name,
        classes=space.classes,
        colours=space.colours,
        raw_ids={**{k: k for k in range(space.num_classes)}, IGNORE: IGNORE},
        protocols=space.protocols,
    )


def _train_space(data: dict[str, Any], where: object) -> LabelSpace:
    try:
        told = LabelSpace.from_dict(data)
        space = train_id_space(told)
        texts = [told.name, *told.classes, *(c for names in told.protocols.values() for c in names)]
        sound = 1 <= told.num_classes <= IGNORE and told.raw_ids == space.raw_ids
        sound &= all(isinstance(text, str) for text in texts) and len(told.colours) == told.num_classes
        sound &= all(0 <= value <= 255 for colour in told.colours for value in colour)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        sound, space = False, None
    if not sound or space is None:
        raise DataError(f"{where} has no valid label_space: {_MEND}.")
    return space


# --- tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A ``.npy`` file with a validated header.

    Attributes:
        offset: bytes before the first row.
        bytes: the file's size.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    bytes: int

    def map(self) -> np.ndarray:
        """The table as a read-only memory-mapped array: pages are read on access, and the system may drop them at any
        time."""
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape))


def open_table(path: Path, dtype: np.dtype, shape: tuple[int, ...], size: int) -> Table:
    """Check a table against the index.

    Raises:
        DataError: it is missing, or has another type, shape or size.
    """
    try:
        with path.open("rb") as file:
            head = _read_header(file)
            offset, bytes_there = file.tell(), os.fstat(file.fileno()).st_size
    except (OSError, ValueError, EOFError, UnicodeError, SyntaxError) as error:
        reason = one_line(error)
        raise DataError(f"{path} cannot be read ({reason}): {_MEND}.") from error
    row = dtype.itemsize * int(np.prod(shape))
    if head != (shape, False, dtype) or bytes_there != size or bytes_there != offset + row:
        raise DataError(f"{path} does not match {path.with_name('index.json')}: {_MEND}.")
    return Table(path, dtype, shape, offset, size)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version} of the npy format")
        return np.lib.format.read_array_header_1_0(file)


def write_table_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Write the header of a ``.npy`` file; the rows are appended afterwards."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def check_rows(table: Table, index: IndexFile) -> None:
    """Check that every row is inside its shard and has a name that is safe as a file name.

    Raises:
        DataError: a row is invalid; names it.
    """
    sizes = np.array([shard.size for shard in index.shards], np.uint64)
    ends = np.cumsum([shard.samples for shard in index.shards])
    suffixes = np.array([s[1:].encode() for s in sorted(IMAGE_SUFFIXES)])
    with table.path.open("rb") as file:
        file.seek(table.offset)
        for first in range(0, index.samples, _CHECKED_ROWS):
            rows = np.fromfile(file, ROW, min(_CHECKED_ROWS, index.samples - first))
            wrong = _wrong_rows(rows, first, sizes, ends, suffixes, index.labelled)
            if len(rows) < min(_CHECKED_ROWS, index.samples - first) or wrong.any():
                row = first + (int(wrong.argmax()) if wrong.any() else len(rows))
                raise DataError(f"{table.path} has an invalid position for sample {row}: {_MEND}.")


def _wrong_rows(
    rows: np.ndarray, first: int, sizes: np.ndarray, ends: np.ndarray, suffixes: np.ndarray, labelled: bool
) -> np.ndarray:
    """bool [n]: which rows are invalid; the first row is sample ``first``."""
    shard = np.searchsorted(ends, np.arange(first, first + len(rows)), side="right")
    wrong = (rows["shard"] != shard) | ~_safe(rows["key"]) | ~np.isin(rows["suffix"], suffixes)
    room = sizes[shard]
    for kind in ("image", "label"):
        offset, size = rows[f"{kind}_offset"], rows[f"{kind}_size"].astype(np.uint64)
        if kind == "label" and not labelled:
            wrong |= (offset != 0) | (size != 0)
            continue
        wrong |= (size == 0) | (size > MAX_MEMBER_BYTES) | (offset < TAR_BLOCK)
        wrong |= (offset > room) | (size > room - np.minimum(offset, room))
    return wrong


def _safe(keys: np.ndarray) -> np.ndarray:
    """bool [n]: which keys have only letters, digits, _ and -."""
    allowed = np.zeros(256, bool)
    allowed[list(_KEY_BYTES)] = True
    letters = np.frombuffer(keys.tobytes(), np.uint8).reshape(len(keys), -1)
    # Fixed-width text is padded with zeros, which are only valid at the end.
    ended = np.logical_or.accumulate(letters == 0, axis=1)
    return (allowed[letters] ^ ended).all(axis=1) & (letters[:, 0] != 0)
