"""Plain folders: images in one folder, label maps in another, matched by path without suffix."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from stylebridge.data.files import IMAGE_SUFFIXES, FileRef, LabelRef, Tree
from stylebridge.data.layouts.base import Layout, Listing, pair
from stylebridge.data.layouts.labelmap import listed_space
from stylebridge.data.layouts.names import is_image_folder, is_label_folder
from stylebridge.errors import DataError

#: Most folders and kinds of files in a description.
_MOST_LISTED = 8


@dataclass(frozen=True)
class Folders:
    """Candidate folders for the images and label maps of a plain folder.

    Attributes:
        images: folders of images; ``""`` is the tree's root. More than one: ambiguous.
        labels: folders of label maps, likewise; empty if labels are not read.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """Whether there is exactly one image folder, and at most one label folder."""
        return len(self.images) == 1 and len(self.labels) <= 1


def find_folders(tree: Tree, named: str | None, labelled: bool) -> Folders:
    """Find the folders of images and label maps, by their usual names or as given.

    If several have such names, only those with image files count. If a tree has no image folder, images in its root
    count.

    Args:
        named: ``LABELS``, ``IMAGES`` (a usual name) or ``IMAGES+LABELS``: paths below the tree.
        labelled: False: label folders are ignored.

    Raises:
        DataError: a named folder does not exist.
    """
    images_named, labels_named = _named(named)
    for folder in (images_named, labels_named if labelled else ""):
        if folder and (".." in folder.split("/") or not tree.has(folder)):
            raise DataError(f"{tree.root} has no folder {folder}/: it holds {describe(tree)}.")
    here = tree.folders()
    images = (images_named,) if images_named else _holding(tree, [f for f in here if is_image_folder(f)])
    if not images and any(tree.images(recursive=False)):
        images = ("",)
    labels: tuple[str, ...] = ()
    if labelled:
        labels = (labels_named,) if labels_named else _holding(tree, [f for f in here if is_label_folder(f)])
    return Folders(images, labels)


def _named(text: str | None) -> tuple[str, str]:
    """The image folder and the label folder; empty if not named."""
    images, plus, labels = (text or "").partition("+")
    if not plus and not is_image_folder(images):
        images, labels = "", images
    return images.strip("/"), labels.strip("/")


def _holding(tree: Tree, folders: list[str]) -> tuple[str, ...]:
    """The folders that hold image files, if there are several; the first if none does."""
    if len(folders) < 2:
        return tuple(folders)
    holding = [folder for folder in folders if any(tree.images(folder))]
    return tuple(holding or folders[:1])


def unclear(tree: Tree, found: Folders, named: str = "folder/") -> str:
    """One sentence on ambiguous folders and how to name them; empty if there is no ambiguity.

    Args:
        named: the prefix of a label folder's name.
    """
    if len(found.images) > 1:
        images, labels = found.images, found.labels[:1]
        example = f"{images[0]}+{labels[0]}" if labels else images[0]
        return (
            f"{tree.root} has several folders of images, {_listed(tree, images)}: name one, as folder/{example}:"
            f"{tree.root}."
        )
    if len(found.labels) > 1:
        ways = " or ".join(f"{named}{labels}:{tree.root}" for labels in found.labels[:3])
        return f"{tree.root} has several folders of label maps, {_listed(tree, found.labels)}: name one, as {ways}."
    return ""


def _listed(tree: Tree, folders: tuple[str, ...]) -> str:
    return " and ".join(f"{folder}/ ({_files(len(tree.images(folder)), 'image file')})" for folder in folders)


def _files(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe(tree: Tree) -> str:
    """A short description of the contents of a tree's root."""
    folders, names = tree.folders(), tree.names()
    parts = [
        f"{folder}/ ({_files(len(tree.images(folder)), 'image file')})" for folder in folders[:_MOST_LISTED]
    ]
    parts += ["…"] if len(folders) > _MOST_LISTED else []
    kinds = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in names)
    parts += [_files(number, f"{kind} file") for kind, number in kinds.most_common(_MOST_LISTED)]
    return ", ".join(parts) or "nothing"


def how_to_name(tree: Tree) -> str:
    """A sentence on how to name the data in a tree of unknown layout; empty if there are no images."""
    folders = tree.folders()[: 4 * _MOST_LISTED]
    inside = [f for f in folders if any(is_image_folder(below) for below in tree.folders(f))]
    if inside:
        return f"Give one of its folders, such as {tree.root / inside[0]}."
    holding = [folder for folder in folders if any(tree.images(folder))]
    if len(holding) > 1:
        return (
            f"Name the folders of images and label maps as folder/IMAGES+LABELS:PATH, for example "
            f"folder/{holding[0]}+{holding[1]}:{tree.root}, or images alone as {tree.root / holding[0]}."
        )
    return f"If these are the images, give {tree.root / holding[0]}." if holding else ""


class FolderLayout(Layout):
    """A labelled domain has a folder of images and one of label maps, with the names in
    :mod:`stylebridge.data.layouts.names` (``images/`` and ``labels/``, ``img/`` and ``masks/``, …). An unlabelled one
    has a folder of images, or images at its root; its label folder, if any, is not even listed. A ``labelmap.txt``
    beside them defines the label space."""

    name = "folder"
    title = "a plain folder"
    free_splits = "LABELS, IMAGES+LABELS"

    def recognise(self, tree: Tree) -> bool:
        return any(map(is_image_folder, tree.folders())) or any(tree.images(recursive=False))

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        found = find_folders(tree, split, labelled)
        problem = unclear(tree, found)
        if problem:
            raise DataError(problem)
        if not labelled:
            images = _by_stem(tree, *(found.images or ("",)), recursive=found.images not in ((), ("",)))
            return Listing(list(images.values()), None)
        _need_both(tree, found, name)
        (images_at,), (labels_at,) = found.images, found.labels
        images = _by_stem(tree, images_at, recursive=bool(images_at))
        labels: dict[str, LabelRef] = {**_by_stem(tree, labels_at, recursive=True)}
        classes = None if "classes.yaml" in tree.names() else listed_space(tree)
        return pair(images, labels, tree.root / images_at, tree.root / labels_at, name, classes)


def _need_both(tree: Tree, found: Folders, name: str) -> None:
    """Raises DataError if the images or the label maps of a labelled domain are missing."""
    root = tree.root
    missing = "images" if not found.images or (found.images == ("",) and not found.labels) else "labels"
    if found.images and found.labels:
        return
    if is_image_folder(root.name) or is_label_folder(root.name):
        hint = f"give {root.parent}"
    else:
        hint = how_to_name(tree) if not (found.images or found.labels) else ""
        hint = f"it holds {describe(tree)}. {hint}".rstrip(". ") if hint else f"put the {missing} there"
    raise DataError(f"The {name} folder {root} has no folder {missing}/ and needs its labels: {hint}.")


def _by_stem(tree: Tree, folder: str, recursive: bool) -> dict[str, FileRef]:
    """Image files by their path below the folder without suffix, sorted."""
    found: dict[str, FileRef] = {}
    start = len(folder) + 1 if folder else 0
    for path, file in tree.images(folder, recursive).items():
        stem = path[start : path.rindex(".")]
        if stem in found:
            raise DataError(
                f"{found[stem]} and {file} have the same name except for the suffix, so that their label map or "
                f"output would be the same: rename one of them."
            )
        found[stem] = file
    if not found:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        where = tree.root / folder
        hint = how_to_name(tree) if not folder else ""
        seen = f" It holds {describe(tree)}. {hint}".rstrip() if hint else ""
        raise DataError(f"The folder {where} holds no images ({kinds}): add images or check the path.{seen}")
    return dict(sorted(found.items()))
