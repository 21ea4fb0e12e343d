"""Domains in shards: samples are located through the index and read one by one, from disk or URL."""

from __future__ import annotations

import operator
import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, overload

import numpy as np

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.packed import PackedFile
from stylebridge.data.regular import open_regular
from stylebridge.data.shards import remote
from stylebridge.data.shards.index import (
    LABEL_SUFFIX,
    MAX_INDEX_BYTES,
    ROW,
    IndexFile,
    Table,
    check_rows,
    open_table,
    parse_index,
    table_layouts,
)
from stylebridge.data.shards.place import INDEX, Place, UrlPath
from stylebridge.errors import DataError

#: Most files that a thread keeps open; more than the sampler's window has shards.
_OPEN_FILES = 64

_ROW = struct.Struct("<60s8sIQIIQII")


# --- files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardFile:
    """One shard. Remote shards are downloaded on first access."""

    place: Place
    name: str
    size: int
    sha256: str
    cache: Path | None = None

    def __str__(self) -> str:
        return str(self.place / self.name)

    def path(self) -> Path:
        """The file on this disk, downloaded if needed. Raises DataError on failure."""
        if isinstance(self.place, UrlPath):
            assert self.cache is not None
            return remote.fetch(self.place, self.name, self.cache, self.size, self.sha256)
        return self.place / self.name


_open = threading.local()


def _handle(wanted: Path | ShardFile) -> BinaryIO:
    """An open file for each thread: threads must not share a file position."""
    if getattr(_open, "pid", None) != os.getpid():
        # A forked process inherits its parent's files and shares their positions.
        _open.pid, _open.files = os.getpid(), OrderedDict()
    files: OrderedDict[Path | ShardFile, BinaryIO] = _open.files
    if wanted in files:
        files.move_to_end(wanted)
        return files[wanted]
    opened = files[wanted] = open_regular(
        wanted.path() if isinstance(wanted, ShardFile) else wanted, buffering=0
    )
    if len(files) > _OPEN_FILES:
        files.popitem(last=False)[1].close()
    return opened


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    parts, missing = [], size
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True)
class ShardMember(PackedFile):
    """A file in a shard. Read by offset; the checksum is verified."""

    shard: ShardFile
    path: PurePosixPath
    offset: int = field(compare=False)
    size: int = field(compare=False)
    crc: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.shard}!{self.path}"

    def read_bytes(self) -> bytes:
        try:
            file = _handle(self.shard)
            there = os.fstat(file.fileno()).st_size
            content = _read_at(file, self.offset, self.size)
        except OSError as error:
            raise DataError(
                f"{self.shard} cannot be read ({error.strerror or error}): copy the folder of shards again, or pack "
                f"the data again."
            ) from error
        if there != self.shard.size:
            raise DataError(
                f"{self.shard} has {there:,} bytes instead of the {self.shard.size:,} in the index: it was truncated "
                f"or changed; copy it again, or pack the data again."
            )
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise DataError(
                f"{self} does not have the packed content: copy the shard again, or pack the data again."
            )
        return content

    def fingerprint(self) -> tuple[str | int, ...]:
        return str(self.shard), self.path.as_posix(), self.size, self.crc


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("ascii")


# --- a folder of shards -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardSet:
    """A shard folder with a validated index. Small and picklable for any number of samples.

    Attributes:
        place: the folder or URL.
        files: the shards.
        first: int64 [S + 1], the first sample of each shard, and N.
        space: the label space of the label maps, in train ids; None: unlabelled.
        tables: the tables by file name.
    """

    place: Place
    files: tuple[ShardFile, ...]
    first: np.ndarray
    space: LabelSpace | None
    tables: dict[str, Table]

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def remote(self) -> bool:
        """Whether the shards are downloaded."""
        return isinstance(self.place, UrlPath)

    @property
    def counts(self) -> np.ndarray:
        """int64 [S], samples of each shard."""
        return np.diff(self.first)

    @property
    def bytes(self) -> int:
        """Size of all shards, in bytes."""
        return sum(shard.size for shard in self.files)

    def ensure_random_access(self, sampler: str) -> None:
        """Reject a sampler with random access to shards if each access could cause a download.

        Raises:
            DataError: the shards are remote, and do not all fit in the cache.
        """
        if self.remote and self.bytes > remote.cache_limit():
            raise DataError(
                f"The sampler {sampler} draws from all shards of {self.place} at once, but {self.bytes / 1e9:.1f} GB "
                f"do not fit in the cache: increase {remote.CACHE_LIMIT}, or set the stage's sampler to uniform."
            )

    def member(self, index: int, label: bool) -> ShardMember:
        """The image or label map of one sample; reads its row from the disk."""
        table = self.tables["samples.npy"]
        try:
            row = _read_at(_handle(table.path), table.offset + index * ROW.itemsize, ROW.itemsize)
            key, suffix, shard, *places = _ROW.unpack(row)
        except (OSError, struct.error) as error:
            raise DataError(f"{table.path} was changed or removed: open or pack the shards again.") from error
        kind = LABEL_SUFFIX if label else _text(suffix)
        path = PurePosixPath(f"{_text(key)}.{kind}")
        return ShardMember(self.files[shard], path, *(places[3:] if label else places[:3]))

    def listing(
        self, labelled: bool, space: LabelSpace | None, name: str
    ) -> tuple[ShardSequence, ShardSequence | None, LabelSpace | None]:
        """Images, labels and label space of a domain; ``space`` is the user's choice, or None.

        Raises:
            DataError: labels are needed and there are none, or ``space`` does not match the shards' ids.
        """
        images = ShardSequence(self, label=False)
        if not labelled:
            return images, None, space
        own = self.space
        if own is None:
            raise DataError(
                f"The {name} shards {self.place} were packed without labels, which are needed: pack the data again "
                f"without --unlabelled."
            )
        labels = ShardSequence(self, label=True)
        if space is None or space.classes == own.classes:
            return images, labels, own
        # A class map applied to the shards' space, or names for plain ids.
        if own.nameless or space.name.startswith(f"{own.name} as "):
            return images, labels, space
        raise DataError(
            f"The label maps in {self.place} are train ids of {own.name}, whose classes are not those of "
            f"{space.name}: omit --label-space, or map the classes with --class-map."
        )

    def statistics(self, space: LabelSpace | None) -> dict[str, np.ndarray]:
        """The statistics from packing, as in :class:`~stylebridge.data.domain.DomainSummary`.

        Arrays are memory-mapped files, not copies, unless ``space`` has other classes than the shards.

        Raises:
            DataError: there are pixels of a class that ``space`` does not have.
        """
        sizes = self.tables["sizes.npy"].map()
        if space is None or self.space is None:
            return {
                "image_sizes": sizes,
                "pixel_counts": np.zeros((len(self), 0), np.uint32),
                "ignored_counts": np.broadcast_to(np.uint32(0), (len(self),)),
            }
        counts, ignored = self.tables["pixel_counts.npy"].map(), self.tables["ignored_counts.npy"].map()
        if space.raw_ids != self.space.raw_ids or space.num_classes != self.space.num_classes:
            counts, ignored = self._moved(counts, ignored, space)
        return {"image_sizes": sizes, "pixel_counts": counts, "ignored_counts": ignored}

    def _moved(
        self, counts: np.ndarray, ignored: np.ndarray, space: LabelSpace
    ) -> tuple[np.ndarray, np.ndarray]:
        moved = np.zeros((len(self), space.num_classes), np.uint32)
        left = np.zeros(len(self), np.uint32)
        columns = [(train, counts[:, train]) for train in range(counts.shape[1])]
        for train, pixels in [*columns, (IGNORE, ignored)]:
            goal = space.raw_ids.get(train)
            if goal is None:
                if pixels.any():
                    raise DataError(
                        f"The label maps in {self.place} have the id {train}, which label space {space.name} does "
                        f"not have: omit --label-space, or name the one they were packed with."
                    )
            elif goal == IGNORE:
                left += pixels
            else:
                moved[:, goal] += pixels
        return moved, left


class ShardSequence(Sequence[ShardMember]):
    """The images, or the label maps, of a shard folder, created on access."""

    def __init__(self, shards: ShardSet, label: bool) -> None:
        self.shards, self.label = shards, label

    def __len__(self) -> int:
        return len(self.shards)

    @overload
    def __getitem__(self, index: int) -> ShardMember: ...
    @overload
    def __getitem__(self, index: slice) -> list[ShardMember]: ...
    def __getitem__(self, index: int | slice) -> ShardMember | list[ShardMember]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {place} of {len(self)}")
        return self.shards.member(place % len(self), self.label)


def open_shards(place: Place, name: str = "data") -> ShardSet:
    """Open a shard folder, on the disk or at a URL; downloads only the index.

    Raises:
        DataError: it does not exist, or its index is invalid.
    """
    if isinstance(place, UrlPath):
        text, folder = remote.fetch_index(place, name)
    else:
        text, folder = _local_index(place, name), place
    index, space = parse_index(text, place / INDEX)
    if isinstance(place, UrlPath):
        for table, entry in index.tables.items():
            remote.fetch(place, table, folder, entry.size, entry.sha256)
    layouts = table_layouts(index.samples, space.num_classes if space else None)
    tables = {
        file: open_table(folder / file, *layout, index.tables[file].size) for file, layout in layouts.items()
    }
    check_rows(tables["samples.npy"], index)
    cache = folder if isinstance(place, UrlPath) else None
    files = tuple(ShardFile(place, s.name, s.size, s.sha256, cache) for s in index.shards)
    if cache is None:
        _check_files(files)
    return ShardSet(place, files, _first_samples(index), space, tables)


def _first_samples(index: IndexFile) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([shard.samples for shard in index.shards])]).astype(np.int64)


def _local_index(folder: Path, name: str) -> bytes:
    try:
        with open_regular(folder / INDEX) as file:
            return file.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"The {name} folder {folder} has no {INDEX} of shards ({error.strerror or error}): give a folder that "
            f"`stylebridge data pack` wrote."
        ) from error


def _check_files(files: Sequence[ShardFile]) -> None:
    """Check that all shards exist, with the size in the index."""
    for shard in files:
        try:
            size = shard.path().stat().st_size
        except OSError as error:
            raise DataError(
                f"{shard} is missing or cannot be read ({error.strerror}): copy it again, or pack the data again."
            ) from error
        if size != shard.size:
            raise DataError(
                f"{shard} has {size:,} bytes instead of the {shard.size:,} in the index: it was truncated or changed; "
                f"copy it again, or pack the data again."
            )
