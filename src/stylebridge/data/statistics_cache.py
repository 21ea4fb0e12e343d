"""Cache of the statistics of a domain, so that unchanged data is read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stylebridge.atomic import written_file
from stylebridge.data.files import FileRef, LabelRef, fingerprint
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import WriteError

#: Incremented when the statistics change; older files are then not found.
_VERSION = 2
_FIELDS = ("image_sizes", "pixel_counts", "ignored_counts")


def statistics_key(
    images: Sequence[FileRef], labels: Sequence[LabelRef] | None, space: LabelSpace | None
) -> str | None:
    """A hash of the files' paths, sizes and times and of the label space; None if a file is missing."""
    digest = hashlib.sha256(f"stylebridge statistics {_VERSION}".encode())
    try:
        for path in (*images, None, *(labels or ())):
            if path is not None:
                digest.update(repr(fingerprint(path)).encode(errors="surrogateescape"))
            digest.update(b"\n")
    except OSError:
        return None
    if labels is not None and space is not None:
        spelling = [space.num_classes, sorted(space.raw_ids.items()), sorted(space.raw_colours.items())]
        digest.update(json.dumps(spelling).encode())
    return digest.hexdigest()


def load_statistics(key: str) -> dict[str, np.ndarray] | None:
    """The arrays saved under a key, or None."""
    folder = _folder()
    if folder is None:
        return None
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as kept:
            return {name: kept[name] for name in _FIELDS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent, or truncated by a full disk: count again


def save_statistics(key: str, arrays: dict[str, np.ndarray]) -> None:
    """Save arrays under a key. Does nothing if the folder cannot be written."""
    folder = _folder()
    if folder is None:
        return
    with (
        contextlib.suppress(WriteError),
        written_file(folder / f"{key}.npz", shared=True) as beside,
        beside.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _folder() -> Path | None:
    """The cache folder, or None if the user has no home."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "stylebridge" / "statistics"
