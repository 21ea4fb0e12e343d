"""Shards at a URL: downloaded on first access into a cache folder of limited size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from stylebridge.data.shards.download import download, download_small
from stylebridge.data.shards.index import MAX_INDEX_BYTES
from stylebridge.data.shards.place import INDEX, UrlPath
from stylebridge.errors import DataError

#: Environment variable: size limit of the cache in gigabytes; the least recently used shards are removed.
CACHE_LIMIT = "STYLEBRIDGE_SHARD_CACHE_GB"
DEFAULT_CACHE_GB = 50.0

#: Seconds after which an interrupted download is no longer continued.
_STALE = 86_400


def shard_cache() -> Path:
    """The cache folder of downloaded shards, ``$XDG_CACHE_HOME/stylebridge/shards`` (``~/.cache`` by default).

    Raises:
        DataError: the user has no home.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise DataError(
            "There is no home folder for downloaded shards: set XDG_CACHE_HOME to a folder."
        ) from None
    return Path(base) / "stylebridge" / "shards"


def cache_limit() -> int:
    """Size limit of the cache in bytes. Raises DataError if the environment variable is not a number."""
    told = os.environ.get(CACHE_LIMIT) or str(DEFAULT_CACHE_GB)
    try:
        limit = float(told) * 1e9
    except ValueError:
        limit = -1.0
    if not 0 < limit < float("inf"):
        raise DataError(f"{CACHE_LIMIT} is {told!r}: set it to a number of gigabytes above 0, such as 50.")
    return int(limit)


def fetch_index(place: UrlPath, name: str) -> tuple[bytes, Path]:
    """The content of ``index.json``, and the cache folder for its set. Downloaded each time, so that a set that was
    packed again gets another folder and is never mixed with the old one.

    Raises:
        DataError: it cannot be downloaded.
    """
    try:
        text = download_small(place, INDEX, MAX_INDEX_BYTES)
    except FileNotFoundError as error:
        raise DataError(
            f"The {name} URL {place} has no {INDEX} of shards: give the URL of a folder that `stylebridge data pack` "
            f"wrote."
        ) from error
    parts = (hashlib.sha256(part).hexdigest()[:16] for part in (str(place).encode(), text))
    return text, shard_cache().joinpath(*parts)


def fetch(place: UrlPath, name: str, folder: Path, size: int, sha256: str) -> Path:
    """The local copy of a file at ``place``, downloaded if it is not yet in ``folder``.

    Threads and processes that need the same file wait for one download. A copy gets its final name only after size and
    checksum are verified, and only then are others removed for it: an index can claim any size.

    Raises:
        DataError: it cannot be downloaded or written, or does not match the index.
    """
    kept = folder / name
    if _used(kept, size):
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder / f".{name}.lock")):
            if not _used(kept, size):
                _ensure_disk(place, name, folder, size)
                _fetch(place, name, folder, size, sha256)
    except OSError as error:
        raise DataError(
            f"{place}/{name} cannot be written to {folder} ({error.strerror or error}): make room there, or set "
            f"XDG_CACHE_HOME to another folder."
        ) from error
    return kept


def _fetch(place: UrlPath, name: str, folder: Path, size: int, sha256: str) -> None:
    beside = folder / f".{name}.partial"  # written only by the holder of the lock
    try:
        download(place, name, beside, size, sha256, _remove_oldest)
        os.replace(beside, folder / name)
    except FileNotFoundError as error:
        raise DataError(f"{place}/{name} does not exist: copy the whole shard folder again.") from error
    finally:
        with contextlib.suppress(OSError):
            if not beside.stat().st_size:
                beside.unlink()
    _make_room(folder / name, size)


def _ensure_disk(place: UrlPath, name: str, folder: Path, size: int) -> None:
    cache_limit()  # report an invalid limit before downloading
    room = shutil.disk_usage(folder).free + sum(kept.size for kept in _cached())
    if size > room:
        raise DataError(
            f"{place}/{name} has {size / 1e9:,.1f} GB, but {folder} has room for {room / 1e9:,.1f} GB: make room "
            f"there, or set XDG_CACHE_HOME to a folder on another disk."
        )


def _used(kept: Path, size: int) -> bool:
    """Whether the copy exists; if so, mark it as used now."""
    try:
        there = kept.stat().st_size == size
        if there:
            os.utime(kept)
    except OSError:
        return False
    return there


class _Kept(NamedTuple):
    """A downloaded shard; sorted by last use."""

    used: int
    size: int
    path: Path


def _cached() -> list[_Kept]:
    files = []
    for path in shard_cache().glob("*/*/*.tar"):
        with contextlib.suppress(OSError):
            state = path.stat()
            files.append(_Kept(state.st_mtime_ns, state.st_size, path))
    return sorted(files)


def _make_room(arrived: Path, size: int) -> None:
    """Remove the least recently used shards except the new one until the cache is within its limit, and leftovers of
    killed downloads. Current readers keep their files open."""
    files = [kept for kept in _cached() if kept.path != arrived]
    limit = cache_limit()
    if size > limit:  # over the limit by itself: removing others would not help
        files = [kept for kept in files if kept.path.parent == arrived.parent]
    room = limit - size - sum(kept.size for kept in files)
    for kept in files:
        if room >= 0:
            break
        with contextlib.suppress(OSError):
            kept.path.unlink()
            room += kept.size
    for path in shard_cache().glob("*/*/.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()


def _remove_oldest() -> bool:
    """Remove the least recently used shard; returns whether there was one."""
    for kept in _cached():
        with contextlib.suppress(OSError):
            kept.path.unlink()
            return True
    return False
