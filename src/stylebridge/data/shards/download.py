"""Downloads with a size limit, which continue earlier attempts."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from stylebridge.data.shards.place import UrlPath
from stylebridge.errors import DataError, one_line

#: Seconds before each retry: a long training should survive a short outage.
RETRY_WAITS = (1.0, 5.0, 20.0)
#: Seconds without a byte after which a connection has failed.
_SILENCE = 60

_CHUNK = 1 << 20


class _Broken(Exception):
    """The received data does not match the index."""


class _DiskError(Exception):
    """The received data cannot be written: a retry does not help."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class _Sink(Protocol):
    """A destination for bytes."""

    done: int

    def write(self, chunk: bytes) -> None: ...
    def restart(self) -> None: ...


class _Memory:
    """Bytes in memory, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.parts, self.done = limit, [], 0

    def write(self, chunk: bytes) -> None:
        self.done += len(chunk)
        if self.done > self.limit:
            raise DataError(f"more than {self.limit:,} bytes received")
        self.parts.append(chunk)

    def restart(self) -> None:
        self.parts, self.done = [], 0


class _Part:
    """A file of known final size; the data of an earlier attempt is kept.

    Args:
        make_room: called when the disk is full; returns whether something was removed.
    """

    def __init__(self, path: Path, size: int, make_room: Callable[[], bool]) -> None:
        self.size, self.make_room = size, make_room
        self.file = path.open("ab", 0)
        self.done = self.file.seek(0, os.SEEK_END)
        if self.done > size:
            self.restart()

    def write(self, chunk: bytes) -> None:
        if self.done + len(chunk) > self.size:
            self.restart()
            raise _Broken(f"more bytes received than the {self.size:,} in the index")
        left = memoryview(chunk)
        while left:
            try:
                written = self.file.write(left)
            except OSError as error:
                if error.errno == errno.ENOSPC and self.make_room():
                    continue
                raise _DiskError(error) from error
            left = left[written:]
            self.done += written

    def restart(self) -> None:
        self.file.truncate(0)
        self.done = 0


def download_small(place: UrlPath, name: str, limit: int) -> bytes:
    """Download a file of at most ``limit`` bytes into memory.

    Raises:
        FileNotFoundError: it does not exist.
        DataError: it is larger, or cannot be downloaded.
    """

    def get() -> bytes:
        sink = _Memory(limit)
        _stream(place, name, sink)
        return b"".join(sink.parts)

    return _attempt(get, f"{place}/{name}")


def download(
    place: UrlPath, name: str, to: Path, size: int, sha256: str, make_room: Callable[[], bool]
) -> None:
    """Download a file of ``size`` bytes, never more. Data already in ``to``, from a failed or killed download, is not
    downloaded again if the server supports ranges.

    The checksum covers the whole file, so it also verifies that both parts belong to the same file.

    Raises:
        FileNotFoundError: it does not exist.
        DataError: it cannot be downloaded, or size or checksum do not match; ``to`` is then removed.
        OSError: ``to`` cannot be written.
    """

    def get() -> None:
        part = _Part(to, size, make_room)
        with part.file:
            if part.done < size:
                _stream(place, name, part)
            if part.done != size:
                done = part.done
                part.restart()
                raise _Broken(f"{done:,} bytes received instead of the {size:,} in the index")
            if _checksum(to) != sha256:
                part.restart()
                raise _Broken("its checksum does not match the index")

    try:
        _attempt(get, f"{place}/{name}")
    except _DiskError as error:
        raise error.error from None


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _stream(place: UrlPath, name: str, sink: _Sink) -> None:
    """Write the file into the sink, from the sink's current position on."""
    system, path = _file_system(place)
    if str(place).partition("://")[0] in ("http", "https"):
        fsspec: Any = importlib.import_module("fsspec.asyn")
        fsspec.sync(system.loop, _stream_http, system, f"{path}/{name}", sink)
        return
    with system.open(f"{path}/{name}", "rb") as source:
        if sink.done:
            source.seek(sink.done)
        while chunk := source.read(_CHUNK):
            sink.write(chunk)


async def _stream_http(system: Any, url: str, sink: _Sink) -> None:
    options = dict(system.kwargs)
    # A compressed body could unpack to any size, and has no ranges.
    headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
    if sink.done:
        headers["Range"] = f"bytes={sink.done}-"
    session = await system.set_session()
    async with session.get(system.encode_url(url), headers=headers, **options) as answer:
        if sink.done and answer.status == 416:
            sink.restart()
            raise _Broken("it is shorter than in the index")
        system._raise_not_found_for_status(answer, url)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _Broken(f"the server compresses it ({answer.headers['Content-Encoding']})")
        begins = f"bytes {sink.done}-"
        if sink.done and not (
            answer.status == 206 and answer.headers.get("Content-Range", "").startswith(begins)
        ):
            sink.restart()  # the server sends the whole file: it does not support ranges
            if answer.status == 206:
                raise _Broken("the server sent another range than requested")
        async for chunk in answer.content.iter_chunked(_CHUNK):
            sink.write(chunk)


def _attempt(action: Callable[[], Any], what: str) -> Any:
    """Run an action with retries. FileNotFoundError is passed on; other errors become a DataError."""
    for wait in (*RETRY_WAITS, None):
        try:
            return action()
        except (FileNotFoundError, _DiskError):
            raise
        except Exception as error:  # every protocol raises its own errors
            if wait is None or isinstance(error, PermissionError | DataError):
                reason = one_line(error).rstrip(".") or type(error).__name__
                raise DataError(
                    f"{what} cannot be downloaded ({reason}): check the URL and the connection, or copy the shards "
                    f"there again."
                ) from error
            time.sleep(wait)
    raise AssertionError


def _file_system(place: UrlPath) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the folder's path in it.

    Raises:
        DataError: the protocol is unknown, or its package is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise DataError(f"{place} is a URL, which needs fsspec: `pip install 'fsspec[http]'`.") from error
    protocol = str(place).partition("://")[0]
    options: dict[str, Any] = {}
    try:
        if protocol in ("http", "https"):
            aiohttp: Any = importlib.import_module("aiohttp")  # an optional package

            # The default ends every transfer after five minutes.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
            options["client_kwargs"] = {"timeout": timeout}
        system, path = fsspec.core.url_to_fs(str(place), **options)
    except ImportError as error:
        raise DataError(
            f"{place} cannot be read without another package ({one_line(error)}): `pip install "
            f"'fsspec[{protocol}]'`."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{place} is not a valid URL ({one_line(error)}): use https://, s3:// or "
            f"another protocol of fsspec."
        ) from error
    return system, path.rstrip("/")
