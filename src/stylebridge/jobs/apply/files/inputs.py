"""Input files of commands: images, folders, patterns, zip files, videos."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from stylebridge.data.files import FileRef, FolderTree, is_image_name, open_tree
from stylebridge.errors import DataError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"})
_HOW = "give images, videos, or folders of them"


@dataclass
class Inputs:
    """Each file, and the name of its output below the output folder, without suffix."""

    images: dict[FileRef, PurePosixPath] = field(default_factory=dict)
    videos: dict[Path, PurePosixPath] = field(default_factory=dict)


def collect_inputs(given: Sequence[str | Path]) -> Inputs:
    """Find the files. Files of a folder or zip file keep their path below it, others their name.

    Raises:
        DataError: a path does not exist, is neither image nor video, or two files would have the same output.
    """
    inputs = Inputs()
    for each in given:
        for path in _matches(each):
            _add(inputs, path)
    _check_names(inputs)
    return inputs


def places_of(given: Sequence[str | Path], inputs: Inputs) -> dict[str, Path]:
    """The given folders and files, by their names in messages; a pattern is replaced by the files that match."""
    found = {f"the input ({each})": Path(each) for each in given if Path(each).exists()}
    if len(found) < len(given):
        files = [file for file in (*inputs.images, *inputs.videos) if isinstance(file, Path)]
        found |= {f"the input ({file})": file for file in files}
    return found


def _matches(given: str | Path) -> list[Path]:
    path = Path(given)
    if path.exists():
        return [path]
    if not any(sign in str(given) for sign in "*?["):
        raise DataError(f"{given} does not exist: {_HOW}.")
    found = _glob(str(given))
    files = [
        f for f in found if f.is_file() and (is_image_name(f.name) or f.suffix.lower() in VIDEO_SUFFIXES)
    ]
    if not files:
        raise DataError(f"No image or video matches {given}: {_HOW}.")
    return files


def _glob(pattern: str) -> list[Path]:
    """The paths that match a pattern, sorted. ``**`` matches any folders, as in Python's glob, which would follow
    circular links until paths are too long."""
    parts = PurePath(pattern).parts
    if "**" not in parts:
        return [Path(match) for match in sorted(glob.glob(pattern))]
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    top = Path(*parts[:fixed])
    if not top.is_dir():
        return []
    return [top / path for path in FolderTree(top).files() if _fits(path.split("/"), parts[fixed:])]


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a path matches a pattern, both split into parts."""
    # All positions in the pattern that the names so far can reach, so that a path is scanned once.
    places = _skipping({0}, parts)
    for name in names:
        after = {
            p if parts[p] == "**" else p + 1 for p in places if p < len(parts) and _fits_one(name, parts[p])
        }
        places = _skipping(after, parts)
    return len(parts) in places


def _skipping(places: set[int], parts: Sequence[str]) -> set[int]:
    """Add the positions after each ``**``, which may match no folder."""
    found = set(places)
    for place, part in enumerate(parts):
        if part == "**" and place in found:
            found.add(place + 1)
    return found


def _fits_one(name: str, part: str) -> bool:
    return part == "**" or fnmatch.fnmatchcase(name, part)


def _add(inputs: Inputs, path: Path) -> None:
    if path.is_file() and path.suffix.lower() != ".zip":
        name = PurePosixPath(path.stem)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            inputs.videos[path] = name
        else:
            inputs.images[path] = name
        return
    found = 0
    for inside, file in open_tree(path).files().items():
        name = PurePosixPath(inside).with_suffix("")
        if is_image_name(file.name):
            inputs.images[file] = name
        elif isinstance(file, Path) and file.suffix.lower() in VIDEO_SUFFIXES:
            inputs.videos[file] = name
        else:
            continue
        found += 1
    if not found:
        raise DataError(
            f"{path} has no images: give a folder with image files such as .jpg or .png, or videos."
        )


def _check_names(inputs: Inputs) -> None:
    taken: dict[PurePosixPath, FileRef] = {}
    for file, name in [*inputs.images.items(), *inputs.videos.items()]:
        if name in taken:
            raise DataError(
                f"{file} and {taken[name]} would both be written to {name}.png: segment them into two folders."
            )
        taken[name] = file
