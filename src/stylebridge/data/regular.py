"""Open regular files only: a pipe would block, and a device may be endless."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO


class NoRegularFileError(OSError):
    """A pipe, socket or device instead of a file."""


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; ``buffering`` as for open().

    Raises:
        OSError: it cannot be opened; :class:`NoRegularFileError` for a pipe, socket or device.
    """
    _ensure_regular(path.stat().st_mode)  # before opening, which alone can start a device
    # If it was replaced by a pipe in between, opening must not block.
    opened: Any = open(path, "rb", buffering, opener=_open_without_waiting)  # noqa: SIM115
    try:
        _ensure_regular(os.fstat(opened.fileno()).st_mode)
    except OSError:
        opened.close()
        raise
    return opened


def _ensure_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe (FIFO)", stat.S_IFSOCK: "a socket"}
        raise NoRegularFileError(f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
