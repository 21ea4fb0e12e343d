"""Reuse of freed memory between the steps of training on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Parameters of glibc's ``mallopt`` and their values here. Afterwards they are set to the values that glibc reaches by
#: itself in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_THRESHOLD: 1 << 30}
_USUAL = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Inside, the process keeps the memory of freed tensors, up to 1 GiB each, for later ones.

    glibc returns blocks above 32 MiB to the system at once, and the system zeroes each page when it hands it out again.
    Weights, gradients and scratch space of large layers pay for this in every step: 15 % of a first-stage step of
    MixNMatch. Afterwards unused memory is returned. Without glibc this does nothing.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    for number, value in _KEEP.items():
        libc.mallopt(number, value)
    try:
        yield
    finally:
        for number, value in _USUAL.items():
            libc.mallopt(number, value)
        libc.malloc_trim(0)


def _glibc() -> Any:
    """The C library, if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # absent elsewhere
    except (OSError, TypeError, AttributeError):
        return None
    return libc
