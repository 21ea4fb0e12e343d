"""Keep decoders from writing to the user's terminal; real problems raise our errors."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
import warnings
from typing import Any, cast

from PIL import Image


class _Quiet:
    """Suppresses Pillow's warnings while files are read. Thread-safe.

    ``warnings.catch_warnings`` would undo changes of other threads to the filters; this removes only its own.
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


#: ``with quiet:`` around all uses of Pillow.
quiet = _Quiet()

# Without a handler Python prints errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def _silence_libtiff() -> None:
    """libtiff writes to the process's stderr; Pillow raises the same errors."""
    try:
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(ctypes.CDLL(Image.core.__file__), name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
    except (AttributeError, OSError):
        pass  # statically linked without these symbols: cannot be silenced


_silence_libtiff()
