"""Keeps decoders from writing on the user's terminal; what matters becomes an error of ours."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
import warnings
from typing import Any, cast

from PIL import Image


class _Quiet:
    """While a file is read, no warning of Pillow's is shown. Threads may be inside at once.

    ``warnings.catch_warnings`` would undo what other threads meanwhile do to the filters; this takes back its own.
    """

    _FILTER = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._remove()
                cast(Any, warnings.filters).insert(0, self._FILTER)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._remove()

    def _remove(self) -> None:
        if self._FILTER in warnings.filters:
            cast(Any, warnings.filters).remove(self._FILTER)


#: ``with quiet:`` around whatever Pillow does with a file.
quiet = _Quiet()

# Without a handler Python prints what Pillow logs as an error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def _silence_libtiff() -> None:
    """libtiff writes to the process's stderr; Pillow raises the same errors."""
    try:
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(ctypes.CDLL(Image.core.__file__), name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
    except (AttributeError, OSError):
        pass  # built in, without the names: nothing to be done from here


_silence_libtiff()
