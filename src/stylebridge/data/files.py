"""Files in a folder, or inside an archive that is read in place.

Layout readers see a :class:`Tree`: a folder, a zip file, or several zip files as one. It returns :data:`FileRef`
values, which :func:`open_file` opens; nothing is unpacked to the disk.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from stylebridge.data.packed import PackedFile
from stylebridge.data.regular import open_regular
from stylebridge.data.zip_files import zip_members
from stylebridge.errors import DataError

#: Suffixes of image files, in lower case; matched ignoring case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})

#: A file on the disk or in an archive.
FileRef: TypeAlias = Path | PackedFile


@dataclass(frozen=True)
class MaskStack:
    """A label map stored as one mask for each class: ``files`` are (mask, raw id), painted in this order.

    ``path`` identifies it in messages; pixels outside all masks get the raw id ``background``. Without masks, the label
    map is all background, with the image's size.
    masks is all background, of the image's size.
    """

    path: PurePosixPath
    files: tuple[tuple[FileRef, int], ...]
    background: int = 0

    @property
    def name(self) -> str:
        """The file name of the label map."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)


#: The labels of one image.
LabelRef: TypeAlias = FileRef | MaskStack


def open_file(file: FileRef) -> BinaryIO:
    """Open for reading. Raises OSError (:class:`~stylebridge.data.regular.NoRegularFileError` for a pipe, socket or
    device), or DataError if an archive is damaged."""
    return open_regular(file) if isinstance(file, Path) else io.BytesIO(file.read_bytes())


def fingerprint(file: LabelRef) -> tuple[str | int, ...]:
    """Path, size and time, which change with the file. Raises OSError if it does not exist."""
    if isinstance(file, MaskStack):
        return (str(file.path), *(part for mask, raw in file.files for part in (*fingerprint(mask), raw)))
    if isinstance(file, PackedFile):
        return file.fingerprint()
    state = file.stat()
    return os.path.abspath(file), state.st_size, state.st_mtime_ns


def path_below(file: FileRef, root: Path) -> PurePosixPath:
    """The file's path below ``root`` (in an archive: inside it); only its name if it is elsewhere."""
    if isinstance(file, PackedFile):
        return file.path
    return PurePosixPath(file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name)


def is_image_name(name: str) -> bool:
    """Whether a file name has an image suffix and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


# --- trees --------------------------------------------------------------------------------------------------


class Tree(ABC):
    """A folder's files by their path below it, with ``/`` as separator. Hidden names are skipped.

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
        """Those of :meth:`files` that have image names."""
        found = self.files(folder, recursive)
        return {path: file for path, file in found.items() if is_image_name(path.rsplit("/", 1)[-1])}

    def has(self, folder: str) -> bool:
        """Whether the folder exists."""
        above, _, name = folder.rpartition("/")
        return name in self.folders(above)

    def below(self, folder: str) -> Tree:
        """The tree below one of its folders."""
        return _Below(self, folder)


@dataclass(frozen=True)
class FolderTree(Tree):
    """A folder on the disk. Links to folders are followed, each folder once, except links to a folder that contains
    the tree. Folders are listed on demand."""

    root: Path

    def folders(self, folder: str = "") -> list[str]:
        return sorted(e.name for e in self._entries(folder) if _is_folder(e))

    def names(self, folder: str = "") -> list[str]:
        return sorted(_readable(e.name, folder) for e in self._entries(folder) if _is_file(e))

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
        top = os.path.realpath(self.root / folder)
        seen = _around(top)
        for place, below, names in os.walk(self.root / folder, followlinks=True):
            real = os.path.realpath(place)
            new = real not in seen
            below[:] = sorted(b for b in below if not b.startswith(".")) if recursive and new else []
            if new:
                prefix = Path(place).relative_to(self.root).as_posix()
                prefix = "" if prefix == "." else f"{prefix}/"
                for name in names:
                    if not name.startswith("."):
                        found[f"{prefix}{_readable(name, place)}"] = Path(place, name)
            seen.add(real)
        return dict(sorted(found.items()))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself: listed, so that reading it reports it
        return True


def _around(top: str) -> set[str]:
    """The folders that contain a folder."""
    return {str(parent) for parent in Path(top).parents}


def _readable(name: str, folder: str) -> str:
    """A file's name, checked to be printable in messages, pages and YAML files.

    Raises:
        DataError: the name belongs to an image, and is not UTF-8.
    """
    if not is_image_name(name) or name.isascii():
        return name
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{os.path.join(folder, name)} has a name that is not UTF-8: rename it, or convert the names of all files "
            f"with a tool such as convmv."
        ) from None
    return name


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
    """The tree of a folder or zip file; a folder that contains only zip files is read as one tree.

    Raises:
        DataError: the path does not exist, or is a file but not a readable zip file.
    """
    if not path.exists():
        raise DataError(f"The {name} folder {path} does not exist: check the path.")
    if path.is_file():
        if path.suffix.lower() != ".zip":
            raise DataError(
                f"The {name} {path} is a file: give the folder (or zip file) that holds the images."
            )
        return _ListedTree(path, {**zip_members(path)})
    tree = FolderTree(path)
    zips = [n for n in tree.names() if n.lower().endswith(".zip")]
    if zips and not tree.folders() and not any(is_image_name(n) for n in tree.names()):
        merged: dict[str, FileRef] = {}
        for archive in zips:
            merged = {**zip_members(path / archive), **merged}
        return _ListedTree(path, merged)
    return tree
