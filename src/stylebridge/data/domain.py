"""Domains: folders of images that share a look, with labels or without."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stylebridge.data.files import FileRef, LabelRef, Tree, open_tree
from stylebridge.data.images import check_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.layouts import LAYOUTS, Layout
from stylebridge.data.layouts.folder import find_folders
from stylebridge.data.layouts.names import is_image_folder, is_label_folder
from stylebridge.data.shards import ShardSequence, open_shards, shard_place
from stylebridge.data.shards.place import UrlPath
from stylebridge.data.statistics_cache import load_statistics, save_statistics, statistics_key
from stylebridge.errors import DataError, did_you_mean

__all__ = ["Domain", "DomainSpec", "DomainSummary", "check_domain", "open_domain", "titles"]


#: Names of folders that do not tell what data lies in them.
_GENERIC = {
    *("train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "testing", "all"),
    *("images", "image", "imgs", "img", "jpegimages", "rgb", "photos", "frames", "pictures"),
    *("data", "dataset", "datasets", "source", "target", "a", "b", "traina", "trainb", "testa", "testb"),
}


@dataclass(frozen=True)
class Domain:
    """A set of images that share a look.

    Attributes:
        name: what messages call it, as "source".
        root: the folder or archive the user gave.
        images: image files, sorted by their path below the folder.
        labels: the label map of each image; None: not labelled, or labels are not to be read.
        space: how the label maps are read; None where there are none, or it is not known yet.
        layout: the name of the layout it was read by.
        split: which of the layout's splits; of a plain folder the folders that were named; None where there is none.
    """

    name: str
    root: Path
    images: Sequence[FileRef]
    labels: Sequence[LabelRef] | None
    space: LabelSpace | None
    layout: str = "folder"
    split: str | None = None

    @property
    def title(self) -> str:
        """What reports call it, as "cityscapes/train": layout and split, or the folder's name with those above it
        where it tells nothing by itself."""
        if self.layout not in ("folder", "shards"):
            return f"{self.layout}/{self.split}" if self.split else self.layout
        return self.place

    @property
    def place(self) -> str:
        """The last part of the path that tells something, and what comes after it."""
        address = isinstance(self.root, UrlPath)
        parts = [
            part for part in (self.root if address else Path(self.root).absolute()).parts if part not in "/"
        ]
        parts = [*parts[:-1], parts[-1].removesuffix(".zip")] if parts else [self.name]
        first = len(parts) - 1
        while first > 0 and len(parts) - first < 3 and parts[first].lower() in _GENERIC:
            first -= 1
        return "/".join(parts[first:])

    @property
    def spec(self) -> str:
        """What :func:`open_domain` opens it by."""
        if self.layout == "folder" and not self.split:
            return str(self.root)
        return f"{self.layout}{'/' + self.split if self.split else ''}:{self.root}"


def titles(*domains: Domain) -> tuple[str, ...]:
    """What a report calls some domains; those of one title (two folders of one layout) by their place too."""
    plain = [domain.title for domain in domains]
    return tuple(
        title if plain.count(title) == 1 or domain.place == title else f"{domain.place} ({title})"
        for title, domain in zip(plain, domains, strict=True)
    )


@dataclass(frozen=True)
class DomainSummary:
    """What :func:`check_domain` found, image by image.

    Attributes:
        image_sizes: int64 [N, 2], (width, height) of each image.
        pixel_counts: int64 [N, K], pixels of each class; [N, 0] without labels.
        ignored_counts: int64 [N], pixels with no class (255); 0 without labels.
    """

    image_sizes: np.ndarray
    pixel_counts: np.ndarray
    ignored_counts: np.ndarray

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images have each (width, height)."""
        return Counter((int(w), int(h)) for w, h in self.image_sizes)

    @property
    def ignored_pixels(self) -> int:
        """Pixels with no class in the whole domain."""
        return int(self.ignored_counts.sum())

    @property
    def class_shares(self) -> np.ndarray:
        """float64 [K], each class's share of all labelled pixels; 0 where there are none."""
        totals = self.pixel_counts.sum(axis=0)
        return totals / max(1, totals.sum())


# --- opening ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DomainSpec:
    """``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``, taken apart."""

    path: Path
    layout: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str | Path) -> DomainSpec:
        """Take a specification apart.

        Raises:
            DataError: there is neither such a path nor such a layout or split.
        """
        shards = shard_place(text)
        if shards is not None:
            return cls(shards, "shards")
        head, colon, path = str(text).partition(":")
        # A single letter is a drive of Windows, a double slash an address.
        if not colon or len(head) < 2 or path.startswith("//") or Path(text).exists():
            return cls(Path(text))
        layout, slash, split = head.partition("/")
        if layout not in LAYOUTS:
            hint = did_you_mean(layout, LAYOUTS)
            raise DataError(
                f"{str(text)!r} names the layout {layout!r}, which is not known{hint}: choose one of "
                f"{', '.join(LAYOUTS)}, or give the path alone."
            )
        splits, free = LAYOUTS[layout].splits, LAYOUTS[layout].free_splits
        if slash and split not in splits and not (split and free):
            raise DataError(
                f"{str(text)!r} names the split {split!r}, and {layout} has "
                f"{'the splits ' + ', '.join(splits) if splits else 'no splits'}: write "
                f"{layout}{'/' + splits[0] if splits else ''}:PATH."
            )
        return cls(Path(path), layout, split or None)


def open_domain(
    path: Path | str, name: str, labelled: bool, space: LabelSpace | None = None, evaluation: bool = False
) -> Domain:
    """List a domain's files.

    Args:
        path: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``; a folder or a zip file. Without a layout it is
            recognised (:mod:`stylebridge.data.layouts`). Shards, also at an address (:mod:`stylebridge.data.shards`),
            are read in the space they were packed in.
        name: what messages call it, as "source".
        labelled: False: label files are not even looked for.
        space: how label maps are read; None: as the layout says, if it says.
        evaluation: without a split, take the one that is scored instead of the one that is trained on.

    Raises:
        DataError: a folder is missing or empty, an image has no label or a label no image, or two files have
            the same name but for the ending.
    """
    spec = DomainSpec.parse(path)
    if spec.layout == "shards":
        return Domain(name, spec.path, *open_shards(spec.path, name).listing(labelled, space, name), "shards")
    tree = open_tree(spec.path, name)
    layout, tree = find_layout(spec, tree, labelled)
    split = spec.split if spec.split is not None else layout.usual_split(tree, evaluation)
    listing = layout.list(tree, split, labelled, name)
    own = listing.space or layout.space
    if space is None and labelled and own is not None:
        space = own if isinstance(own, LabelSpace) else LabelSpace.load(own)
    return Domain(name, spec.path, listing.images, listing.labels, space, layout.name, split)


def find_layout(spec: DomainSpec, tree: Tree, labelled: bool) -> tuple[Layout, Tree]:
    """The layout, and the folder it begins at: archives often hold one folder that holds everything."""
    place = tree
    tried = [each for each in LAYOUTS.values() if labelled or not each.known_by_labels]
    named = LAYOUTS[spec.layout] if spec.layout else None
    while True:
        if named is not None:
            found = named if named.begins(place) else None
        else:
            found = next((layout for layout in tried if layout.recognise(place)), None)
        if found is not None:
            return found, place
        inside = place.folders()
        if len(inside) != 1 or place.images(recursive=False):
            break
        if is_image_folder(inside[0]) or is_label_folder(inside[0]):
            break
        place = place.below(inside[0])
    # What a plain folder lacks is said by its reader.
    return (LAYOUTS["folder"], place) if spec.layout in (None, "folder") else (LAYOUTS[spec.layout], tree)


def label_folders(path: Path | str, name: str) -> tuple[str, ...]:
    """The folders of label maps beside the images of a plain folder, as named in ``path`` or by their customary names.

    Raises:
        DataError: the path does not exist, or a folder that it names is not there.
    """
    spec = DomainSpec.parse(path)
    _, tree = find_layout(spec, open_tree(spec.path, name), labelled=False)
    found = find_folders(tree, spec.split, labelled=True)
    return found.labels if found.images else ()


# --- checking -----------------------------------------------------------------------------------------------


def check_domain(
    domain: Domain,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: bool = True,
) -> DomainSummary:
    """Decode every file once: are all whole, of fitting sizes, and with ids of the label space?

    What is found is kept in ``$XDG_CACHE_HOME/stylebridge/statistics`` (``~/.cache`` by default) under a key
    of the files' paths, sizes and times and of the label space, so unchanged data is checked once. A folder
    that cannot be written there only costs the time.

    Args:
        workers: threads; None: one a core.
        progress: called as (files done, files in all) after each image.
        cache: whether to look into and write that folder.

    Raises:
        DataError: the first file, in order, that is not what it should be.
    """
    if domain.labels is not None and domain.space is None:
        raise DataError(f"The {domain.name} labels of {domain.root} have no label space: name one.")
    images, shard_labels = domain.images, isinstance(domain.labels, ShardSequence | None)
    if isinstance(images, ShardSequence) and shard_labels:  # every file was checked when they were packed
        return DomainSummary(**images.shards.statistics(domain.space if domain.labels is not None else None))
    key = statistics_key(domain.images, domain.labels, domain.space) if cache else None
    kept = load_statistics(key) if key else None
    if kept is not None:
        if progress is not None:
            progress(len(domain.images), len(domain.images))
        return DomainSummary(**kept)
    total = len(domain.images)
    sizes = np.zeros((total, 2), np.int64)
    classes = domain.space.num_classes if domain.space is not None and domain.labels is not None else 0
    counts, ignored = np.zeros((total, classes), np.int64), np.zeros(total, np.int64)
    labels = domain.labels if domain.labels is not None else (None,) * total
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        # map() yields in order and cancels what is left when one raises.
        checked = pool.map(partial(_check_pair, domain.space), domain.images, labels)
        for i, (size, histogram) in enumerate(checked):
            sizes[i] = size
            if histogram is not None:
                counts[i], ignored[i] = histogram[:classes], histogram[IGNORE]
            if progress is not None:
                progress(i + 1, total)
    if key:
        save_statistics(key, {"image_sizes": sizes, "pixel_counts": counts, "ignored_counts": ignored})
    return DomainSummary(sizes, counts, ignored)


def _check_pair(
    space: LabelSpace | None, image: FileRef, label: LabelRef | None
) -> tuple[tuple[int, int], np.ndarray | None]:
    """One image's (width, height), and how many pixels hold each train id, int64 [256]."""
    width, height = check_image(image)
    if label is None or space is None:
        return (width, height), None
    train_ids = space.read(label, (width, height))
    check_size(image, (width, height), label, train_ids)
    return (width, height), np.bincount(train_ids.ravel(), minlength=256)


def check_size(image: FileRef, size: tuple[int, int], label: LabelRef, train_ids: np.ndarray) -> None:
    """See that a label map [H, W] fits its image's (width, height).

    Raises:
        DataError: it does not; the message names both files and sizes.
    """
    height, width = train_ids.shape
    if (width, height) == tuple(size):
        return
    turned = " as viewers show it, with its EXIF rotation" if (height, width) == tuple(size) else ""
    raise DataError(
        f"{label} is {width}×{height} but its image {image} is {size[0]}×{size[1]}: "
        f"give the label map the image's size{turned}."
    )
