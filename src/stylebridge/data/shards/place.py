"""Where shards are: a folder on the disk, or an address."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias, cast
from urllib.parse import unquote, urlsplit

from stylebridge.data.regular import open_regular

#: The file that makes a folder one of shards.
INDEX = "index.json"
#: What its ``format`` says.
FORMAT = "stylebridge shards"


_ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)


class UrlPath(PurePosixPath):
    """An address (``https://…``, ``s3://…``) that is handled as a path; ``str()`` gives the address."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def resolve(self) -> UrlPath:
        """Itself: addresses are whole already."""
        return self

    def exists(self) -> bool:
        """False: it is nothing on this disk."""
        return False

    def is_dir(self) -> bool:
        """False, as :meth:`exists`."""
        return False

    def is_file(self) -> bool:
        """False, as :meth:`exists`."""
        return False


Place: TypeAlias = Path | UrlPath


def shard_place(given: str | Path | UrlPath) -> Path | None:
    """The folder of shards that a user's ``--source`` names, or None if it names something else.

    It does by ``shards:PATH_OR_URL``, by any address (images are read from afar in shards only; ``/index.json`` at
    its end is dropped), or by a folder, or its ``index.json``, that ``stylebridge data pack`` made. An address
    comes back as a :class:`UrlPath`, which is typed as the Path it stands in for.
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
    """Whether a folder's ``index.json`` begins as ours do (other tools have files of that name)."""
    try:
        with open_regular(folder / INDEX) as file:
            return f'"{FORMAT}"'.encode() in file.read(256)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False
