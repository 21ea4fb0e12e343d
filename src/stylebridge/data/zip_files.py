"""Zip files: members are read in place, with limits."""

from __future__ import annotations

import os
import threading
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stylebridge.data.packed import MAX_MEMBER_BYTES, PackedFile
from stylebridge.errors import DataError, one_line


@dataclass(frozen=True)
class ZipMember(PackedFile):
    """A file in a zip file. Read in place; the checksum is verified."""

    archive: Path
    path: PurePosixPath
    size: int = field(compare=False)
    crc: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.archive}!{self.path}"

    def read_bytes(self) -> bytes:
        try:
            return _zip(self.archive).read(self.path.as_posix())
        except OSError:
            raise
        except Exception as error:  # zipfile, zlib, lzma, bz2 and struct errors
            raise _damaged(self, error) from error

    def fingerprint(self) -> tuple[str | int, ...]:
        return os.path.abspath(self.archive), self.path.as_posix(), self.size, self.crc

    def beside(self, path: PurePosixPath) -> ZipMember | None:
        """Another file of the archive, or None if it does not exist.

        Raises:
            DataError: the file is encrypted, or its unpacked size is above the limit.
        """
        try:
            return _member(self.archive, _zip(self.archive).getinfo(path.as_posix()))
        except KeyError:
            return None


_open_zips = threading.local()
#: Most archives that a thread keeps open.
_KEPT = 8


def _zip(archive: Path) -> zipfile.ZipFile:
    """A handle for each thread: threads and forked processes must not share a file position."""
    kept: OrderedDict[tuple[object, ...], zipfile.ZipFile] = _open_zips.__dict__.setdefault(
        "kept", OrderedDict()
    )
    state = archive.stat()  # a replaced archive is reopened
    key = os.getpid(), archive, state.st_mtime_ns, state.st_size
    if key not in kept:
        kept[key] = zipfile.ZipFile(archive)
        while len(kept) > _KEPT:
            kept.popitem(last=False)[1].close()
    kept.move_to_end(key)
    return kept[key]


def zip_members(archive: Path) -> dict[str, PackedFile]:
    """The files of an archive by path. Raises DataError if one is outside the archive, encrypted, or unpacks to more
    than an image."""
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
    except Exception as error:
        reason = "it is empty" if archive.stat().st_size == 0 else one_line(error)
        raise DataError(
            f"{archive} cannot be read as a zip file ({reason}): copy or download it again."
        ) from error
    return {info.filename: _member(archive, info) for info in infos if _wanted(archive, info)}


def _wanted(archive: Path, info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    if info.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DataError(
            f"{archive} holds {info.filename!r}, a path outside the archive: do not trust this file; "
            f"make the archive again."
        )
    # macOS metadata, hidden files and folders are skipped, as on the disk.
    return not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _member(archive: Path, info: zipfile.ZipInfo) -> ZipMember:
    if info.flag_bits & 1:
        raise DataError(f"{archive}!{info.filename} is encrypted: unpack the archive and give the folder.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks bzip2 and LZMA without a limit, ignoring the declared size.
        raise DataError(
            f"{archive}!{info.filename} is compressed with a method other than deflate, which cannot be unpacked "
            f"within a limit: make the archive again with deflate, the default of zip, or give the unpacked folder."
        )
    if info.file_size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{archive}!{info.filename} unpacks to {info.file_size:,} bytes, more than any image: do not trust "
            f"this file; make the archive again without it."
        )
    return ZipMember(archive, PurePosixPath(info.filename), info.file_size, info.CRC)


def _damaged(member: PackedFile, error: Exception) -> DataError:
    reason = one_line(error).rstrip(".") or type(error).__name__
    return DataError(
        f"{member} cannot be read from its archive ({reason}): make or download the archive again."
    )
