"""The location of shards: a folder on the disk, or a URL."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias, cast
from urllib.parse import unquote, urlsplit

from stylebridge.data.regular import open_regular

#: The file that identifies a shard folder.
INDEX = "index.json"
#: The value of its ``format``.
FORMAT = "stylebridge shards"


_ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)


class UrlPath(PurePosixPath):
    """A URL (``https://…``, ``s3://…``) with the interface of a path; ``str()`` gives the URL."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def resolve(self) -> UrlPath:
        """The URL itself, which is already absolute."""
        return self

    def exists(self) -> bool:
        """False: it is not on this disk."""
        return False

    def is_dir(self) -> bool:
        """False, as :meth:`exists`."""
        return False

    def is_file(self) -> bool:
        """False, as :meth:`exists`."""
        return False


Place: TypeAlias = Path | UrlPath


def shard_place(given: str | Path | UrlPath) -> Path | None:
    """The shard folder that a user's ``--source`` names, or None if it names something else.

    Shards are named by ``shards:PATH_OR_URL``, by any URL (only shards can be remote; a final ``/index.json`` is
    dropped), or by a folder, or its ``index.json``, from ``stylebridge data pack``. A URL is returned as a
    :class:`UrlPath`, typed as Path.
    """
    text = str(given)
    named = text.startswith("shards:")
    text = text.removeprefix("shards:")
    if text.startswith("file://"):
        named, text = True, unquote(urlsplit(text).path)
    if _ADDRESS.match(text):
        return cast("Path", UrlPath(text.removesuffix(INDEX)))
    place = Path(text)
    place = place.parent if place.name == INDEX else place
    return place if named or is_shard_folder(place) else None


def is_shard_folder(folder: Path) -> bool:
    """Whether a folder's ``index.json`` is ours (other tools use the same name)."""
    try:
        with open_regular(folder / INDEX) as file:
            return f'"{FORMAT}"'.encode() in file.read(256)
    except (OSError, ValueError):  # ValueError: an invalid file name
        return False
