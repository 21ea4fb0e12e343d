"""The base class for readers of public data-set layouts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stylebridge.data.files import FileRef, LabelRef, Tree
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError


@dataclass(frozen=True)
class Listing:
    """The files of one split: ``labels[i]`` belongs to ``images[i]``; None if they are not read.

    ``space``: the label space of these files if it differs from the layout's (the folder holds ids of another kind, or
    a file in it lists the classes).
    """

    images: Sequence[FileRef]
    labels: Sequence[LabelRef] | None
    space: str | LabelSpace | None = None


class Layout(ABC):
    """The file layout of a data set. Readers are stateless.

    Attributes:
        name: its name in ``--source NAME:PATH``.
        title: its name in messages.
        splits: names of its splits, the training split first; empty without splits.
        evaluation_split: the default split for evaluation.
        free_splits: description of other allowed splits; empty: none.
        space: the built-in label space of its label files; None: it is given or inferred.
        known_by_labels: it differs from a plain folder only in its labels, so that an unlabelled set is read as a plain
            folder, without looking for labels.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ()
    evaluation_split: ClassVar[str | None] = None
    free_splits: ClassVar[str] = ""
    space: ClassVar[str | None] = None
    known_by_labels: ClassVar[bool] = False

    @abstractmethod
    def recognise(self, tree: Tree) -> bool:
        """Whether the tree has this layout; checks only folder names and a few files."""

    def begins(self, tree: Tree) -> bool:
        """Whether a tree with this layout has it at its root, not in a folder below."""
        return self.recognise(tree)

    def usual_split(self, tree: Tree, evaluation: bool) -> str | None:
        """The default split; None: the tree has no splits.

        Raises:
            DataError: there are several candidates; names them.
        """
        if not self.splits:
            return None
        return (self.evaluation_split if evaluation else None) or self.splits[0]

    @abstractmethod
    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        """The files of a split, sorted by path.

        Args:
            split: one of ``splits``, a free one, or None without splits.
            labelled: False: do not look for label files.
            name: the domain's name in messages.

        Raises:
            DataError: a folder is missing or empty, or images and labels do not match; names the file.
        """


def pair(
    images: Mapping[str, FileRef],
    labels: Mapping[str, LabelRef],
    images_at: Path,
    labels_at: Path,
    name: str,
    space: str | LabelSpace | None = None,
) -> Listing:
    """Match images and labels by key (the common part of their paths), in the order of the keys.

    Raises:
        DataError: there are no images, or images without labels, or labels without images.
    """
    if not images:
        raise DataError(f"The {name} folder {images_at} holds no images: check the path.")
    bare = sorted(images.keys() - labels.keys())
    if bare:
        raise DataError(
            f"{_count(len(bare), 'image')} in {images_at} {_have(len(bare))} no label map in {labels_at} "
            f"(the first is {_below(images[bare[0]], images_at)}): add the label maps or remove the images."
        )
    spare = sorted(labels.keys() - images.keys())
    if spare:
        raise DataError(
            f"{_count(len(spare), 'label map')} in {labels_at} {_have(len(spare))} no image in {images_at} "
            f"(the first is {_below(labels[spare[0]], labels_at)}): add the images or remove the label maps."
        )
    keys = sorted(images)
    return Listing([images[k] for k in keys], [labels[k] for k in keys], space)


def unlabelled(images: Mapping[str, FileRef], images_at: Path, name: str) -> Listing:
    """Images without labels, in the order of the keys. Raises DataError if there are none."""
    if not images:
        raise DataError(f"The {name} folder {images_at} holds no images: check the path.")
    return Listing([images[k] for k in sorted(images)], None)


def by_key(tree: Tree, folder: str, *endings: str) -> dict[str, FileRef]:
    """Files below ``folder`` with one of the endings, by their path below it without the ending."""
    found: dict[str, FileRef] = {}
    for path, file in tree.files(folder).items():
        ending = next((e for e in endings if path.endswith(e)), None)
        if ending is not None:
            found[path[len(folder) + 1 if folder else 0 : -len(ending)]] = file
    return found


def first_found(tree: Tree, *folders: str) -> str | None:
    """The first of these folders that exists, or None."""
    return next((folder for folder in folders if tree.has(folder)), None)


def need(tree: Tree, folder: str, name: str, title: str) -> str:
    """Return the folder if it exists.

    Raises:
        DataError: it does not exist; states what the layout needs.
    """
    if not tree.has(folder):
        raise DataError(
            f"The {name} {tree.root} has no folder {folder}/, which {title} needs: check the path."
        )
    return folder


def _below(file: LabelRef, folder: Path) -> str:
    if isinstance(file, Path) and file.is_relative_to(folder):
        return str(file.relative_to(folder))
    return file.name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
