"""Shards at an address: fetched whole when first read, kept in a folder that does not outgrow its limit."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from stylebridge.data.shards.place import INDEX, UrlPath
from stylebridge.errors import DataError

#: Environment variable: gigabytes that fetched shards may take; the longest unused ones make room.
CACHE_LIMIT = "STYLEBRIDGE_SHARD_CACHE_GB"
DEFAULT_CACHE_GB = 50.0

#: Seconds before each new attempt after one that failed: a long training should outlive a short outage.
RETRY_WAITS = (1.0, 5.0, 20.0)
#: Seconds without a byte after which a connection has failed.
_SILENCE = 60

_CHUNK = 1 << 20


def shard_cache() -> Path:
    """The folder of fetched shards, ``$XDG_CACHE_HOME/stylebridge/shards`` (``~/.cache`` by default).

    Raises:
        DataError: the user has no home.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise DataError(
            "There is no home folder to keep fetched shards in: set XDG_CACHE_HOME to a folder."
        ) from None
    return Path(base) / "stylebridge" / "shards"


def cache_limit() -> int:
    """Bytes that fetched shards may take. Raises DataError if the environment says no number."""
    told = os.environ.get(CACHE_LIMIT) or str(DEFAULT_CACHE_GB)
    try:
        limit = float(told) * 1e9
    except ValueError:
        limit = -1.0
    if not 0 < limit < float("inf"):
        raise DataError(f"{CACHE_LIMIT} is {told!r}: set it to a number of gigabytes above 0, such as 50.")
    return int(limit)


def fetch_index(place: UrlPath, name: str) -> tuple[bytes, Path]:
    """The content of ``index.json``, and the cache folder for what belongs to it. It is fetched each time, so that a
    set that was packed anew gets a folder of its own and is never mixed with the old one.

    Raises:
        DataError: it cannot be fetched.
    """
    system, path = _file_system(place)
    try:
        text = _attempt(lambda: system.cat_file(f"{path}/{INDEX}"), f"{place}/{INDEX}")
    except FileNotFoundError as error:
        raise DataError(
            f"The {name} address {place} holds no {INDEX} of shards: give one that a folder made by `stylebridge data "
            f"pack` was copied to."
        ) from error
    parts = (hashlib.sha256(part).hexdigest()[:16] for part in (str(place).encode(), text))
    return text, shard_cache().joinpath(*parts)


def fetch(place: UrlPath, name: str, folder: Path, size: int, sha256: str) -> Path:
    """The local copy of a file at ``place``, fetched if it is not in ``folder`` yet.

    Threads and processes that want the same file wait for the one that fetches it. A copy gets its name only when
    its size and checksum are right.

    Raises:
        DataError: it cannot be fetched or written, or is not what the index says.
    """
    kept = folder / name
    if _used(kept, size):
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder / f".{name}.lock")):
            if not _used(kept, size):
                _make_room(size)
                beside = folder / f".{name}.{os.getpid()}.{threading.get_ident()}.partial"
                try:
                    _download(place, name, beside, size, sha256)
                    os.replace(beside, kept)
                finally:
                    with contextlib.suppress(OSError):
                        beside.unlink()
    except OSError as error:
        raise DataError(
            f"{place}/{name} cannot be kept in {folder} ({error.strerror or error}): make room there, or set "
            f"XDG_CACHE_HOME to another folder."
        ) from error
    return kept


def _used(kept: Path, size: int) -> bool:
    """Whether the copy is there; if so it counts as used now."""
    try:
        there = kept.stat().st_size == size
        if there:
            os.utime(kept)
    except OSError:
        return False
    return there


def _make_room(needed: int) -> None:
    """Remove the longest unused shards until another fits. Who reads one at the moment keeps it open."""
    files = []
    for path in shard_cache().glob("*/*/*.tar"):
        with contextlib.suppress(OSError):
            state = path.stat()
            files.append((state.st_mtime_ns, state.st_size, path))
    room = cache_limit() - needed - sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if room >= 0:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            room += size


# --- the network --------------------------------------------------------------------------------------------


class _Broken(Exception):
    """What came is not what the index says."""


def _download(place: UrlPath, name: str, to: Path, size: int, sha256: str) -> None:
    system, path = _file_system(place)

    def get() -> None:
        system.get_file(f"{path}/{name}", str(to))
        there = to.stat().st_size
        if there != size:
            raise _Broken(f"{there:,} bytes came where the index says {size:,}")
        if _checksum(to) != sha256:
            raise _Broken("its checksum is not the index's")

    try:
        _attempt(get, f"{place}/{name}")
    except FileNotFoundError as error:
        raise DataError(f"{place}/{name} is not there: copy the whole folder of shards again.") from error


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _attempt(action: Callable[[], Any], what: str) -> Any:
    """Do it, several times if need be. FileNotFoundError goes through; all else becomes a DataError."""
    for wait in (*RETRY_WAITS, None):
        try:
            return action()
        except FileNotFoundError:
            raise
        except Exception as error:  # every protocol has its own
            if wait is None or isinstance(error, PermissionError):
                reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
                raise DataError(
                    f"{what} cannot be fetched ({reason}): check the address and the connection, or copy the shards "
                    f"there again."
                ) from error
            time.sleep(wait)
    raise AssertionError


def _file_system(place: UrlPath) -> tuple[Any, str]:
    """The fsspec file system of an address, and the folder's path in it.

    Raises:
        DataError: the protocol is unknown, or what speaks it is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise DataError(
            f"{place} is an address, which takes fsspec to read: `pip install 'stylebridge[shards]'`."
        ) from error
    protocol = str(place).partition("://")[0]
    options: dict[str, Any] = {}
    try:
        if protocol in ("http", "https"):
            aiohttp: Any = importlib.import_module("aiohttp")  # an optional package

            # The default ends every transfer after five minutes, however well it goes.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
            options["client_kwargs"] = {"timeout": timeout}
        system, path = fsspec.core.url_to_fs(str(place), **options)
    except ImportError as error:
        raise DataError(
            f"{place} cannot be read without another package ({' '.join(str(error).split())}): `pip install "
            f"'fsspec[{protocol}]'`."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{place} has an address that cannot be read ({' '.join(str(error).split())}): use https://, s3:// or "
            f"another protocol of fsspec."
        ) from error
    return system, path.rstrip("/")
