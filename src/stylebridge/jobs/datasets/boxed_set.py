"""Photos with a bounding box each: open them, and check them with all processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from stylebridge.data.box_files import BOXES_FILES, Boxes, BoxProblem, find_boxes, problems_error, read_boxes
from stylebridge.data.files import FileRef, open_tree
from stylebridge.data.images import check_image
from stylebridge.engine.processes import Share
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.together import progress_bar


@dataclass(frozen=True)
class BoxedSet:
    """Photos, their names in the box file, and the boxes."""

    root: Path
    images: tuple[FileRef, ...]
    names: tuple[str, ...]
    boxes: Boxes


def open_boxed_set(data: Path, boxes: str | Path | None) -> BoxedSet:
    """The photos of a folder or zip file, and their boxes.

    Raises:
        DataError: there is no photo or no box file, the file is malformed, or a photo has no box.
    """
    tree = open_tree(data)
    found = tree.images("images" if tree.has("images") else "")
    if not found:
        raise DataError(f"There is no image in {data}: give the folder that holds the photos.")
    file = find_boxes(data, boxes)
    if file is None:
        raise DataError(f"{data} has neither {' nor '.join(BOXES_FILES)}: give --boxes FILE.")
    read = read_boxes(file)
    read.check(found)
    return BoxedSet(data, tuple(found.values()), tuple(found), read)


def check_boxed_set(data: BoxedSet, accelerator: Accelerator, console: Console) -> None:
    """:func:`check_photos` shared by all processes."""
    share: Share[int] = Share(range(len(data.images)), accelerator)
    part = slice(share.first, share.stop)
    mine = replace(data, images=data.images[part], names=data.names[part])
    with progress_bar("check the photos", len(share.mine), console) as advance, share.together():
        check_photos(mine, advance)


def check_photos(data: BoxedSet, advance: Callable[[int], None] = lambda done: None) -> None:
    """Check that every photo can be read and that its box is inside it. ``advance`` is called with 1 after each photo.

    Raises:
        DataError: the first photo that cannot be read; else all boxes that extend beyond their photos, in one message.
    """

    def check(photo: tuple[FileRef, str]) -> BoxProblem | None:
        return data.boxes.problem(photo[1], *check_image(photo[0]))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found: list[BoxProblem] = []
        for problem in pool.map(check, zip(data.images, data.names, strict=True)):
            found += [problem] if problem is not None else []
            advance(1)
    if found:
        raise problems_error(data.boxes.path, found)
