"""Files wherever they lie: in a folder, or inside an archive that is read in place.

A :class:`Tree` is what a layout reader looks at: a folder, a zip file, or several zip files as one. It gives
:data:`FileRef` values, which are opened by :func:`open_file`; nothing is ever unpacked to the disk.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from stylebridge.errors import DataError

#: Endings (in any case) of the files that are taken for images.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})

#: A member of an archive that unpacks to more bytes than this is refused: no photo does.
MAX_MEMBER_BYTES = 1 << 28


class PackedFile(ABC):
    """A file inside an archive. Hashable, picklable, and named like a path.

    ``str()`` gives ``ARCHIVE!MEMBER``, which messages show.
    """

    #: The member's path inside the archive.
    path: PurePosixPath

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The ending, as ``.png``."""
        return self.path.suffix

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The whole content. Raises DataError if the archive is damaged there."""

    @abstractmethod
    def fingerprint(self) -> tuple[str | int, ...]:
        """Changes when the content does; cheap. Raises OSError if the archive is gone."""


#: A file on the disk or in an archive.
FileRef: TypeAlias = Path | PackedFile


@dataclass(frozen=True)
class MaskStack:
    """A label map kept as one mask a class: ``files`` are (mask, raw id), painted in this order.

    ``path`` names the whole in messages; where no mask is set the raw id is ``background``. A stack without
    masks is all background, of the image's size.
    """

    path: PurePosixPath
    files: tuple[tuple[FileRef, int], ...]
    background: int = 0

    @property
    def name(self) -> str:
        """What the label map would be called."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)


#: What holds one image's labels.
LabelRef: TypeAlias = FileRef | MaskStack


def open_file(file: FileRef) -> BinaryIO:
    """Open for reading. Raises OSError, or DataError where an archive is damaged."""
    return file.open("rb") if isinstance(file, Path) else io.BytesIO(file.read_bytes())


def fingerprint(file: LabelRef) -> tuple[str | int, ...]:
    """What changes when the file does: its place, size and time. Raises OSError if it is not there."""
    if isinstance(file, MaskStack):
        return (str(file.path), *(part for mask, raw in file.files for part in (*fingerprint(mask), raw)))
    if isinstance(file, PackedFile):
        return file.fingerprint()
    state = file.stat()
    return os.path.abspath(file), state.st_size, state.st_mtime_ns


def path_below(file: FileRef, root: Path) -> PurePosixPath:
    """The file's path below ``root`` (in an archive: inside it); its name alone if it lies elsewhere."""
    if isinstance(file, PackedFile):
        return file.path
    return PurePosixPath(file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name)


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image (hidden files are not)."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


# --- trees --------------------------------------------------------------------------------------------------


class Tree(ABC):
    """A folder's files by their path below it, ``/`` between the parts. Hidden names are passed over.

    Attributes:
        root: the folder or archive the user gave.
    """

    root: Path

    @abstractmethod
    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in ``folder``, sorted; [] if it does not exist."""

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in ``folder``, sorted; [] if it does not exist."""

    @abstractmethod
    def files(self, folder: str = "", recursive: bool = True) -> dict[str, FileRef]:
        """Files below ``folder`` by their path below the *tree*, sorted by path; {} if it does not exist."""

    def images(self, folder: str = "", recursive: bool = True) -> dict[str, FileRef]:
        """Those of :meth:`files` that are named as images."""
        found = self.files(folder, recursive)
        return {path: file for path, file in found.items() if is_image_name(path.rsplit("/", 1)[-1])}

    def has(self, folder: str) -> bool:
        """Whether there is such a folder."""
        above, _, name = folder.rpartition("/")
        return name in self.folders(above)

    def below(self, folder: str) -> Tree:
        """The tree that begins at one of its folders."""
        return _Below(self, folder)


@dataclass(frozen=True)
class FolderTree(Tree):
    """A folder on the disk. Linked folders are followed, but no circle of links twice. Each folder is listed
    only when it is asked for: what nobody asks for is not even looked at."""

    root: Path

    def folders(self, folder: str = "") -> list[str]:
        return sorted(e.name for e in self._entries(folder) if e.is_dir())

    def names(self, folder: str = "") -> list[str]:
        return sorted(e.name for e in self._entries(folder) if e.is_file())

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as found:
                return [entry for entry in found if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DataError(
                f"The folder {self.root / folder} cannot be listed ({error.strerror})."
            ) from error

    def files(self, folder: str = "", recursive: bool = True) -> dict[str, FileRef]:
        found: dict[str, FileRef] = {}
        seen: set[str] = set()
        for place, below, names in os.walk(self.root / folder, followlinks=True):
            real = os.path.realpath(place)
            wanted = recursive and real not in seen
            below[:] = sorted(b for b in below if not b.startswith(".")) if wanted else []
            if real not in seen:
                prefix = Path(place).relative_to(self.root).as_posix()
                prefix = "" if prefix == "." else f"{prefix}/"
                found |= {f"{prefix}{n}": Path(place, n) for n in names if not n.startswith(".")}
            seen.add(real)
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class _Below(Tree):
    tree: Tree
    folder: str

    @property
    def root(self) -> Path:  # type: ignore[override]
        return self.tree.root / self.folder

    def _at(self, folder: str) -> str:
        return f"{self.folder}/{folder}".rstrip("/")

    def folders(self, folder: str = "") -> list[str]:
        return self.tree.folders(self._at(folder))

    def names(self, folder: str = "") -> list[str]:
        return self.tree.names(self._at(folder))

    def files(self, folder: str = "", recursive: bool = True) -> dict[str, FileRef]:
        start = len(self.folder) + 1
        return {path[start:]: file for path, file in self.tree.files(self._at(folder), recursive).items()}


class _ListedTree(Tree):
    """A tree whose files are known from the start."""

    def __init__(self, root: Path, files: dict[str, FileRef]) -> None:
        self.root = root
        self._files = dict(sorted(files.items()))
        self._folders: dict[str, set[str]] = {"": set()}
        self._names: dict[str, list[str]] = {"": []}
        for path in self._files:
            folder, _, name = path.rpartition("/")
            self._names.setdefault(folder, []).append(name)
            while folder and folder not in self._folders.get(folder.rpartition("/")[0], ()):
                above, _, last = folder.rpartition("/")
                self._folders.setdefault(above, set()).add(last)
                folder = above

    def folders(self, folder: str = "") -> list[str]:
        return sorted(self._folders.get(folder, ()))

    def names(self, folder: str = "") -> list[str]:
        return sorted(self._names.get(folder, ()))

    def files(self, folder: str = "", recursive: bool = True) -> dict[str, FileRef]:
        prefix = f"{folder}/" if folder else ""
        return {
            path: file
            for path, file in self._files.items()
            if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
        }


def open_tree(path: Path, name: str = "data") -> Tree:
    """The tree of a folder or a zip file; of a folder that holds nothing but zip files, all of them as one.

    Raises:
        DataError: there is nothing, or the file is not a zip file that can be read.
    """
    if not path.exists():
        raise DataError(f"The {name} folder {path} does not exist: check the path.")
    if path.is_file():
        if path.suffix.lower() != ".zip":
            raise DataError(
                f"The {name} {path} is a file: give the folder (or zip file) that holds the images."
            )
        return _ListedTree(path, _zip_members(path))
    tree = FolderTree(path)
    zips = [n for n in tree.names() if n.lower().endswith(".zip")]
    if zips and not tree.folders() and not any(is_image_name(n) for n in tree.names()):
        merged: dict[str, FileRef] = {}
        for archive in zips:
            merged = {**_zip_members(path / archive), **merged}
        return _ListedTree(path, merged)
    return tree


# --- zip files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZipMember(PackedFile):
    """A file in a zip file. Read in place; what it unpacks to is checked against its checksum."""

    archive: Path
    path: PurePosixPath
    size: int = field(compare=False)
    crc: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.archive}!{self.path}"

    def read_bytes(self) -> bytes:
        try:
            return _zip(self.archive).read(self.path.as_posix())
        except OSError:
            raise
        except Exception as error:  # zipfile, zlib, lzma, bz2 and struct errors alike
            raise _damaged(self, error) from error

    def fingerprint(self) -> tuple[str | int, ...]:
        return os.path.abspath(self.archive), self.path.as_posix(), self.size, self.crc


_open_zips = threading.local()
#: Archives that a thread keeps open.
_KEPT = 8


def _zip(archive: Path) -> zipfile.ZipFile:
    """The thread's own handle: a shared one would make threads and forked processes move each other's place."""
    kept: OrderedDict[tuple[object, ...], zipfile.ZipFile] = _open_zips.__dict__.setdefault(
        "kept", OrderedDict()
    )
    state = archive.stat()  # an archive that was replaced is opened anew
    key = os.getpid(), archive, state.st_mtime_ns, state.st_size
    if key not in kept:
        kept[key] = zipfile.ZipFile(archive)
        while len(kept) > _KEPT:
            kept.popitem(last=False)[1].close()
    kept.move_to_end(key)
    return kept[key]


def _zip_members(archive: Path) -> dict[str, FileRef]:
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
    except Exception as error:
        reason = "it is empty" if archive.stat().st_size == 0 else " ".join(str(error).split())
        raise DataError(
            f"{archive} cannot be read as a zip file ({reason}): copy or download it again."
        ) from error
    return {info.filename: _member(archive, info) for info in infos if _wanted(archive, info)}


def _wanted(archive: Path, info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    if info.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DataError(
            f"{archive} holds {info.filename!r}, a path that leads outside the archive: do not trust this file; "
            f"make the archive again."
        )
    # Metadata of macOS, hidden files and folders are passed over as they are on the disk.
    return not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _member(archive: Path, info: zipfile.ZipInfo) -> ZipMember:
    if info.flag_bits & 1:
        raise DataError(f"{archive}!{info.filename} is encrypted: unpack the archive and give the folder.")
    if info.file_size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{archive}!{info.filename} unpacks to {info.file_size:,} bytes, which no image needs: do not trust "
            f"this file; make the archive again without it."
        )
    return ZipMember(archive, PurePosixPath(info.filename), info.file_size, info.CRC)


def _damaged(member: PackedFile, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DataError(
        f"{member} cannot be read from its archive ({reason}): make or download the archive again."
    )
