"""Write a domain as shards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from stylebridge.data.domain import Domain, check_size
from stylebridge.data.files import open_file
from stylebridge.data.images import check_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.packed import MAX_MEMBER_BYTES
from stylebridge.data.shards.index import (
    LABEL_SUFFIX,
    ROW,
    TAR_BLOCK,
    VERSION,
    table_layouts,
    train_id_space,
    write_table_header,
)
from stylebridge.data.shards.place import FORMAT, INDEX
from stylebridge.errors import DataError

#: A tar file ends with two empty blocks and is padded to a multiple of this many bytes.
_TAR_RECORD = 10_240
_STEM_LENGTH = 44


@dataclass(frozen=True)
class _Packed:
    """One sample, ready for writing."""

    key: str
    suffix: str
    image: bytes
    label: bytes | None
    size: tuple[int, int]
    counts: np.ndarray | None

    @property
    def tar_bytes(self) -> int:
        """Size of its members in a tar file, in bytes."""
        contents = [self.image, *([self.label] if self.label is not None else [])]
        return sum(TAR_BLOCK + _padded(len(content)) for content in contents)


def write_shards(
    domain: Domain,
    folder: Path,
    shard_bytes: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a domain as shards into an empty folder; the same domain gives the same bytes.

    Image files are copied unchanged. Every file is decoded once, so that unusable files are not packed. Memory holds a
    few samples for each thread, for any size of the domain.

    Args:
        domain: the domain to pack; if labelled, with its label space.
        folder: an empty folder. ``index.json`` is written last.
        shard_bytes: size limit of a shard.
        workers: number of threads; None: one for each core.
        progress: called with (samples done, all samples).

    Returns:
        The content of ``index.json``.

    Raises:
        DataError: the first invalid file, in order; or webdataset is not installed.
    """
    domain.ensure_space()
    space = train_id_space(domain.space) if domain.labels is not None and domain.space is not None else None
    total = len(domain.images)
    with ExitStack() as stack:
        tables = _Tables(folder, total, space, stack)
        shards = _Shards(folder, shard_bytes, stack)
        for done, packed in enumerate(_prepared(domain, space, workers), start=1):
            tables.write(packed, shards.write(packed))
            if progress is not None:
                progress(done, total)
        shards.close()
    index = {
        "format": FORMAT,
        "version": VERSION,
        "samples": total,
        "label_space": space.as_dict() if space is not None else None,
        "shards": shards.entries,
        "tables": {path.name: _file_entry(path) for path in tables.paths},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return index


def _prepared(domain: Domain, space: LabelSpace | None, workers: int | None) -> Iterator[_Packed]:
    """All samples in order, prepared by threads that are only a few samples ahead."""
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Packed]] = deque()
        numbers = iter(range(len(domain.images)))
        try:
            while True:
                ahead = 4 * threads - len(waiting)
                waiting.extend(pool.submit(_prepare, domain, space, i) for i in islice(numbers, ahead))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _prepare(domain: Domain, space: LabelSpace | None, number: int) -> _Packed:
    image = domain.images[number]
    size = check_image(image)
    with open_file(image) as file:
        content = file.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise DataError(
            f"{image} has more than {MAX_MEMBER_BYTES:,} bytes, too many for a sample in a shard: save it as JPEG or "
            f"PNG."
        )
    # The number makes keys unique and keeps their order; a dot would end a WebDataset key.
    stem = re.sub(r"[^0-9A-Za-z_-]", "_", image.stem)[:_STEM_LENGTH]
    key, suffix = f"{number:08d}-{stem}", image.suffix[1:].lower()
    if space is None or domain.labels is None or domain.space is None:
        return _Packed(key, suffix, content, None, size, None)
    train_ids = domain.space.read(domain.labels[number], size)
    check_size(image, size, domain.labels[number], train_ids)
    histogram = np.bincount(train_ids.ravel(), minlength=IGNORE + 1).astype(np.uint32)
    counts = np.append(histogram[: space.num_classes], histogram[IGNORE])
    return _Packed(key, suffix, content, _label_png(train_ids, space), size, counts)


def _label_png(train_ids: np.ndarray, space: LabelSpace) -> bytes:
    written = io.BytesIO()
    space.as_picture(train_ids).save(written, format="PNG")
    return written.getvalue()


# --- files --------------------------------------------------------------------------------------------------


class _Tables:
    """The ``.npy`` files, written row by row."""

    def __init__(self, folder: Path, samples: int, space: LabelSpace | None, stack: ExitStack) -> None:
        layouts = table_layouts(samples, space.num_classes if space is not None else None)
        self.paths = [folder / name for name in layouts]
        self._files: dict[str, BinaryIO] = {}
        for name, (dtype, shape) in layouts.items():
            self._files[name] = stack.enter_context((folder / name).open("wb"))
            write_table_header(self._files[name], dtype, shape)

    def write(self, packed: _Packed, row: bytes) -> None:
        """Add one sample; ``row`` is its index row."""
        self._files["samples.npy"].write(row)
        self._files["sizes.npy"].write(np.array(packed.size, "<i4").tobytes())
        if packed.counts is not None:
            self._files["pixel_counts.npy"].write(packed.counts[:-1].astype("<u4").tobytes())
            self._files["ignored_counts.npy"].write(packed.counts[-1:].astype("<u4").tobytes())


class _TarWriter(Protocol):
    """The used part of webdataset's TarWriter, which is not typed."""

    tarstream: Any  # a TarFile, whose list of members is not declared

    def write(self, obj: dict[str, Any]) -> int: ...
    def close(self) -> None: ...


class _Shards:
    """The tar files, written one after the other."""

    def __init__(self, folder: Path, shard_bytes: int, stack: ExitStack) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.entries: list[dict[str, Any]] = []
        self._tar: _TarWriter | None = None
        self._file: _Counted | None = None
        self._offset = self._samples = 0
        stack.callback(self._abandon)

    def _abandon(self) -> None:
        """Clean up if packing ends early."""
        if self._tar is not None and self._file is not None:
            try:
                self._tar.close()
            finally:
                self._file.file.close()

    def write(self, packed: _Packed) -> bytes:
        """Add one sample; returns its row of the index."""
        end = -(-(self._offset + packed.tar_bytes + 2 * TAR_BLOCK) // _TAR_RECORD) * _TAR_RECORD
        if self._tar is not None and self._samples and end > self.shard_bytes:
            self.close()
        if self._tar is None:
            self._open()
        assert self._tar is not None
        row = np.zeros((), ROW)
        row["key"], row["suffix"], row["shard"] = packed.key, packed.suffix, len(self.entries)
        members = {packed.suffix: ("image", packed.image)}
        if packed.label is not None:
            members[LABEL_SUFFIX] = "label", packed.label
        # TarWriter writes members in the order of their names, each after a header of one block.
        for _, (kind, content) in sorted(members.items()):
            row[f"{kind}_offset"], row[f"{kind}_size"] = self._offset + TAR_BLOCK, len(content)
            row[f"{kind}_crc"] = zlib.crc32(content)
            self._offset += TAR_BLOCK + _padded(len(content))
        self._tar.write({"__key__": packed.key} | {name: content for name, (_, content) in members.items()})
        self._tar.tarstream.members.clear()  # otherwise it would keep every header of the shard
        self._samples += 1
        return row.tobytes()

    def _open(self) -> None:
        path = self.folder / f"{len(self.entries):06d}.tar"
        self._file = _Counted(path.open("wb"))
        self._tar = _tar_writer(self._file)
        self._offset = self._samples = 0

    def close(self) -> None:
        """Finish the current shard."""
        assert self._tar is not None
        assert self._file is not None
        self._tar.close()
        self._file.file.close()
        self.entries.append(
            {
                "name": f"{len(self.entries):06d}.tar",
                "size": self._file.bytes,
                "samples": self._samples,
                "sha256": self._file.digest.hexdigest(),
            }
        )
        self._tar = self._file = None


class _Counted:
    """A file wrapper that counts bytes and computes a checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Like a file's ``write``."""
        self.bytes += len(content)
        self.digest.update(content)
        return self.file.write(content)


def _tar_writer(file: _Counted) -> _TarWriter:
    """webdataset's writer, configured for reproducible output."""
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise DataError("Packing needs the webdataset package: `pip install webdataset`.") from error
    stream: Any = file  # it only needs ``write``
    writer = TarWriter(stream, user="", group="", mtime=0, encoder=False, compress=False)
    return cast("_TarWriter", writer)


def _padded(size: int) -> int:
    return -(-size // TAR_BLOCK) * TAR_BLOCK


def _file_entry(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}
